"""What a node asks, who holds it, and what became of it (§7)."""

from dataclasses import dataclass
from typing import Literal

from palmette.coordination.events.envelope import EventData, event
from palmette.coordination.values import Text

__all__ = [
    "QuestionAnswered",
    "QuestionAsked",
    "QuestionDelivered",
    "QuestionEscalated",
    "QuestionWithdrawn",
]


@event("question_asked")
@dataclass(frozen=True, slots=True)
class QuestionAsked(EventData):
    """A node asked its parent. Its id is `q<seq>`.

    Attributes:
        holder: who has to decide now: a node's id, `person`, or None if nobody is above (Q3).
    """

    question: Text
    why: Text
    urgency: Literal["blocks_run", "blocks_step", "can_continue"]
    asked_as: Literal["decision", "permission", "plan"]
    options: list[str] | None
    holder: str | None


@event("question_escalated")
@dataclass(frozen=True, slots=True)
class QuestionEscalated(EventData):
    """Its holder re-raised it, exactly one level (Q1)."""

    question: str
    holder: str
    why: Text


@event("question_answered")
@dataclass(frozen=True, slots=True)
class QuestionAnswered(EventData):
    """Its holder decided; it counts as answered once delivered (Q2)."""

    question: str
    text: Text
    by: str
    oracle_injection: bool


@event("question_delivered")
@dataclass(frozen=True, slots=True)
class QuestionDelivered(EventData):
    """The answer reached the asker."""

    question: str


@event("question_withdrawn")
@dataclass(frozen=True, slots=True)
class QuestionWithdrawn(EventData):
    """The asker ended or submitted; nothing is to be decided any more."""

    question: str
    reason: str
