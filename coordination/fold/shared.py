"""What several kinds of event do to the records."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from palmette.coordination import events as e
from palmette.coordination.errors import JournalCorrupt
from palmette.coordination.records import Attempt, Delivery, Node, Record
from palmette.coordination.tables import Tables
from palmette.coordination.values import Label

__all__ = ["Change", "enqueue", "have", "taint"]

R = TypeVar("R", bound=Record)

Change = Callable[[Tables, e.Event, Any], None]
"""What one kind of event does to the records."""


def have(tables: Tables, kind: type[R], key: str | None) -> R:
    """The record that an event refers to.

    Raises:
        JournalCorrupt: no earlier event made it.
    """
    record = tables.get(kind, key) if key is not None else None
    if record is None:
        raise JournalCorrupt(f"an event refers to {kind.table} {key!r}, which no event made")
    return record


def enqueue(tables: Tables, event: e.Event, owner: str, kind: Any, source: str, priority: int = 0) -> None:
    """Put the event into a node's queue; a settled node's queue takes nothing."""
    node = have(tables, Node, owner)
    if node.state == "open":
        key = f"{owner}:{event.seq}"
        tables.put(Delivery(key, owner, event.seq, kind, source, priority, event.at, event.label))


def taint(tables: Tables, attempt: str | None, label: Label) -> None:
    """F2: an attempt's label is the union of the origins of all it was handed."""
    if attempt is not None and (record := tables.get(Attempt, attempt)) is not None and not label <= record.label:
        tables.put(replace(record, label=record.label | label))
