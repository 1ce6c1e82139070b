"""What queries and commands see of the tables in SQLite."""

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from palmette.coordination import fold
from palmette.coordination.events import Draft, Event
from palmette.coordination.records import RECORD_TYPES, Record
from palmette.coordination.store.journal import COLUMNS, event_of, row_of, seal
from palmette.coordination.store.rows import rows_of
from palmette.coordination.tables import key_of
from palmette.coordination.values import tree_of

__all__ = ["RecordCache", "SqlReading", "SqlTransaction", "new_cache", "select_events"]

R = TypeVar("R", bound=Record)

_EVENT_COLUMNS = ", ".join(f'"{name}"' for name in COLUMNS)
# The columns are ours; every value is bound.
_INSERT_EVENT = f'INSERT INTO "event" ({_EVENT_COLUMNS}) VALUES ({", ".join("?" * len(COLUMNS))})'  # noqa: S608

_UNINDEXED = ("model_booked", "model_held", "stepped")
_INDEXED = " AND ".join(f"kind <> '{kind}'" for kind in _UNINDEXED)
"""The condition of the index on kinds, as schema.sql has it: a query must repeat it to be allowed the index."""

RecordCache = dict[type[Record], dict[str, Any]]
"""Records as the last commit left them, by class and key. The writer alone changes them, so what it wrote or read it
need not read again."""


def new_cache() -> RecordCache:
    """An empty cache."""
    return {kind: {} for kind in RECORD_TYPES}


