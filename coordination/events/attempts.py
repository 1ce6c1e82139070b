"""One life of a node: its session, its prompts, its steps, its end."""

from dataclasses import dataclass
from typing import Literal

from palmette.coordination.events.envelope import EventData, event
from palmette.coordination.values import Text

__all__ = [
    "AttemptEnded",
    "AttemptStarted",
    "Prompted",
    "SessionStarted",
    "Stepped",
]


@event("attempt_started")
@dataclass(frozen=True, slots=True)
class AttemptStarted(EventData):
    """One life of a node began.

    Attributes:
        token_digest: sha256 of its access token; the token itself is never stored.
        session: the harness session it resumes, or None.
    """

    number: int
    token_digest: str
    session: str | None


@event("session_started")
@dataclass(frozen=True, slots=True)
class SessionStarted(EventData):
    """The harness told the id of its session."""

    session: str
    harness_version: str


@event("attempt_ended")
@dataclass(frozen=True, slots=True)
class AttemptEnded(EventData):
    """One life of a node is over and nothing of it is left running."""

    how: Literal["settled", "parked", "crashed"]
    exit_code: int | None = None


@event("prompted")
@dataclass(frozen=True, slots=True)
class Prompted(EventData):
    """The supervisor prompted an idle node.

    Attributes:
        why: the first prompt; unread events; a refund after a refusal; a reminder to submit (E10); a resume (E5).
    """

    why: Literal["first", "wake", "refund", "reminder", "resumed", "message"]
    text: Text


@event("stepped")
@dataclass(frozen=True, slots=True)
class Stepped(EventData):
    """New steps of the attempt, only those not journaled before (§6).

    Attributes:
        steps: a JSON list of steps (codec.steps_text): one text, so that a long one is one file and can be redacted.
        count: how many there are.
    """

    steps: Text
    count: int
