"""The fold: what goes down to a node."""

from collections.abc import Mapping
from dataclasses import replace

from palmette.coordination import events as e
from palmette.coordination.fold.shared import Change, enqueue, have, taint
from palmette.coordination.records import Delivery, Message, Question
from palmette.coordination.tables import Tables

__all__ = ["CHANGES"]


def _message_intended(tables: Tables, event: e.Event, data: e.MessageIntended) -> None:
    message = f"m{event.seq}"
    tables.put(
        Message(
            id=message,
            node=event.node or "",
            attempt=event.attempt,
            purpose=data.purpose,
            text=data.text,
            interrupt=data.interrupt,
            question=data.question,
            supersedes=data.supersedes,
            intended_at=event.at,
            actor=event.actor,
            label=event.label,
        )
    )
    if data.question is not None:
        tables.put(replace(have(tables, Question, data.question), message=message))
    enqueue(tables, event, event.node or "", "answer" if data.question else "message", message)


def _message_sent(tables: Tables, event: e.Event, data: e.MessageSent) -> None:
    message = have(tables, Message, data.message)
    tables.put(replace(message, state="sent", attempt=event.attempt))
    if data.via != "await_event":
        # It reaches the node by another road: nothing is left to hand over.
        tables.delete(Delivery, _place(message))
    taint(tables, event.attempt, message.label)


def _message_outcome(tables: Tables, event: e.Event, data: e.MessageOutcome) -> None:
    tables.put(replace(have(tables, Message, data.message), state=data.outcome))


def _message_moved(tables: Tables, event: e.Event, data: e.MessageMoved) -> None:
    message = replace(have(tables, Message, data.message), state="intent", attempt=event.attempt)
    tables.put(message)
    kind = "answer" if message.question else "message"
    seq = int(message.id[1:])
    tables.put(Delivery(_place(message), message.node, seq, kind, message.id, 0, message.intended_at, message.label))


def _place(message: Message) -> str:
    """The key of a message's entry in its node's queue."""
    return f"{message.node}:{message.id[1:]}"


CHANGES: Mapping[str, Change] = {
    "message_intended": _message_intended,
    "message_sent": _message_sent,
    "message_outcome": _message_outcome,
    "message_moved": _message_moved,
}
"""Kind of event → what it does."""
