"""The journal: a durable append beside a bare sync of the disk, many producers beside one, and a million events.

The floor is a write of 4 KiB into a file that has its size already, and its sync: the least that any disk can be asked
for. Beside it stands the same with as many bytes as a commit adds to the log, which is what SQLite really asks for.
Disks are shared and change from second to second, so appends and syncs take turns of ten. TMPDIR chooses the disk; on
a tmpfs a sync costs nothing and the ratios say nothing.
"""

import os
import random
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from sqlite3 import Connection
from statistics import quantiles

import anyio
from anyio import to_thread

from benchmarks import Report
from palmette.coordination.codec import steps_text
from palmette.coordination.events import AttemptStarted, Draft, ModelBooked, ModelHeld, NodeSpawned, Stepped, TreeOpened
from palmette.coordination.ports import Transaction
from palmette.coordination.records import Tree
from palmette.coordination.store import SqliteStore, verify
from palmette.coordination.store.engine import JOURNAL, connect_reader, connect_writer
from palmette.coordination.store.schema import prepare
from palmette.coordination.store.writer import BATCH, Journal
from palmette.coordination.timepieces import SystemClock
from palmette.coordination.values import Amounts, Step, ToolCall, Usage

__all__ = ["run"]

ROUNDS = 120
PER_ROUND = 10
PRODUCERS = 64
PER_PRODUCER = 150
EVENTS = int(os.environ.get("PALMETTE_BENCH_EVENTS", "1000000"))
NODES_PER_TREE = 8
CALLS_PER_NODE = 200
POOL = Amounts(10**15, 10**15, 10**12, 10**12)


async def run(report: Report) -> None:
    """See the module."""
    with tempfile.TemporaryDirectory() as directory:
        await _appends(report, Path(directory))
    with tempfile.TemporaryDirectory() as directory:
        await _a_million(report, Path(directory))


async def _appends(report: Report, directory: Path) -> None:
    syncs: list[float] = []
    sames: list[float] = []
    appends: list[float] = []
    alone: list[float] = []
    commands: list[float] = []
    written = await to_thread.run_sync(_written, directory / "written.db")
    async with SqliteStore.open(directory / "data", SystemClock()) as store:
        with closing(_journal_on(connect_writer(directory / "alone.db"), directory / "alone.db")) as journal:
            await store.transact(_begin("t0"))
            for _ in range(ROUNDS):
                syncs += await to_thread.run_sync(_syncs, directory / "floor", 4096)
                sames += await to_thread.run_sync(_syncs, directory / "same", written)
                alone += await to_thread.run_sync(_alone, journal)
                for _ in range(PER_ROUND):
                    begun = time.perf_counter()
                    await store.transact(_step("t0/0.1"))
                    appends.append(time.perf_counter() - begun)
                for _ in range(PER_ROUND):
                    begun = time.perf_counter()
                    await store.transact(_call("t0/0.1"))
                    commands.append(time.perf_counter() - begun)
        rates: list[float] = []
        for _ in range(3):

            async def produce() -> None:
                for _ in range(PER_PRODUCER):
                    await store.transact(_step("t0/0.1"))

            begun = time.perf_counter()
            async with anyio.create_task_group() as group:
                for _ in range(PRODUCERS):
                    group.start_soon(produce)
            rates.append(PRODUCERS * PER_PRODUCER / (time.perf_counter() - begun))
    floor, floor_99 = _percentiles(syncs)
    median, worst = _percentiles(appends)
    same, same_99 = _percentiles(sames)
    told = f"4 KiB and its sync {floor * 1e6:.0f} / {floor_99 * 1e6:.0f} µs"
    report.figure(
        "durable append, p50 / p99",
        f"{median * 1e6:.0f} / {worst * 1e6:.0f} µs",
        floor=told,
        target=f"{median / floor:.2f} × the sync, ≤ 2.5",
        met=median / floor <= 2.5,
    )
    median_1, worst_1 = _percentiles(alone)
    report.figure(
        "… without the way to the thread",
        f"{median_1 * 1e6:.0f} / {worst_1 * 1e6:.0f} µs",
        floor=f"{written:,} bytes and their sync {same * 1e6:.0f} / {same_99 * 1e6:.0f} µs",
    )
    median_3, worst_3 = _percentiles(commands)
    report.figure("a model call in one command, 3 events", f"{median_3 * 1e6:.0f} / {worst_3 * 1e6:.0f} µs", floor=told)
    serial, many = len(appends) / sum(appends), sorted(rates)[1]
    report.figure(
        f"{PRODUCERS} producers",
        f"{many:,.0f} events/s",
        floor=f"one producer {serial:,.0f} events/s",
        target=f"{many / serial:.1f} × one, ≥ 8",
        met=many / serial >= 8,
    )


async def _a_million(report: Report, directory: Path) -> None:
    path = directory / JOURNAL
    begun = time.perf_counter()
    events = await to_thread.run_sync(_fill, path)
    seconds = time.perf_counter() - begun
    size = path.stat().st_size / events
    report.figure(f"writing {events:,} events", f"{events / seconds:,.0f} events/s", floor=f"{size:.0f} bytes/event")
    begun = time.perf_counter()
    async with SqliteStore.open(directory, SystemClock()) as store:
        trees = await store.read(lambda reading: len(reading.find(Tree, state="open")))
        await store.transact(lambda _: None)
        seconds = time.perf_counter() - begun
        floor = await to_thread.run_sync(_reading, path)
        report.figure(
            "open and answer a query", f"{seconds:.3f} s", target="≤ 2 s", floor=f"{trees} trees", met=seconds <= 2
        )
        result = await to_thread.run_sync(verify, directory)
    if not result.ok:
        report.say(f"verify found fault: {result.differences[:3]} {result.problems[:3]} {result.imbalances[:3]}")
    report.figure(
        f"verify {result.events:,} events",
        f"{result.seconds:.1f} s",
        floor=f"reading the rows {floor:.1f} s",
        target="≤ 30 s",
        met=result.ok and result.seconds <= 30,
    )


