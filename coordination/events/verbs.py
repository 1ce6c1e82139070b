"""What agents did by verbs, and what was said of it."""

from dataclasses import dataclass
from typing import Any, Literal

from palmette.coordination.events.envelope import EventData, event
from palmette.coordination.values import Text, Verdict

__all__ = [
    "Selected",
    "SubmitJudged",
    "Submitted",
    "VerbCalled",
]


@event("verb_called")
@dataclass(frozen=True, slots=True)
class VerbCalled(EventData):
    """A verb that writes was carried out, in the same transaction as its effect.

    (session, request) is its idempotency key: the same request, sent again after a restart, gets `answer` again
    (notes on the stdio relay). `digest` is of verb and arguments.
    """

    session: str
    request: str
    verb: str
    digest: str
    answer: dict[str, Any]


@event("submitted")
@dataclass(frozen=True, slots=True)
class Submitted(EventData):
    """A node handed in its result; the deliverable checks run on `commit` next."""

    result: Text
    artifacts: list[str] | None
    incomplete: bool
    commit: str | None
    diffstat: dict[str, int] | None = None


@event("submit_judged")
@dataclass(frozen=True, slots=True)
class SubmitJudged(EventData):
    """What the deliverable checks said of a submit; only an accepted one settles the node (C6)."""

    outcome: Literal["accepted", "check_failed", "check_unavailable"]
    verdicts: tuple[Verdict, ...]


@event("selected")
@dataclass(frozen=True, slots=True)
class Selected(EventData):
    """A driver chose among its settled children (C7); `winner` is None if nothing valid was there."""

    nodes: list[str]
    objectives: list[str]
    winner: str | None
    why: str
