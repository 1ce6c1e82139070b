"""What goes down to a node: intent, sent, outcome (E4)."""

from dataclasses import dataclass
from typing import Literal

from palmette.coordination.events.envelope import EventData, event
from palmette.coordination.values import Text

__all__ = [
    "MessageIntended",
    "MessageMoved",
    "MessageOutcome",
    "MessageSent",
]


@event("message_intended")
@dataclass(frozen=True, slots=True)
class MessageIntended(EventData):
    """Something is to be said to a node (E4: intent). Its id is `m<seq>`.

    Attributes:
        purpose: a steer, an override of an earlier decision (Q4), or the answer to a question (Q2).
        supersedes: for an override, the seq of what it corrects.
        question: for an answer, the question's id.
    """

    purpose: Literal["steer", "override", "answer"]
    text: Text
    interrupt: bool = False
    supersedes: int | None = None
    question: str | None = None


@event("message_sent")
@dataclass(frozen=True, slots=True)
class MessageSent(EventData):
    """The message is being handed to the harness, or to a call that waits (E4: sent)."""

    message: str
    via: Literal["harness", "call", "await_event"]


@event("message_outcome")
@dataclass(frozen=True, slots=True)
class MessageOutcome(EventData):
    """What became of a message (E4: outcome). `unknown`: sent, then a crash; it is not replayed by itself."""

    message: str
    outcome: Literal["delivered", "unknown", "undeliverable"]


@event("message_moved")
@dataclass(frozen=True, slots=True)
class MessageMoved(EventData):
    """An undelivered message moved along to the node's next attempt."""

    message: str