def _percentiles(seconds: list[float]) -> tuple[float, float]:
    cuts = quantiles(seconds, n=100)
    return cuts[49], cuts[98]


def _syncs(path: Path, size: int) -> list[float]:
    """How long it takes to write so many bytes into a file of fixed size and sync it, a few times."""
    content, taken = os.urandom(size), list[float]()
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if os.fstat(handle).st_size == 0:
            os.write(handle, bytes(256 * size))
            os.fsync(handle)
        first = random.randrange(256 - PER_ROUND)  # noqa: S311
        for number in range(first, first + PER_ROUND):
            begun = time.perf_counter()
            os.pwrite(handle, content, size * number)
            os.fdatasync(handle)
            taken.append(time.perf_counter() - begun)
    finally:
        os.close(handle)
    return taken


def _journal_on(connection: Connection, path: Path) -> Journal:
    prepare(connection, path, 1)
    journal = Journal(connection, path, SystemClock())
    journal.run([_begin("t0")])
    return journal


def _alone(journal: Journal) -> list[float]:
    """The same append with nothing around it: no queue, no event loop."""
    taken: list[float] = []
    for _ in range(PER_ROUND):
        begun = time.perf_counter()
        journal.run([_step("t0/0.1")])
        taken.append(time.perf_counter() - begun)
    return taken


def _written(path: Path) -> int:
    """How many bytes a commit adds to the log: frames of a page and 24 bytes."""
    connection = connect_writer(path)
    with closing(_journal_on(connection, path)) as journal:
        connection.execute("PRAGMA wal_checkpoint(RESTART)")
        for _ in range(5):
            _alone(journal)
        frames = connection.execute("PRAGMA wal_checkpoint").fetchone()[1]
        page = connection.execute("PRAGMA page_size").fetchone()[0]
    return round(frames / (5 * PER_ROUND)) * (page + 24)


def _reading(path: Path) -> float:
    """How long it takes to fetch the rows, without looking at them."""
    begun = time.perf_counter()
    with closing(connect_reader(path)) as connection:
        for _ in connection.execute("SELECT * FROM event"):
            pass
    return time.perf_counter() - begun


def _fill(path: Path) -> int:
    """Trees whose nodes make model calls; returns how many events there are."""
    connection = connect_writer(path)
    prepare(connection, path, 1)
    journal = Journal(connection, path, SystemClock())
    written = tree = 0
    while written < EVENTS:
        tree += 1
        commands: list[Callable[[Transaction], None]] = [_begin(f"t{tree}")]
        for _ in range(CALLS_PER_NODE):
            commands += [_call(f"t{tree}/0.{child}") for child in range(1, NODES_PER_TREE + 1)]
        for at in range(0, len(commands), BATCH):
            _, events = journal.run(commands[at : at + BATCH])
            written += len(events)
    journal.close()
    return written


def _begin(tree: str) -> Callable[[Transaction], None]:
    def command(tx: Transaction) -> None:
        tx.append(Draft(TreeOpened("driven", None, None, 4, person=True, evaluation=False), tree))
        _born(tx, tree, f"{tree}/0", None, 0, POOL)
        share = Amounts(10**12, 10**12, 10**9, 10**9)
        for child in range(1, NODES_PER_TREE + 1):
            _born(tx, tree, f"{tree}/0.{child}", f"{tree}/0", child, share)

    return command


def _born(tx: Transaction, tree: str, node: str, parent: str | None, ordinal: int, granted: Amounts) -> None:
    data = NodeSpawned(
        parent=parent,
        ordinal=ordinal,
        label=f"worker-{ordinal}",
        task="Mend the failing test of the parser, then say what was wrong. " * 6,
        task_digest="0" * 64,
        profile_name="worker",
        profile={"tools": ["read", "edit", "bash"], "limits": {"turns": 40, "seconds": 1800}},
        profile_body="You are a careful worker. " * 20,
        role="worker",
        harness="builtin",
        model="scripted",
        granted=granted,
    )
    tx.append(Draft(data, tree, node))
    tx.append(Draft(AttemptStarted(1, "0" * 64, None), tree, node, f"{node}#1"))


_STEPS = steps_text(
    [Step("agent", "I run the tests to see what fails.", "scripted", (ToolCall("c1", "bash", '{"command":"pytest"}'),))]
)


def _step(node: str) -> Callable[[Transaction], None]:
    """One event: new steps of an attempt."""
    tree, attempt = node.partition("/")[0], f"{node}#1"

    def command(tx: Transaction) -> None:
        tx.append(Draft(Stepped(_STEPS, 1), tree, node, attempt, actor=attempt, origin="model"))

    return command


def _call(node: str) -> Callable[[Transaction], None]:
    """A model call: held, booked, its steps told."""
    tree, attempt = node.partition("/")[0], f"{node}#1"

    def command(tx: Transaction) -> None:
        hold = f"h{tx.next_seq()}"
        tx.append(Draft(ModelHeld(hold, Amounts(9_000, 12_000, 1, 0)), tree, node, attempt, actor=attempt))
        booked = ModelBooked(
            hold, Amounts(4_321, 5_432, 1, 0), Usage(5_000, 300, 100, 32), known=True, model="scripted"
        )
        event = tx.append(Draft(booked, tree, node, attempt, actor="gateway"))
        told = Stepped(_STEPS, 1)
        tx.append(Draft(told, tree, node, attempt, actor=attempt, because=event.seq, origin="model"))

    return command
