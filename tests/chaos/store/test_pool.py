"""The conserved pool under any mixture of commands, any grouping into commits, and a death at any statement.

After every step the file alone is looked at: the books balance (B1, B6), every table is what the journal says, and
every acknowledged event is there.
"""

import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from palmette.coordination.commands import budget, settling, spawning
from palmette.coordination.commands.standing import live_attempt, the_node
from palmette.coordination.errors import Refused
from palmette.coordination.ports import Transaction
from palmette.coordination.records import Hold, Node
from palmette.coordination.store import verify
from palmette.coordination.store.engine import connect_writer
from palmette.coordination.store.schema import prepare
from palmette.coordination.store.writer import Command, Journal
from palmette.coordination.tables import Reading
from palmette.coordination.values import Amounts, attempt_id
from tests.fakes.clock import ManualClock

POOL = Amounts(1_000, 1_000, 40, None)
SLOTS = spawning.Slots(8, 1)

amounts = st.builds(Amounts, st.integers(0, 700), st.integers(0, 700), st.integers(0, 3), st.just(0))
spends = st.builds(Amounts, st.none() | st.integers(0, 900), st.integers(0, 900), st.integers(0, 3), st.just(0))
places = st.integers(0, 20)


class Death(BaseException):
    """The process is gone."""


class Mortal:
    """A connection whose process dies at a chosen statement, before or just after it is carried out."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._left: int | None = None
        self._after = False
        self._dead = False

    def die(self, statements: int | None, *, after: bool) -> None:
        """Die at the statement that follows so many more; None is never."""
        self._left, self._after = statements, after

    def execute(self, statement: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        if self._dead:
            raise Death
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                self._dead = True
                if self._after:
                    self.carry_out(statement, values)
                raise Death
        return self.carry_out(statement, values)

    def carry_out(self, statement: str, values: Sequence[Any]) -> sqlite3.Cursor:
        return self._connection.execute(statement, values)

    @property
    def in_transaction(self) -> bool:
        return self._connection.in_transaction

    def close(self) -> None:
        self._connection.close()


class WithoutTransactions(Mortal):
    """The control: each statement is its own transaction."""

    def carry_out(self, statement: str, values: Sequence[Any]) -> sqlite3.Cursor:
        if statement.split()[0] in ("BEGIN", "SAVEPOINT", "RELEASE", "COMMIT"):
            return self._connection.execute("SELECT 1")
        return super().carry_out(statement, values)

    @property
    def in_transaction(self) -> bool:
        return True


def pick(items: Sequence[Any], place: int) -> Any:
    return items[place % len(items)]


def node_at(reading: Reading, place: int) -> str:
    """Mostly a node that is open, so that something happens; from 15 on any."""
    nodes = sorted(node.id for node in reading.all(Node) if place >= 15 or node.state == "open")
    return pick(nodes or ["t1/0"], place)


def spawn(place: int, asked: Amounts) -> Command:
    """Spawn below some node, settled or not, and begin the child's attempt."""

    def command(tx: Transaction) -> None:
        parent = node_at(tx, place)
        order = spawning.NodeOrder(
            "do it",
            "digest",
            "worker",
            {},
            "",
            "driver",
            "builtin",
            "scripted",
            asked={"usd": asked.usd or 0, "tokens": asked.tokens or 0, "turns": asked.turns or 0},
        )
        # The verb sees to it that only a living attempt spawns.
        live_attempt(tx, attempt_id(parent, 1))
        admitted = spawning.admit_child(tx, attempt_id(parent, 1), parent, order, SLOTS)
        spawning.begin_attempt(tx, admitted.node.id, "digest", None)

    return command


def hold(place: int, worst: Amounts) -> Command:
    return lambda tx: budget.hold(tx, attempt_id(node_at(tx, place), 1), worst)


def book(place: int, spent: Amounts | None, *, sent: bool) -> Command:
    """Close some hold, of any node; or, if there is none, one that never was."""

    def command(tx: Transaction) -> None:
        holds = sorted(tx.all(Hold), key=lambda one: one.id)
        chosen = pick(holds, place) if holds else None
        attempt, name = (chosen.attempt, chosen.id) if chosen else ("t1/0#1", "h0")
        budget.book(tx, attempt or "", name, spent, None, model="scripted", sent=sent)

    return command


def settle(place: int) -> Command:
    """Settle some node, perhaps again. The root is rarely chosen: with it everything ends."""

    def command(tx: Transaction) -> None:
        below = sorted(node.id for node in tx.all(Node) if node.parent is not None)
        if not below and place < 20:
            return
        chosen = pick(below, place) if place < 20 else "t1/0"
        first = the_node(tx, chosen).state == "open"
        before = tx.next_seq()
        assert settling.settle(tx, chosen, settling.Ending("stopped")) == first
        assert first or tx.next_seq() == before

    return command


commands = st.one_of(
    st.builds(spawn, places, amounts),
    st.builds(hold, places, amounts),
    st.builds(book, places, st.none() | spends, sent=st.booleans()),
    st.builds(settle, places),
)


class Pool(RuleBasedStateMachine):
    """One tree's pool in one file."""

    connect: Callable[[sqlite3.Connection], Mortal] = Mortal

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.acknowledged = 0
        self.begin_life()

    def begin_life(self) -> None:
        path = self.directory / "journal.db"
        connection = connect_writer(path)
        prepare(connection, path, 1)
        self.connection = type(self).connect(connection)
        self.journal = Journal(self.connection, path, ManualClock())  # type: ignore[arg-type]

    @initialize()
    def open_tree(self) -> None:
        root = spawning.NodeOrder("do it", "digest", "driver", {}, "", "driver", "builtin", "scripted")
        order = spawning.TreeOrder("t1", "driven", root, POOL, 4, person=True)

        def command(tx: Transaction) -> None:
            spawning.begin_attempt(tx, spawning.open_tree(tx, order).id, "digest", None)

        _, events = self.journal.run([command])
        self.acknowledged += len(events)

    @rule(
        batch=st.lists(commands, min_size=1, max_size=4),
        statements=st.none() | st.integers(0, 30),
        after=st.booleans(),
    )
    def run(self, batch: list[Command], statements: int | None, *, after: bool) -> None:
        """Some commands in one commit, and perhaps a death in it; then a new life."""
        self.connection.die(statements, after=after)
        try:
            outcomes, events = self.journal.run(batch)
        except Death:
            self.connection.close()
            self.begin_life()
            return
        self.connection.die(None, after=False)
        self.acknowledged = max([self.acknowledged, *(event.seq for event in events)])
        for _, error in outcomes:
            assert error is None or isinstance(error, Refused), error

    @invariant()
    def the_file_alone_tells_the_truth(self) -> None:
        report = verify(self.directory)
        assert report.ok, report
        assert report.events == report.last_seq >= self.acknowledged

    def teardown(self) -> None:
        self.connection.close()
        shutil.rmtree(self.directory)


class PoolWithoutTransactions(Pool):
    """What the machine must find fault with."""

    connect = WithoutTransactions


SETTINGS = settings(
    max_examples=60,
    stateful_step_count=20,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.mark.rule("B1", "B2", "B4", "B6", "E5")
def test_the_pool_is_conserved_whatever_happens() -> None:
    run_state_machine_as_test(Pool, settings=SETTINGS)


def test_without_transactions_the_machine_finds_the_fault() -> None:
    control = settings(SETTINGS, derandomize=True, phases=[Phase.generate])
    with pytest.raises(AssertionError):
        run_state_machine_as_test(PoolWithoutTransactions, settings=control)