class SqlReading:
    """The tables as one snapshot shows them."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._execute = connection.execute

    def get(self, kind: type[R], key: str) -> R | None:
        """See tables.Reading."""
        rows = rows_of(kind)
        row = self._execute(rows.select, (key,)).fetchone()
        return None if row is None else rows.record(row)

    def find(self, kind: type[R], **equals: Any) -> list[R]:
        """See tables.Reading."""
        rows = rows_of(kind)
        query = rows.find(tuple(equals))
        return [rows.record(row) for row in self._execute(query, tuple(equals.values()))]

    def all(self, kind: type[R]) -> Iterator[R]:
        """See tables.Reading."""
        rows = rows_of(kind)
        for row in self._execute(rows.select_all):
            yield rows.record(row)


class SqlTransaction:
    """One command's view: what it changes is there for it at once, and for everybody else after the commit.

    Args:
        cache: shared by all commands; `touched` says which entries to forget if this one is taken back.
        last_seq: the journal's newest seq as this command begins.
        at: UTC microseconds.
        savepoint: whether other commands share the commit, so that this one alone must be able to go back.
    """

    __slots__ = ("_at", "_cache", "_execute", "_last_seq", "_savepoint", "appended", "open", "touched", "wrote")

    def __init__(
        self, connection: sqlite3.Connection, cache: RecordCache, last_seq: int, at: int, *, savepoint: bool
    ) -> None:
        self._execute = connection.execute
        self._cache = cache
        self._last_seq = last_seq
        self._at = at
        self._savepoint = savepoint
        self.appended: list[Event] = []
        self.touched: list[tuple[type[Record], str]] = []
        self.wrote = False
        self.open = True

    def get(self, kind: type[R], key: str) -> R | None:
        """See tables.Reading."""
        cached = self._cache[kind]
        record = cached.get(key)
        if record is None:
            rows = rows_of(kind)
            row = self._execute(rows.select, (key,)).fetchone()
            if row is not None:
                record = cached[key] = rows.record(row)
        return record

    def find(self, kind: type[R], **equals: Any) -> list[R]:
        """See tables.Reading."""
        rows, cached = rows_of(kind), self._cache[kind]
        found: list[R] = []
        for row in self._execute(rows.find(tuple(equals)), tuple(equals.values())):
            record = cached.get(row[0])
            if record is None:
                record = cached[row[0]] = rows.record(row)
            found.append(record)
        return found

    def all(self, kind: type[R]) -> Iterator[R]:
        """See tables.Reading. The rows are read before the first is given, so that a command may change them."""
        rows = rows_of(kind)
        return iter([rows.record(row) for row in self._execute(rows.select_all).fetchall()])

    def put(self, record: Record) -> None:
        """See tables.Tables."""
        if not self.wrote:
            self._begin()
        kind, key = type(record), key_of(record)
        rows = rows_of(kind)
        cached = self._cache[kind]
        old = cached.get(key)
        if old is None:
            self._execute(rows.replace, rows.row(record))
        elif (change := rows.update(old, record)) is not None:
            self._execute(*change)
        else:
            return
        self.touched.append((kind, key))
        cached[key] = record

    def delete(self, kind: type[Record], key: str) -> None:
        """See tables.Tables."""
        if not self.wrote:
            self._begin()
        self.touched.append((kind, key))
        self._cache[kind].pop(key, None)
        self._execute(rows_of(kind).remove, (key,))

    def append(self, draft: Draft) -> Event:
        """See ports.Transaction."""
        if not self.wrote:
            self._begin()
        event, data = seal(draft, self._last_seq + 1, self._at, self)
        self._execute(_INSERT_EVENT, row_of(event, data))
        self._last_seq += 1
        self.appended.append(event)
        fold.apply(self, event)
        return event

    def now(self) -> int:
        """See ports.Transaction."""
        return self._at

    def next_seq(self) -> int:
        """See ports.Transaction."""
        return self._last_seq + 1

    def close(self) -> None:
        """The command is over and what it did stays."""
        self.open = False
        if self.wrote and self._savepoint:
            self._execute("RELEASE command")

    def undo(self) -> None:
        """The command is over and what it did is taken back."""
        self.open = False
        for kind, key in self.touched:
            self._cache[kind].pop(key, None)
        if not self.wrote:
            return
        if self._savepoint:
            self._execute("ROLLBACK TO command")
            self._execute("RELEASE command")
        else:
            self._execute("ROLLBACK")

    def _begin(self) -> None:
        """Before the first write, since many commands refuse and then have nothing to take back."""
        if not self.open:
            raise RuntimeError("the command is over: nothing can be changed any more")
        if self._savepoint:
            self._execute("SAVEPOINT command")
        self.wrote = True


def select_events(
    connection: sqlite3.Connection,
    *,
    after: int = 0,
    limit: int = 500,
    tree: str | None = None,
    node: str | None = None,
    kinds: Sequence[str] = (),
    newest: bool = False,
) -> list[Event]:
    """See ports.Store.events. Every way goes along an index, or the table, by seq, and stops at the limit."""
    limit = max(limit, 0)
    order = "DESC" if newest else "ASC"
    if node is not None and tree is None:
        tree = tree_of(node)
    values: list[Any]
    if tree is None and kinds and not any(kind in _UNINDEXED for kind in kinds):
        parts = [
            f"SELECT * FROM (SELECT seq FROM event WHERE kind = ? AND {_INDEXED} AND seq > ?"  # noqa: S608
            f" ORDER BY seq {order} LIMIT ?)"
            for _ in kinds
        ]
        where = f"seq IN ({' UNION ALL '.join(parts)})"
        values = [value for kind in kinds for value in (kind, after, limit)]
    else:
        where, values = "seq > ?", [after]
        if tree is not None:
            where, values = f"tree = ? AND {where}", [tree, after]
        if node is not None:
            # `/` is the character after `.`: the range holds every id that begins with `node.`.
            where += " AND (node = ? OR (node > ? AND node < ?))"
            values += [node, f"{node}.", f"{node}/"]
        if kinds:
            # The plus sign keeps the planner on the tree's index, or the table, in the order of seq.
            where += f" AND +kind IN ({', '.join('?' * len(kinds))})"
            values += kinds
    query = f"SELECT {_EVENT_COLUMNS} FROM event WHERE {where} ORDER BY seq {order} LIMIT ?"  # noqa: S608
    found = [event_of(row) for row in connection.execute(query, (*values, limit))]
    return found[::-1] if newest else found
