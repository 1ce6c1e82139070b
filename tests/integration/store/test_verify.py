"""The journal's own check finds what is wrong, all of it, and nothing else."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from palmette.coordination.events import Draft, Stepped
from palmette.coordination.ports import Transaction
from palmette.coordination.records import RECORD_TYPES
from palmette.coordination.store import Difference, Report, SqliteStore, verify
from palmette.coordination.values import Amounts, Blob
from tests.fakes.clock import ManualClock
from tests.support import drafts

pytestmark = pytest.mark.anyio


def a_run(tx: Transaction, steps: Blob) -> None:
    """A tree of three, with money spent and held."""
    tx.append(drafts.opened())
    tx.append(drafts.spawned("t1/0", Amounts(1_000, 1_000, 1_000, 1_000)))
    tx.append(drafts.attempt("t1/0"))
    for child in ("t1/0.1", "t1/0.2"):
        tx.append(drafts.spawned(child, Amounts(100, 100, 100, 100)))
        tx.append(drafts.attempt(child))
        tx.append(drafts.held(child, f"h{child}", Amounts(50, 50, 1, 0)))
    tx.append(drafts.booked("t1/0.1", "ht1/0.1", Amounts(120, 20, 1, 0)))
    tx.append(Draft(Stepped(steps, 1), "t1", "t1/0.1", "t1/0.1#1", origin="model"))
    tx.append(drafts.note("t1/0.1", '{"$blob":"not a file","size":1}'))
    tx.append(drafts.settled("t1/0.1", Amounts(120, 20, 1, 0)))


@pytest.fixture
async def data(tmp_path: Path) -> Path:
    """A data directory with a run in it, closed."""
    async with SqliteStore.open(tmp_path, ManualClock()) as store:
        steps = await store.keep("[" + "1," * 5_000 + "1]")
        assert isinstance(steps, Blob)
        await store.transact(lambda tx: a_run(tx, steps))
    return tmp_path


def spoiled(data: Path, *statements: str) -> Report:
    """The report after somebody wrote into the database."""
    with closing(sqlite3.connect(data / "journal.db", isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)
    return verify(data)


async def test_a_sound_journal_has_nothing_to_tell(data: Path) -> None:
    report = verify(data)
    assert report.ok
    assert (report.events, report.last_seq, report.texts, report.redacted) == (13, 13, 1, ())
    assert report.records == 1 + 3 + 3 + 3 + 1 + 2


async def test_it_works_beside_a_running_supervisor(data: Path) -> None:
    async with SqliteStore.open(data, ManualClock()) as store:
        await store.transact(lambda tx: tx.append(drafts.note("t1/0.2")))
        report = verify(data)
        assert report.ok
        assert report.events == 14
        await store.transact(lambda tx: tx.append(drafts.note("t1/0.2")))
        assert verify(data).events == 15


@pytest.mark.parametrize(
    ("statement", "difference"),
    [
        ("UPDATE tree SET detached = 1", Difference("tree", "t1", "detached", False, 1)),
        ("UPDATE node SET label = 'other' WHERE id = 't1/0'", Difference("node", "t1/0", "label", "worker", "other")),
        (
            "UPDATE purse SET free = '[1,1,1,1]' WHERE node = 't1/0.2'",
            Difference("purse", "t1/0.2", "free", "[50,50,99,100]", "[1,1,1,1]"),
        ),
        (
            """UPDATE attempt SET label = '["judge"]' WHERE id = 't1/0#1'""",
            Difference("attempt", "t1/0#1", "label", '["supervisor"]', '["judge"]'),
        ),
        ("UPDATE hold SET held_at = held_at + 1", Difference("hold", "ht1/0.2", "held_at", 0, 1)),
        ("UPDATE node SET parent = NULL WHERE id = 't1/0.2'", Difference("node", "t1/0.2", "parent", "t1/0", None)),
    ],
)
async def test_a_changed_field_is_named(data: Path, statement: str, difference: Difference) -> None:
    report = spoiled(data, statement)
    assert not report.ok
    (found,) = report.differences
    assert (found.table, found.key, found.field) == (difference.table, difference.key, difference.field)
    if difference.field != "held_at":
        assert (found.journal, found.projection) == (difference.journal, difference.projection)
    assert report.problems == ()


async def test_rows_too_many_and_too_few_are_named(data: Path) -> None:
    report = spoiled(
        data,
        "DELETE FROM attempt WHERE id = 't1/0.2#1'",
        "INSERT INTO rest VALUES ('t1/0', 5, 5)",
        "UPDATE tree SET id = 't2'",
    )
    named = {(d.table, d.key, d.field, d.journal is None, d.projection is None) for d in report.differences}
    assert named == {
        ("attempt", "t1/0.2#1", "*", False, True),
        ("rest", "t1/0", "*", True, False),
        ("tree", "t1", "*", False, True),
        ("tree", "t2", "*", True, False),
    }


@pytest.mark.parametrize(
    ("statement", "problems"),
    [
        ("DELETE FROM event WHERE seq = 12", [("order", 13)]),
        ("UPDATE event SET kind = 'miracle' WHERE seq = 12", [("unknown", 12)]),
        ("UPDATE event SET version = 2 WHERE seq = 12", [("unknown", 12)]),
        ("UPDATE event SET data = '{\"summary\":' WHERE seq = 12", [("data", 12)]),
        ("UPDATE event SET data = '{}' WHERE seq = 12", [("data", 12)]),
        ("UPDATE event SET node = 't1/7' WHERE seq = 12", [("fold", 12)]),
        ("UPDATE event SET label = '[]' WHERE seq = 12", [("envelope", 12)]),
    ],
)
async def test_what_cannot_be_right_in_the_journal_is_named(
    data: Path, statement: str, problems: list[tuple[str, int]]
) -> None:
    report = spoiled(data, statement)
    assert [(problem.kind, problem.seq) for problem in report.problems] == problems
    assert not report.ok


async def test_every_table_is_compared(data: Path) -> None:
    emptied = [f'DELETE FROM "{kind.table}"' for kind in RECORD_TYPES]  # noqa: S608
    report = spoiled(data, *emptied)
    assert len(report.differences) == report.records == 13


@pytest.mark.rule("B1")
async def test_books_that_do_not_balance_are_named_though_table_and_journal_agree(data: Path) -> None:
    async with SqliteStore.open(data, ManualClock()) as store:
        # No command does this: the child's unspent is given back a second time.
        await store.transact(lambda tx: tx.append(drafts.settled("t1/0.1", Amounts(120, 20, 1, 0))))
    report = verify(data)
    assert not report.ok
    assert report.differences == ()
    assert report.problems == ()
    assert {(found.rule, found.node, found.channel, found.found) for found in report.imbalances} == {
        ("B1", "t1/0", "usd", 1_100),
        ("B1", "t1/0", "tokens", 1_100),
        ("B1", "t1/0", "turns", 1_100),
        ("B1", "t1/0", "seconds", 1_100),
    }


@pytest.mark.rule("B6")
async def test_a_hold_that_a_closed_tree_left_open_is_named(data: Path) -> None:
    async with SqliteStore.open(data, ManualClock()) as store:
        await store.transact(lambda tx: tx.append(drafts.closed()))
    report = verify(data)
    assert [(found.rule, found.node) for found in report.imbalances] == [("B6", "t1/0.2")]


@pytest.mark.parametrize("harm", ["missing", "altered"])
async def test_a_text_that_is_gone_or_changed_is_named(data: Path, harm: str) -> None:
    (path,) = [path for path in (data / "blobs").rglob("*") if path.is_file()]
    if harm == "missing":
        path.unlink()
    else:
        path.write_text("not what was said")
    (problem,) = verify(data).problems
    assert (problem.kind, problem.seq) == (harm, 11)
    assert path.name in problem.what


async def test_a_redacted_text_is_told_and_is_no_error(data: Path) -> None:
    async with SqliteStore.open(data, ManualClock()) as store:
        (event,) = await store.events(kinds=["stepped"])
        await store.redact(event.data.steps)
        assert await store.text(event.data.steps) == "[redacted]"
    report = verify(data)
    assert report.ok
    assert report.redacted == (event.data.steps.sha256,)


async def test_a_damaged_page_is_found(data: Path) -> None:
    with closing(sqlite3.connect(data / "journal.db")) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'attempt_node'").fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    with (data / "journal.db").open("r+b") as file:
        # An index that no longer knows its rows: the tables themselves read well.
        file.seek((page - 1) * size + 3)
        file.write(b"\0\0")
    report = verify(data)
    assert {problem.kind for problem in report.problems} == {"integrity"}
