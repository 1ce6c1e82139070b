"""What is said down the tree: intent, sent, outcome (E4)."""

from typing import Literal

from palmette.coordination.commands.standing import live_attempt_of, the_node
from palmette.coordination.errors import Refused
from palmette.coordination.events import (
    Draft,
    MessageIntended,
    MessageMoved,
    MessageOutcome,
    MessageSent,
    QuestionDelivered,
)
from palmette.coordination.ports import Transaction
from palmette.coordination.records import Attempt, Delivery, Message, Question
from palmette.coordination.tables import Reading
from palmette.coordination.values import Text

__all__ = ["conclude", "intend", "move_along", "pending", "send", "unread"]


def intend(
    tx: Transaction,
    node_id: str,
    text: Text,
    *,
    actor: str,
    interrupt: bool = False,
    supersedes: int | None = None,
) -> str:
    """Journal what is to be said to a node; returns the message's id.

    Raises:
        Refused: already_settled; unknown_event for an override of what has not happened.
    """
    node = the_node(tx, node_id)
    if node.state != "open":
        raise Refused("already_settled", f"{node.id} has settled ({node.cause})")
    if supersedes is not None and not 0 < supersedes < tx.next_seq():
        raise Refused("unknown_event", "supersedes is the seq of no event")
    purpose: Literal["override", "steer"] = "steer" if supersedes is None else "override"
    data = MessageIntended(purpose, text, interrupt, supersedes)
    origin = "person" if actor == "person" else "model"
    live = live_attempt_of(tx, node.id)
    event = tx.append(Draft(data, node.tree, node.id, None if live is None else live.id, actor=actor, origin=origin))
    return f"m{event.seq}"


def pending(reading: Reading, node_id: str) -> list[Message]:
    """What was intended for a node and not sent yet, oldest first."""
    return sorted(reading.find(Message, node=node_id, state="intent"), key=lambda m: int(m.id[1:]))


def unread(reading: Reading, node_id: str) -> list[Message]:
    """What a node has not read (Q7): not sent yet, or on its way into the conversation without a receipt."""
    on_the_way = [m for m in reading.find(Message, node=node_id, state="sent") if not _in_queue(reading, m)]
    return [*on_the_way, *pending(reading, node_id)]


def send(tx: Transaction, message_id: str, attempt_id: str, via: Literal["harness", "call"]) -> Message | None:
    """Record that a message is being handed to an attempt; None if another road took it first."""
    message = tx.get(Message, message_id)
    attempt = tx.get(Attempt, attempt_id)
    if message is None or message.state != "intent" or attempt is None or attempt.state != "live":
        return None
    tx.append(Draft(MessageSent(message.id, via), attempt.tree, message.node, attempt.id, origin="supervisor"))
    return tx.get(Message, message_id)


def conclude(tx: Transaction, message_id: str, outcome: Literal["delivered", "unknown", "undeliverable"]) -> None:
    """Record what became of a message; an answer that arrived makes its question answered (Q2)."""
    message = tx.get(Message, message_id)
    if message is None or message.state not in ("sent", "intent"):
        return
    node = the_node(tx, message.node)
    done = tx.append(Draft(MessageOutcome(message.id, outcome), node.tree, node.id, message.attempt))
    if outcome == "delivered" and message.question is not None:
        question = tx.get(Question, message.question)
        if question is not None and question.state == "answered":
            data = QuestionDelivered(question.id)
            tx.append(Draft(data, node.tree, node.id, message.attempt, because=done.seq))


def move_along(tx: Transaction, node_id: str, attempt_id: str) -> None:
    """Undelivered messages go to the next attempt; one that was sent before a crash is unknown, not replayed (E4)."""
    node = the_node(tx, node_id)
    for message in tx.find(Message, node=node_id, state="sent"):
        if message.attempt != attempt_id and not _in_queue(tx, message):
            conclude(tx, message.id, "unknown")
    for message in pending(tx, node_id):
        if message.attempt is not None and message.attempt != attempt_id:
            tx.append(Draft(MessageMoved(message.id), node.tree, node_id, attempt_id))


def _in_queue(reading: Reading, message: Message) -> bool:
    """Whether it was handed over by await_event: then the queue delivers it again by itself (E3)."""
    return reading.get(Delivery, f"{message.node}:{message.id[1:]}") is not None
