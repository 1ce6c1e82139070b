"""Opening a data directory: whose it is, and what is in it."""

import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import pytest

from palmette.coordination.errors import JournalCorrupt, JournalError, JournalLocked
from palmette.coordination.records import Tree
from palmette.coordination.store import SqliteStore, engine_facts, verify
from palmette.coordination.store.engine import connect_reader
from tests.fakes.clock import ManualClock
from tests.support import drafts
from tests.support.listing import names

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[3]

OWNER = """
import sys, anyio
from pathlib import Path
from palmette.coordination.store import SqliteStore
from palmette.coordination.timepieces import SystemClock

async def main():
    async with SqliteStore.open(Path(sys.argv[1]), SystemClock()):
        print("open", flush=True)
        await anyio.to_thread.run_sync(sys.stdin.read)

anyio.run(main)
"""


@pytest.fixture
def owner(tmp_path: Path) -> Generator[subprocess.Popen[bytes]]:
    """Another process that has the directory open."""
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        yield process
    finally:
        process.kill()
        process.communicate(timeout=20)


async def test_a_second_supervisor_is_refused_and_told_who_has_it(
    tmp_path: Path, owner: subprocess.Popen[bytes]
) -> None:
    with pytest.raises(JournalLocked) as raised:
        async with SqliteStore.open(tmp_path, ManualClock()):
            pass
    assert raised.value.code == "journal_locked"
    assert f"pid {owner.pid} owns" in raised.value.message
    assert "`palmette down`" in raised.value.hint
    # Looking is allowed meanwhile.
    assert verify(tmp_path).ok
    owner.send_signal(signal.SIGKILL)
    owner.wait(20)
    async with SqliteStore.open(tmp_path, ManualClock()) as store:
        assert await store.events() == []


async def test_a_second_opener_in_the_same_process_is_refused_too(tmp_path: Path) -> None:
    async with SqliteStore.open(tmp_path, ManualClock()) as store:
        with pytest.raises(JournalLocked, match=f"pid {os.getpid()} owns"):
            async with SqliteStore.open(tmp_path, ManualClock()):
                pass
        await store.transact(lambda tx: tx.append(drafts.opened()))
    async with SqliteStore.open(tmp_path, ManualClock()) as store:
        assert len(await store.events()) == 1


async def test_what_was_written_is_there_again_and_seqs_go_on(tmp_path: Path) -> None:
    for number in range(1, 4):
        async with SqliteStore.open(tmp_path, ManualClock()) as store:
            assert len(await store.read(lambda reading: list(reading.all(Tree)))) == number - 1
            event = await store.transact(lambda tx, n=number: tx.append(drafts.opened(f"t{n}")))
            assert event.seq == number


async def test_nobody_else_can_look_into_the_directory(tmp_path: Path) -> None:
    directory = tmp_path / "a" / "data"
    directory.mkdir(parents=True, mode=0o755)
    async with SqliteStore.open(directory, ManualClock()) as store:
        await store.transact(lambda tx: tx.append(drafts.opened()))
        await store.keep("x" * 5_000)
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        for path in directory.rglob("*"):
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


async def test_a_reader_can_write_nothing(tmp_path: Path) -> None:
    async with SqliteStore.open(tmp_path, ManualClock()) as store:
        await store.transact(lambda tx: tx.append(drafts.opened()))
        with closing(connect_reader(tmp_path / "journal.db")) as reader:
            assert reader.execute("SELECT count(*) FROM event").fetchone() == (1,)
            for statement in ("DELETE FROM event", "CREATE TABLE more (a)", "PRAGMA user_version = 5"):
                with pytest.raises(sqlite3.OperationalError, match="readonly database"):
                    reader.execute(statement)


def everything_in(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.name != "journal.lock"}


async def refused(directory: Path) -> JournalError:
    """The error with which opening is refused; nothing was changed by it."""
    before = everything_in(directory)
    with pytest.raises(JournalError) as raised:
        async with SqliteStore.open(directory, ManualClock()):
            pass
    assert everything_in(directory) == before
    assert raised.value.hint
    return raised.value


async def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "journal.db").write_bytes(b"something else altogether\n" * 400)
    error = await refused(tmp_path)
    assert isinstance(error, JournalCorrupt)
    with pytest.raises(JournalCorrupt):
        verify(tmp_path)


async def test_a_database_of_something_else_is_left_alone(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "journal.db")) as other:
        other.execute("CREATE TABLE bookmark (url)")
        other.commit()
    error = await refused(tmp_path)
    assert isinstance(error, JournalCorrupt)
    assert "something else" in error.message


async def test_a_journal_whose_first_page_is_damaged_is_left_alone(tmp_path: Path) -> None:
    async with SqliteStore.open(tmp_path, ManualClock()) as store:
        await store.transact(lambda tx: tx.append(drafts.opened()))
    with (tmp_path / "journal.db").open("r+b") as file:
        file.write(os.urandom(4096))
    assert isinstance(await refused(tmp_path), JournalCorrupt)


@pytest.mark.parametrize("gone", [True, False], ids=["deleted", "emptied"])
async def test_a_log_without_its_database_is_not_thrown_away(tmp_path: Path, *, gone: bool) -> None:
    async with SqliteStore.open(tmp_path / "data", ManualClock()) as store:
        await store.transact(lambda tx: tx.append(drafts.opened()))
        shutil.copytree(tmp_path / "data", tmp_path / "copy")
    database = tmp_path / "copy" / "journal.db"
    assert (tmp_path / "copy" / "journal.db-wal").stat().st_size > 0
    if gone:
        database.unlink()
    else:
        os.truncate(database, 0)
    assert isinstance(await refused(tmp_path / "copy"), JournalCorrupt)


async def test_a_newer_journal_is_refused_by_name(tmp_path: Path) -> None:
    async with SqliteStore.open(tmp_path, ManualClock()) as store:
        await store.transact(lambda tx: tx.append(drafts.opened()))
    with closing(sqlite3.connect(tmp_path / "journal.db", isolation_level=None)) as later:
        later.execute("UPDATE meta SET value = '2' WHERE name = 'version'")
    error = await refused(tmp_path)
    assert error.code == "journal_newer"
    assert "version 2" in error.message
    with pytest.raises(JournalError, match="version 2"):
        verify(tmp_path)


async def test_an_event_of_a_newer_version_is_told_by_name(tmp_path: Path) -> None:
    async with SqliteStore.open(tmp_path, ManualClock()) as store:
        await store.transact(lambda tx: tx.append(drafts.opened()))
    with closing(sqlite3.connect(tmp_path / "journal.db", isolation_level=None)) as later:
        later.execute("UPDATE event SET version = 7")
    async with SqliteStore.open(tmp_path, ManualClock()) as store:
        with pytest.raises(JournalError, match="'tree_opened' version 7") as raised:
            await store.events()
    assert raised.value.code == "journal_newer"


async def test_no_journal_is_not_made_by_looking(tmp_path: Path) -> None:
    with pytest.raises(JournalError) as raised:
        verify(tmp_path)
    assert raised.value.code == "no_journal"
    assert names(tmp_path) == []


def test_the_engine_tells_its_version() -> None:
    facts = engine_facts()
    assert facts.version == sqlite3.sqlite_version
    fixed = sqlite3.sqlite_version_info >= (3, 51, 3) and sqlite3.sqlite_version_info != (3, 52, 0)
    assert facts.several_writers_safe == fixed
