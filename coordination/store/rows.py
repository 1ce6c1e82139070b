"""Records as rows: one plan per record class, made from its annotations.

Whole numbers, strings and None are stored as they are, truth as 0 or 1, a text in a file as the blob `sha256:size`,
everything else as JSON.
"""

import dataclasses
import types
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, Generic, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from palmette.coordination.codec import decode, dumps, encode, loads
from palmette.coordination.records import Record
from palmette.coordination.values import Amounts, Blob

__all__ = ["Rows", "rows_of"]

R = TypeVar("R", bound=Record)
_Convert = Callable[[Any], Any]


class Rows(Generic[R]):
    """How a record class lies in its table.

    Attributes:
        names: the columns, in the order of the fields; the first is the key.
        replace, select, select_all, remove: the statements, with `?` for values.
    """

    def __init__(self, kind: type[R]) -> None:
        hints = get_type_hints(kind)
        self.kind = kind
        self.names = tuple(field.name for field in dataclasses.fields(kind))  # type: ignore[arg-type]
        self._values: Callable[[R], tuple[Any, ...]] = attrgetter(*self.names)
        converters = [_converters(hints[name]) for name in self.names]
        self._out = [(at, out) for at, (out, _) in enumerate(converters) if out is not None]
        self._back = [(at, back) for at, (_, back) in enumerate(converters) if back is not None]
        self._converters = [out for out, _ in converters]
        columns = ", ".join(f'"{name}"' for name in self.names)
        marks = ", ".join("?" * len(self.names))
        key = self.names[0]
        # The names are those of our own classes; every value is bound.
        self.replace = f'INSERT OR REPLACE INTO "{kind.table}" ({columns}) VALUES ({marks})'  # noqa: S608
        self.select_all = f'SELECT {columns} FROM "{kind.table}"'  # noqa: S608
        self.select = f'{self.select_all} WHERE "{key}" = ?'
        self.remove = f'DELETE FROM "{kind.table}" WHERE "{key}" = ?'  # noqa: S608
        self._finds: dict[tuple[str, ...], str] = {}
        self._updates: dict[tuple[int, ...], str] = {}

    def row(self, record: R) -> list[Any]:
        """The record's values, in the order of the columns."""
        values = list(self._values(record))
        for at, out in self._out:
            if values[at] is not None:
                values[at] = out(values[at])
        return values

    def record(self, row: Sequence[Any]) -> R:
        """The record of a row in the order of the columns."""
        values = list(row)
        for at, back in self._back:
            if values[at] is not None:
                values[at] = back(values[at])
        return self.kind(*values)

    def find(self, names: tuple[str, ...]) -> str:
        """The query for one of the class's indexes; None equals None.

        Raises:
            LookupError: there is no such index.
        """
        query = self._finds.get(names)
        if query is None:
            if names not in self.kind.indexes:
                raise LookupError(f"{self.kind.__name__} has no index on {names}")
            query = f"{self.select_all} WHERE " + " AND ".join(f'"{name}" IS ?' for name in names)
            self._finds[names] = query
        return query

    def update(self, old: R, new: R) -> tuple[str, list[Any]] | None:
        """The statement that turns the row of `old` into that of `new`, with its values; None if they are equal.

        Most changes touch two fields of a record of up to fifty: writing only those is several times cheaper than
        replacing the row and all its index entries.
        """
        before, after = self._values(old), self._values(new)
        changed = tuple([at for at, value in enumerate(after) if value is not before[at] and value != before[at]])
        if not changed:
            return None
        statement = self._updates.get(changed)
        if statement is None:
            sets = ", ".join(f'"{self.names[at]}" = ?' for at in changed)
            statement = f'UPDATE "{self.kind.table}" SET {sets} WHERE "{self.names[0]}" = ?'  # noqa: S608
            self._updates[changed] = statement
        values: list[Any] = []
        for at in changed:
            value, out = after[at], self._converters[at]
            values.append(value if out is None or value is None else out(value))
        values.append(after[0])
        return statement, values


_plans: dict[type[Record], Any] = {}


def rows_of(kind: type[R]) -> Rows[R]:
    """The plan of a record class, made once."""
    plan = _plans.get(kind)
    if plan is None:
        plan = _plans[kind] = Rows(kind)
    return plan


def _converters(hint: Any) -> tuple[_Convert | None, _Convert | None]:
    """(to the column, from the column) for one annotation; None where the value is stored as it is."""
    arguments, origin = get_args(hint), get_origin(hint)
    if origin in (Union, types.UnionType):
        if Blob in arguments:
            return _text_out, _text_back
        (hint,) = [argument for argument in arguments if argument is not type(None)]
        arguments, origin = get_args(hint), get_origin(hint)
    if hint in (int, str) or origin is Literal:
        return None, None
    if hint is bool:
        return None, bool
    if hint is Amounts:
        return (lambda amounts: dumps(amounts.as_list())), (lambda text: Amounts(*loads(text)))
    if origin is frozenset:
        return (lambda items: dumps(sorted(items))), (lambda text: frozenset(loads(text)))
    if origin is tuple and dataclasses.is_dataclass(arguments[0]):
        nested = cast(type[Any], arguments[0])
        return (
            (lambda items: dumps([encode(item) for item in items])),
            (lambda text: tuple(decode(nested, item) for item in loads(text))),
        )
    if origin in (dict, list):
        return dumps, loads
    raise TypeError(f"no column holds a {hint!r}")


def _text_out(value: Any) -> Any:
    return f"{value.sha256}:{value.size}".encode() if isinstance(value, Blob) else value


def _text_back(value: Any) -> Any:
    if isinstance(value, bytes):
        sha256, _, size = value.decode().partition(":")
        return Blob(sha256, int(size))
    return value
