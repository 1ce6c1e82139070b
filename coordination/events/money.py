"""What was held and spent, in money and in time."""

from dataclasses import dataclass
from typing import Literal

from palmette.coordination.events.envelope import EventData, event
from palmette.coordination.values import Amounts, Usage

__all__ = [
    "ModelBooked",
    "ModelHeld",
    "SecondsBooked",
]


@event("model_held")
@dataclass(frozen=True, slots=True)
class ModelHeld(EventData):
    """The worst case of one model call was set aside before the call."""

    hold: str
    amounts: Amounts


@event("model_booked")
@dataclass(frozen=True, slots=True)
class ModelBooked(EventData):
    """A hold was closed with what was truly spent.

    Attributes:
        hold: the hold it closes, or None for spend that was never held.
        amounts: what was spent; beyond the hold too (B5).
        usage: tokens as the provider told them; None if it never did.
        known: False if the amounts are an upper bound (B8).
        why: a reply came; the call was never made (nothing charged); or its maker is gone and the hold is charged in
            full (B11).
    """

    hold: str | None
    amounts: Amounts
    usage: Usage | None
    known: bool
    model: str
    why: Literal["reply", "released", "charged"] = "reply"
    prices: str = ""


@event("seconds_booked")
@dataclass(frozen=True, slots=True)
class SecondsBooked(EventData):
    """Own active time since the last booking (B12)."""

    seconds: int
