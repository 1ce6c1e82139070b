"""Many commands, one commit."""

import sqlite3
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from palmette.coordination.errors import JournalUnwritable, Refused
from palmette.coordination.events import Event
from palmette.coordination.ports import Transaction
from palmette.coordination.records import Node, Purse, Tree
from palmette.coordination.store import SqliteStore, verify
from palmette.coordination.store.engine import connect_reader, connect_writer
from palmette.coordination.store.schema import prepare
from palmette.coordination.store.writer import Journal
from palmette.coordination.tables import Reading
from palmette.coordination.values import Amounts
from tests.fakes.clock import ManualClock
from tests.support import drafts
from tests.support.listing import names

pytestmark = pytest.mark.anyio


@pytest.fixture
async def store(tmp_path: Path) -> AsyncGenerator[SqliteStore]:
    """An empty store."""
    async with SqliteStore.open(tmp_path, ManualClock()) as opened:
        yield opened


class Gate:
    """Keeps the writer busy until it is opened, so that what is called meanwhile shares the next commit."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()

    def command(self, _: Transaction) -> None:
        self.reached.set()
        assert self.opened.wait(20)


def opening(number: int) -> Callable[[Transaction], int]:
    """A command that opens a tree and gives its seq."""
    return lambda tx: tx.append(drafts.opened(f"t{number}")).seq


async def together(store: SqliteStore, commands: Sequence[Callable[[Transaction], object]]) -> list[object]:
    """What each command gave or raised, all of them queued before the first is run."""
    gate = Gate()
    answers: list[object] = [None] * len(commands)

    async def call(number: int, command: Callable[[Transaction], object]) -> None:
        try:
            answers[number] = await store.transact(command)
        except Exception as error:
            answers[number] = error

    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            group.start_soon(store.transact, gate.command)
            await anyio.to_thread.run_sync(gate.reached.wait, 20)
            for number, command in enumerate(commands):
                group.start_soon(call, number, command)
            await anyio.wait_all_tasks_blocked()
            gate.opened.set()
    return answers


async def test_commands_that_wait_share_a_commit_of_at_most_512(store: SqliteStore) -> None:
    batches: list[list[int]] = []
    store.subscribe(lambda events: batches.append([event.seq for event in events]))
    answers = await together(store, [opening(number) for number in range(600)])
    assert answers == list(range(1, 601))
    assert [len(batch) for batch in batches] == [512, 88]
    assert [seq for batch in batches for seq in batch] == list(range(1, 601))


@pytest.mark.rule("B2")
async def test_a_refusal_takes_back_itself_and_not_its_neighbours(store: SqliteStore, tmp_path: Path) -> None:
    def root(tx: Transaction) -> None:
        tx.append(drafts.opened())
        tx.append(drafts.spawned("t1/0", Amounts(100, 100, 100, 100)))
        tx.append(drafts.attempt("t1/0"))

    def child(ordinal: int) -> Callable[[Transaction], int]:
        def command(tx: Transaction) -> int:
            event = tx.append(drafts.spawned(f"t1/0.{ordinal}", Amounts(10, 10, 10, 10)))
            if ordinal % 2:
                raise Refused("max_live", "all slots are taken")
            if ordinal % 5 == 0:
                raise sqlite3.IntegrityError("a bug that the engine found")
            return event.seq

        return command

    await store.transact(root)
    answers = await together(store, [child(number) for number in range(1, 13)])
    assert [type(answer).__name__ for answer in answers] == [
        *["Refused", "int"] * 4,
        "Refused",
        "IntegrityError",
        "Refused",
        "int",
    ]
    assert [answer for answer in answers if isinstance(answer, int)] == [4, 5, 6, 7, 8]
    purse = await store.read(lambda reading: reading.get(Purse, "t1/0"))
    assert purse is not None
    assert purse.free == Amounts(50, 50, 50, 50)
    nodes = await store.read(lambda reading: [node.id for node in reading.find(Node, parent="t1/0")])
    assert sorted(nodes) == ["t1/0.12", "t1/0.2", "t1/0.4", "t1/0.6", "t1/0.8"]
    assert verify(tmp_path).ok


@pytest.mark.rule("E1")
async def test_an_event_is_in_the_file_before_anybody_is_told(store: SqliteStore, tmp_path: Path) -> None:
    seen: list[bool] = []

    def told(events: Sequence[Event]) -> None:
        with closing(connect_reader(tmp_path / "journal.db")) as other:
            (newest,) = other.execute("SELECT max(seq) FROM event").fetchone()
        seen.append(newest == events[-1].seq)

    store.subscribe(told)
    for number in range(20):
        await store.transact(lambda tx, n=number: tx.append(drafts.opened(f"t{n}")))
    assert seen == [True] * 20


async def test_nobody_sees_a_command_that_is_not_committed(store: SqliteStore, tmp_path: Path) -> None:
    gate = Gate()

    def command(tx: Transaction) -> None:
        tx.append(drafts.opened())
        gate.command(tx)

    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            group.start_soon(store.transact, command)
            await anyio.to_thread.run_sync(gate.reached.wait, 20)
            assert await store.read(lambda reading: reading.get(Tree, "t1")) is None
            assert await store.events() == []
            gate.opened.set()
    assert len(await store.events()) == 1


async def test_a_query_sees_one_moment(store: SqliteStore) -> None:
    reached, go_on = threading.Event(), threading.Event()

    def query(reading: Reading) -> tuple[int, int]:
        first = len(list(reading.all(Tree)))
        reached.set()
        assert go_on.wait(20)
        return first, len(list(reading.all(Tree)))

    counts: list[tuple[int, int]] = []

    async def ask() -> None:
        counts.append(await store.read(query))

    await store.transact(lambda tx: tx.append(drafts.opened("t1")))
    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await anyio.to_thread.run_sync(reached.wait, 20)
            await store.transact(lambda tx: tx.append(drafts.opened("t2")))
            go_on.set()
    assert counts == [(1, 1)]
    assert await store.read(lambda reading: len(list(reading.all(Tree)))) == 2


async def test_a_caller_that_is_cancelled_still_learns_what_became_of_its_command(store: SqliteStore) -> None:
    gate = Gate()
    learned: list[int] = []

    def command(tx: Transaction) -> int:
        gate.command(tx)
        return tx.append(drafts.opened()).seq

    async def call() -> None:
        learned.append(await store.transact(command))

    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            group.start_soon(call)
            await anyio.to_thread.run_sync(gate.reached.wait, 20)
            group.cancel_scope.cancel()
            gate.opened.set()
    assert learned == [1]


async def test_a_closing_store_does_what_was_asked_and_takes_nothing_more(tmp_path: Path) -> None:
    gate = Gate()
    told: list[Event] = []
    async with anyio.create_task_group() as group, SqliteStore.open(tmp_path, ManualClock()) as store:
        store.subscribe(told.extend)
        group.start_soon(store.transact, gate.command)
        await anyio.to_thread.run_sync(gate.reached.wait, 20)
        for number in range(5):
            group.start_soon(store.transact, opening(number))
        await anyio.wait_all_tasks_blocked()
        gate.opened.set()
    assert len(told) == 5
    with pytest.raises(JournalUnwritable, match="the store is closed"):
        await store.transact(lambda _: None)
    # Nothing but the database is left: the log was moved into it.
    assert names(tmp_path) == ["journal.db", "journal.lock"]


def test_a_commit_that_fails_fails_for_all_and_the_next_one_may_pass(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    connection = connect_writer(path)
    with closing(connection):
        prepare(connection, path, 1)
        journal = Journal(connection, path, ManualClock())
        journal.run([lambda tx: tx.append(drafts.opened("t1")), lambda tx: tx.append(drafts.spawned("t1/0"))])
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages + 2}")

        def fill(tx: Transaction) -> None:
            for number in range(100):
                tx.append(drafts.note("t1/0", "x" * 7_000))
                tx.append(drafts.opened(f"f{number}"))

        def fine(tx: Transaction) -> int:
            return tx.append(drafts.note("t1/0")).seq

        def swallow(tx: Transaction) -> None:
            try:
                fill(tx)
            except sqlite3.Error:
                return

        for commands in ([fine, fill, fine], [fill], [swallow]):
            with pytest.raises(JournalUnwritable) as raised:
                journal.run(commands)
            assert raised.value.code == "journal_unwritable"
        assert connection.execute("SELECT count(*), max(seq) FROM event").fetchone() == (2, 2)
        assert connection.execute("SELECT count(*) FROM tree").fetchone() == (1,)
        connection.execute("PRAGMA max_page_count = 100000")
        outcomes, events = journal.run([fine, fill, fine])
        assert [outcome[0] for outcome in outcomes] == [3, None, 204]
        assert [event.seq for event in events] == list(range(3, 205))
    assert verify(tmp_path).ok
