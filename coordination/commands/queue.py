"""A node's one queue: taken in order of priority, given again until acknowledged (S4, E2, E3)."""

import re
from collections.abc import Collection
from dataclasses import dataclass

from palmette.coordination.commands.messages import conclude
from palmette.coordination.commands.standing import live_attempt
from palmette.coordination.errors import Refused
from palmette.coordination.events import Acknowledged, Draft, HandedOver, MessageSent
from palmette.coordination.ports import Transaction
from palmette.coordination.records import Delivery, Handover, Message, Node, Question
from palmette.coordination.tables import Reading

__all__ = ["MAX_NOTICES", "Taken", "acknowledge", "nothing_to_wait_for", "room_for_notice", "take", "waiting"]


MAX_NOTICES = 100
"""Unread notices of one child in its parent's queue."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A set of events handed over; `again` holds the seqs that had been handed over before."""

    cursor: str
    deliveries: tuple[Delivery, ...]
    again: frozenset[int]


def waiting(reading: Reading, node_id: str, kinds: Collection[str] = (), nodes: Collection[str] = ()) -> list[Delivery]:
    """What the queue would give now: highest priority first, ties by seq (E2).

    Messages to the node itself pass every filter: a steer must not wait for the right question.
    """
    found = [
        delivery
        for delivery in reading.find(Delivery, node=node_id)
        if delivery.type in ("message", "answer")
        or ((not kinds or delivery.type in kinds) and (not nodes or _child_behind(reading, delivery) in nodes))
    ]
    return sorted(found, key=lambda delivery: (-delivery.priority, delivery.seq))


def take(
    tx: Transaction, attempt_id: str, kinds: Collection[str] = (), nodes: Collection[str] = (), limit: int = 20
) -> Taken | None:
    """Hand over what is queued; None if nothing is. Nothing leaves the queue by it.

    Raises:
        Refused: attempt_over, already_settled.
    """
    attempt, node = live_attempt(tx, attempt_id)
    found = waiting(tx, node.id, kinds, nodes)[:limit]
    if not found:
        return None
    again = frozenset(delivery.seq for delivery in found if delivery.handed)
    for delivery in found:
        message = tx.get(Message, delivery.source) if delivery.type in ("message", "answer") else None
        if message is not None and message.state == "intent":
            sent = MessageSent(message.id, "await_event")
            tx.append(Draft(sent, node.tree, node.id, attempt.id, origin="supervisor"))
    data = HandedOver([delivery.seq for delivery in found])
    event = tx.append(Draft(data, node.tree, node.id, attempt.id))
    return Taken(f"c{event.seq}", tuple(found), again)


def acknowledge(tx: Transaction, attempt_id: str, cursor: str) -> None:
    """Take a handed-over set out of the queue; presenting a cursor twice is harmless.

    Raises:
        Refused: unknown_cursor.
    """
    attempt, node = live_attempt(tx, attempt_id)
    handover = tx.get(Handover, cursor)
    if handover is None:
        if re.fullmatch(r"c[0-9]{1,18}", cursor) and int(cursor[1:]) < tx.next_seq():
            return  # acknowledged before
        raise Refused("unknown_cursor", f"{cursor[:40]!r} is no cursor of this queue")
    if handover.node != node.id:
        raise Refused("unknown_cursor", f"{cursor!r} is no cursor of this queue")
    for seq in handover.events:
        delivery = tx.get(Delivery, f"{node.id}:{seq}")
        if delivery is not None and delivery.type in ("message", "answer"):
            conclude(tx, delivery.source, "delivered")
    tx.append(Draft(Acknowledged(cursor, handover.events), node.tree, node.id, attempt.id, actor=attempt.id))


def room_for_notice(reading: Reading, node: Node) -> None:
    """A node's notices wait in its parent's queue, and so many only.

    Raises:
        Refused: too_many.
    """
    if node.parent is None:
        return
    found = [d for d in reading.find(Delivery, node=node.parent) if d.type == "notify" and d.source == node.id]
    if len(found) >= MAX_NOTICES:
        raise Refused("too_many", f"{len(found)} notices of yours are unread")


def nothing_to_wait_for(reading: Reading, node_id: str) -> bool:
    """Whether nothing can come any more: nothing queued, no open child, no own question undecided."""
    return not (
        reading.find(Delivery, node=node_id)
        or reading.find(Node, parent=node_id, state="open")
        or reading.find(Question, asker=node_id, state="open")
        or reading.find(Question, asker=node_id, state="answered")
    )


def _child_behind(reading: Reading, delivery: Delivery) -> str:
    """The direct child that an event came through: a question may have been asked further below."""
    maker = delivery.source
    if delivery.type == "question":
        question = reading.get(Question, delivery.source)
        maker = "" if question is None else question.asker
    below = maker.removeprefix(delivery.node + ".")
    return f"{delivery.node}.{below.partition('.')[0]}"
