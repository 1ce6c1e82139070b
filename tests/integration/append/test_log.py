"""The log has its size before the first commit, and nothing of it is taken for a commit."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from palmette.coordination.store import SqliteStore, verify
from tests.fakes.clock import ManualClock
from tests.support import drafts
from tests.support.listing import names

pytestmark = pytest.mark.anyio


async def append(store: SqliteStore, first: int, count: int) -> None:
    for number in range(first, first + count):
        await store.transact(lambda tx, tree=f"t{number}": tx.append(drafts.opened(tree)))


def size_of_the_log(directory: Path) -> int:
    return (directory / "journal.db-wal").stat().st_size


async def test_commits_do_not_make_the_log_grow(tmp_path: Path) -> None:
    async with SqliteStore.open(tmp_path, ManualClock()) as store:
        before = size_of_the_log(tmp_path)
        # More than fit into it: it is used from its beginning again.
        await append(store, 1, before // (3 * 4096))
        assert size_of_the_log(tmp_path) == before
    async with SqliteStore.open(tmp_path, ManualClock()):
        assert size_of_the_log(tmp_path) == before
    assert names(tmp_path) == ["journal.db", "journal.lock"]


async def test_the_rest_of_the_log_is_no_commit(tmp_path: Path) -> None:
    async with SqliteStore.open(tmp_path / "lived", ManualClock()) as store:
        await append(store, 1, 3)
        shutil.copytree(tmp_path / "lived", tmp_path / "killed")
    async with SqliteStore.open(tmp_path / "killed", ManualClock()) as store:
        await append(store, 4, 2)
        assert [event.tree for event in await store.events()] == ["t1", "t2", "t3", "t4", "t5"]
    assert verify(tmp_path / "killed").ok


@pytest.mark.parametrize("written", [None, 4096], ids=["nothing", "a part"])
async def test_without_room_the_log_grows_as_it_must(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int | None
) -> None:
    def pwrite(handle: int, data: bytes, offset: int) -> int:
        if len(data) < 2**20:
            return real(handle, data, offset)
        if written is None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(handle, data[:written], offset)

    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", pwrite)
    async with SqliteStore.open(tmp_path, ManualClock()) as store:
        before = size_of_the_log(tmp_path)
        await append(store, 1, 40)
        assert before < size_of_the_log(tmp_path) < 2**21
    assert verify(tmp_path).events == 40
