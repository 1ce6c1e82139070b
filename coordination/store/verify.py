"""`palmette verify`: replay the journal and compare it with every projection.

Works while a supervisor runs: everything is read in one read-only snapshot. Events are streamed; only the records are
kept in memory.
"""

import hashlib
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_type_hints

from palmette.coordination import fold
from palmette.coordination.balance import Imbalance, budget_imbalances
from palmette.coordination.errors import JournalError
from palmette.coordination.events import EventData
from palmette.coordination.records import RECORD_TYPES, Record
from palmette.coordination.store.blobs import MARK
from palmette.coordination.store.engine import JOURNAL, connect_reader, translated
from palmette.coordination.store.journal import COLUMNS, event_of
from palmette.coordination.store.rows import rows_of
from palmette.coordination.store.schema import version_of
from palmette.coordination.store.sqlite import BLOBS
from palmette.coordination.tables import MemoryTables, key_of
from palmette.coordination.values import Blob

__all__ = ["Difference", "Problem", "Report", "verify"]

_EVENTS = f"SELECT {', '.join(COLUMNS)} FROM event ORDER BY seq"  # noqa: S608


@dataclass(frozen=True, slots=True)
class Difference:
    """A field of a projection that is not what the journal says.

    Attributes:
        field: the column, or `*` where the whole row is missing or should not be there.
        journal, projection: the stored forms; None where there is no row.
    """

    table: str
    key: str
    field: str
    journal: Any
    projection: Any


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in the journal that cannot be right.

    Attributes:
        kind: `order` of the seqs; an event's `envelope`; an event of `unknown` kind or version, or with unreadable
            `data`; one that does not `fold`; a text whose file is `missing` or `altered`; what SQLite's own
            `integrity` check says.
        seq: of the event; None where it is not about one.
    """

    kind: Literal["order", "envelope", "unknown", "data", "fold", "missing", "altered", "integrity"]
    seq: int | None
    what: str


@dataclass(frozen=True, slots=True)
class Report:
    """What a journal's own check found.

    Attributes:
        events: how many were replayed; last_seq: the newest one's place.
        redacted: digests of texts that were deleted on purpose; no error.
        seconds: how long it took.
    """

    events: int
    last_seq: int
    records: int
    texts: int
    differences: tuple[Difference, ...]
    problems: tuple[Problem, ...]
    imbalances: tuple[Imbalance, ...]
    redacted: tuple[str, ...]
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether the record can be trusted."""
        return not (self.differences or self.problems or self.imbalances)


def verify(directory: Path) -> Report:
    """Check a data directory's journal. Blocks (30 s for a million events): call it in a worker thread.

    Raises:
        JournalCorrupt: the file is not a journal.
        JournalError: `no_journal`; `journal_newer`.
    """
    begun = time.monotonic()
    path = directory / JOURNAL
    with closing(connect_reader(path)) as connection:
        try:
            version_of(connection, path)
            connection.execute("BEGIN")
            replay = _Replay()
            for row in connection.execute(_EVENTS):
                replay.event(row)
            differences = tuple(_differences(connection, replay.tables))
            integrity = [row[0] for row in connection.execute("PRAGMA integrity_check")]
        except sqlite3.Error as error:
            raise translated(error, path) from error
    problems = replay.problems
    problems += [Problem("integrity", None, said) for said in integrity if said != "ok"]
    redacted: list[str] = []
    for sha256, seq in replay.texts.items():
        match _state_of(directory / BLOBS / sha256[:2] / sha256, sha256):
            case "redacted":
                redacted.append(sha256)
            case "there":
                pass
            case "missing" | "altered" as state:
                problems.append(Problem(state, seq, f"the text {sha256} is {state}"))
    return Report(
        events=replay.events,
        last_seq=replay.last_seq,
        records=sum(1 for kind in RECORD_TYPES for _ in replay.tables.all(kind)),
        texts=len(replay.texts),
        differences=differences,
        problems=tuple(problems),
        imbalances=tuple(budget_imbalances(replay.tables)),
        redacted=tuple(redacted),
        seconds=time.monotonic() - begun,
    )


class _Replay:
    """The fold of a journal into empty tables."""

    def __init__(self) -> None:
        self.tables = MemoryTables()
        self.problems: list[Problem] = []
        self.texts: dict[str, int] = {}
        self.events = 0
        self.last_seq = 0

    def event(self, row: tuple[Any, ...]) -> None:
        """Take the next row of the journal; what is wrong with it is noted, and the replay goes on."""
        seq = row[0]
        self.events += 1
        if seq != self.last_seq + 1:
            self.problems.append(Problem("order", seq, f"event {seq} follows {self.last_seq}"))
        self.last_seq = seq
        try:
            event = event_of(row)
        except JournalError as error:
            self.problems.append(Problem("unknown", seq, error.message))
            return
        except Exception as error:
            # Damaged bytes raise whatever the decoder stumbles over.
            self.problems.append(Problem("data", seq, f"a {row[5]} event cannot be read: {error!r}"))
            return
        if event.origin not in event.label:
            self.problems.append(Problem("envelope", seq, f"its label lacks its own origin, {event.origin}"))
        for blob in _blobs(event.data):
            self.texts.setdefault(blob.sha256, seq)
        try:
            fold.apply(self.tables, event)
        except Exception as error:
            said = error.message if isinstance(error, JournalError) else repr(error)
            self.problems.append(Problem("fold", seq, f"a {event.kind} event does not fit: {said}"))


def _differences(connection: sqlite3.Connection, tables: MemoryTables) -> Iterator[Difference]:
    for kind in RECORD_TYPES:
        yield from _table_differences(connection, tables, kind)


def _table_differences(
    connection: sqlite3.Connection, tables: MemoryTables, kind: type[Record]
) -> Iterator[Difference]:
    rows = rows_of(kind)
    seen: set[str] = set()
    for row in connection.execute(rows.select_all):
        key = row[0]
        seen.add(key)
        record = tables.get(kind, key)
        if record is None:
            yield Difference(kind.table, key, "*", None, dict(zip(rows.names, row, strict=True)))
            continue
        # The stored forms are compared, so that nothing can hide in the reading of a column.
        expected = rows.row(record)
        if tuple(expected) != row:
            for name, journal, projection in zip(rows.names, expected, row, strict=True):
                if journal != projection:
                    yield Difference(kind.table, key, name, journal, projection)
    for record in tables.all(kind):
        if key_of(record) not in seen:
            yield Difference(
                kind.table, key_of(record), "*", dict(zip(rows.names, rows.row(record), strict=True)), None
            )


def _state_of(path: Path, sha256: str) -> Literal["there", "redacted", "missing", "altered"]:
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return "redacted" if path.with_suffix(MARK).exists() else "missing"
    return "there" if digest == sha256 else "altered"


def _blobs(data: EventData) -> Iterator[Blob]:
    """The texts in files that an event names: by type, since an agent may write anything into a mapping."""
    for name in _text_fields(type(data)):
        value = getattr(data, name)
        if isinstance(value, Blob):
            yield value
        elif isinstance(value, tuple):
            for item in value:  # type: ignore[reportUnknownVariableType]
                yield from _blobs(item)  # type: ignore[reportUnknownArgumentType]


@cache
def _text_fields(cls: type[Any]) -> tuple[str, ...]:
    """The fields that hold a Text, or a tuple of dataclasses that may."""
    hints = get_type_hints(cls)
    names: list[str] = []
    for field in fields(cls):
        if any(is_dataclass(argument) for argument in getattr(hints[field.name], "__args__", ())):
            names.append(field.name)
    return tuple(names)
