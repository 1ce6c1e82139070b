"""A power cut at any operation, under our schema, our pragmas and the shape of our commits.

With synchronous=FULL nothing acknowledged is lost. NORMAL loses it and OFF damages the file: they are the controls that
show that the test can fail.
"""

import random
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import apsw
import pytest

from palmette.coordination.errors import JournalError
from palmette.coordination.store import verify
from palmette.coordination.store.engine import WRITER_PRAGMAS
from palmette.coordination.store.schema import APPLICATION, VERSION, statements
from palmette.coordination.store.writer import Journal
from palmette.coordination.values import Amounts
from tests.fakes.clock import ManualClock
from tests.support import drafts
from tests.support.powerless import Cut, Disk, PowerlessVFS

POLICIES = ("drop", "prefix", "random")
TRIALS = 60
Outcome = Literal["sound", "lost", "damaged"]


class Connection:
    """As much of sqlite3.Connection over apsw as the journal's writer uses."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def execute(self, statement: str, values: Sequence[Any] = ()) -> "Cursor":
        return Cursor(list(self._connection.execute(statement, tuple(values))))

    @property
    def in_transaction(self) -> bool:
        return self._connection.in_transaction


class Cursor(list[Any]):
    """The rows of a statement, all of them."""

    def fetchone(self) -> Any:
        return self[0] if self else None

    def fetchall(self) -> list[Any]:
        return self


def trial(seed: int, synchronous: str, policy: Any) -> Outcome:
    """Write until the power goes; what is found afterwards."""
    chance = random.Random(f"{seed} {synchronous} {policy}")  # noqa: S311
    disk = Disk()
    name = f"powerless-{seed}-{synchronous}-{policy}"
    file_system = PowerlessVFS(name, disk)
    with tempfile.TemporaryDirectory() as running, tempfile.TemporaryDirectory() as found:
        connection = apsw.Connection(f"{running}/journal.db", vfs=name)
        try:
            acknowledged = write_until_the_cut(connection, disk, chance, synchronous)
        finally:
            disk.dead = True
            with suppress(Cut, apsw.Error):
                connection.close(force=True)
            file_system.unregister()
        for path, content in disk.after_the_cut(chance, policy).items():
            (Path(found) / Path(path).name).write_bytes(content)
        try:
            report = verify(Path(found))
        except JournalError:
            return "damaged"
    if not report.ok:
        return "damaged"
    return "sound" if report.events >= acknowledged else "lost"


def write_until_the_cut(connection: Any, disk: Disk, chance: random.Random, synchronous: str) -> int:
    """Returns how many events were acknowledged; what is prepared before the first is synced."""
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    for pragma in WRITER_PRAGMAS:
        connection.execute(pragma.replace("synchronous = FULL", f"synchronous = {synchronous}"))
    # Often enough for the cut to fall into checkpoints too.
    connection.execute("PRAGMA wal_autocheckpoint = 20")
    for statement in statements():
        connection.execute(statement)
    connection.execute("INSERT INTO meta VALUES ('version', ?)", (str(VERSION),))
    connection.execute(f"PRAGMA application_id = {APPLICATION}")
    journal = Journal(Connection(connection), Path("journal.db"), ManualClock())  # type: ignore[arg-type]
    journal.run([lambda tx: [tx.append(draft) for draft in (drafts.opened(), drafts.spawned("t1/0", POOL))]])
    journal.run([lambda tx: tx.append(drafts.attempt("t1/0"))])
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for path in list(disk.pending):
        disk.sync(path)
    acknowledged = 3
    disk.cut_at = disk.operations + chance.randint(1, 500)
    while True:
        batch = [command(chance) for _ in range(chance.randint(1, 4))]
        try:
            _, events = journal.run(batch)
        except (Cut, apsw.Error):
            return acknowledged
        acknowledged += len(events)


POOL = Amounts(10**12, 10**12, 10**12, 10**12)


def command(chance: random.Random) -> Callable[[Any], Any]:
    """A hold, with a note of some length, and every other time its booking."""
    length, book = chance.randint(10, 3_000), chance.random() < 0.5

    def run(tx: Any) -> None:
        hold = f"h{tx.next_seq()}"
        tx.append(drafts.held("t1/0", hold, Amounts(7, 100, 1, 0)))
        tx.append(drafts.note("t1/0", "x" * length))
        if book:
            tx.append(drafts.booked("t1/0", hold, Amounts(5, 80, 1, 0)))

    return run


def outcomes(synchronous: str) -> Counter[Outcome]:
    return Counter(trial(seed, synchronous, policy) for policy in POLICIES for seed in range(TRIALS))


@pytest.mark.rule("E1")
def test_a_power_cut_takes_nothing_that_was_acknowledged() -> None:
    assert outcomes("FULL") == {"sound": len(POLICIES) * TRIALS}


def test_with_less_than_full_sync_the_same_cut_loses_events() -> None:
    counted = outcomes("NORMAL")
    assert counted["lost"] > 10
    assert counted["damaged"] == 0


def test_without_any_sync_the_same_cut_damages_the_file() -> None:
    assert outcomes("OFF")["damaged"] > 10
