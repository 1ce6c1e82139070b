"""What waits for an attempt, and what it was given (S4)."""

from dataclasses import dataclass

from palmette.coordination.events.envelope import EventData, event
from palmette.coordination.values import Text

__all__ = [
    "Acknowledged",
    "HandedOver",
    "Notified",
]


@event("notified")
@dataclass(frozen=True, slots=True)
class Notified(EventData):
    """A node told its parent something, without waiting."""

    summary: Text
    salience: int
    refs: list[str] | None = None


@event("handed_over")
@dataclass(frozen=True, slots=True)
class HandedOver(EventData):
    """A set of events was given to a waiting attempt; its cursor is `c<seq>` (S4)."""

    events: list[int]


@event("acknowledged")
@dataclass(frozen=True, slots=True)
class Acknowledged(EventData):
    """The attempt presented a cursor: that set is not given again (S4)."""

    cursor: str
    events: list[int]
