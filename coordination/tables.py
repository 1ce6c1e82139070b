"""Where records are kept: one protocol, and its twin in memory that checks, tests and dry decisions use."""

import dataclasses
from collections.abc import Iterator
from functools import cache
from typing import Any, Protocol, TypeVar

from palmette.coordination.records import Record

__all__ = ["MemoryTables", "Reading", "Tables", "key_field", "key_of"]

R = TypeVar("R", bound=Record)


class Reading(Protocol):
    """Records as they stand."""

    def get(self, kind: type[R], key: str) -> R | None:
        """The record with this key, or None."""
        ...

    def find(self, kind: type[R], **equals: Any) -> list[R]:
        """The records whose fields equal these, in no particular order; the fields are one of its indexes."""
        ...

    def all(self, kind: type[R]) -> Iterator[R]:
        """Every record of a kind."""
        ...


class Tables(Reading, Protocol):
    """Records that the fold may replace."""

    def put(self, record: Record) -> None:
        """Insert, or replace the record of the same key."""
        ...

    def delete(self, kind: type[Record], key: str) -> None:
        """Remove the record if it is there."""
        ...


@cache
def key_field(kind: type[Record]) -> str:
    """The name of a record's key: its first field."""
    return dataclasses.fields(kind)[0].name  # type: ignore[arg-type]


def key_of(record: Record) -> str:
    """A record's key."""
    return getattr(record, key_field(type(record)))


class MemoryTables:
    """Tables in dictionaries, with the declared indexes kept."""

    def __init__(self) -> None:
        self._rows: dict[type[Record], dict[str, Any]] = {}
        self._index: dict[tuple[type[Record], tuple[str, ...]], dict[tuple[Any, ...], dict[str, None]]] = {}

    def get(self, kind: type[R], key: str) -> R | None:
        rows = self._rows.get(kind)
        return None if rows is None else rows.get(key)

    def find(self, kind: type[R], **equals: Any) -> list[R]:
        names = tuple(equals)
        if names not in kind.indexes:
            raise LookupError(f"{kind.__name__} has no index on {names}")
        keys = self._index.get((kind, names), {}).get(tuple(equals.values()), {})
        rows = self._rows.get(kind, {})
        return [rows[key] for key in keys]

    def all(self, kind: type[R]) -> Iterator[R]:
        yield from self._rows.get(kind, {}).values()

    def put(self, record: Record) -> None:
        kind = type(record)
        key = key_of(record)
        rows = self._rows.setdefault(kind, {})
        old = rows.get(key)
        rows[key] = record
        for names in kind.indexes:
            new_value = tuple(getattr(record, name) for name in names)
            if old is not None:
                old_value = tuple(getattr(old, name) for name in names)
                if old_value == new_value:
                    continue
                self._index[kind, names][old_value].pop(key, None)
            self._index.setdefault((kind, names), {}).setdefault(new_value, {})[key] = None

    def delete(self, kind: type[Record], key: str) -> None:
        old = self._rows.get(kind, {}).pop(key, None)
        if old is not None:
            for names in kind.indexes:
                self._index[kind, names][tuple(getattr(old, name) for name in names)].pop(key, None)
