"""The fold: what waits for an attempt."""

from collections.abc import Mapping
from dataclasses import replace

from palmette.coordination import events as e
from palmette.coordination.fold.shared import Change, enqueue, have, taint
from palmette.coordination.records import Delivery, Handover, Node
from palmette.coordination.tables import Tables
from palmette.coordination.values import Label

__all__ = ["CHANGES"]


def _notified(tables: Tables, event: e.Event, _: e.Notified) -> None:
    node = have(tables, Node, event.node)
    if node.parent is not None:
        enqueue(tables, event, node.parent, "notify", node.id)


def _handed_over(tables: Tables, event: e.Event, data: e.HandedOver) -> None:
    label: Label = frozenset()
    for seq in data.events:
        delivery = have(tables, Delivery, f"{event.node}:{seq}")
        label |= delivery.label
        tables.put(replace(delivery, handed=delivery.handed + 1))
    tables.put(Handover(f"c{event.seq}", event.node or "", event.attempt or "", data.events))
    taint(tables, event.attempt, label)


def _acknowledged(tables: Tables, event: e.Event, data: e.Acknowledged) -> None:
    tables.delete(Handover, data.cursor)
    for seq in data.events:
        tables.delete(Delivery, f"{event.node}:{seq}")


CHANGES: Mapping[str, Change] = {
    "notified": _notified,
    "handed_over": _handed_over,
    "acknowledged": _acknowledged,
}
"""Kind of event → what it does."""
