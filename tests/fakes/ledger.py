"""A ledger that records what it is asked, in order, and refuses when it is told to."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from palmette.coordination.errors import Refused
from palmette.coordination.ports import ModelCall
from palmette.coordination.values import Step, Usage

__all__ = ["Booking", "RecordingLedger"]


@dataclass(frozen=True)
class Booking:
    """What a hold was closed with."""

    hold: str
    usage: Usage | None
    model: str
    steps: tuple[Step, ...]
    sent: bool


@dataclass
class RecordingLedger:
    """Fills ports.Ledger.

    Attributes:
        order: shared with whoever records beside it: what happened, one after the other.
        admits: how many holds are granted; the next ones are refused. None for all.
    """

    order: list[tuple[str, Any]] = field(default_factory=list[tuple[str, Any]])
    admits: int | None = None
    calls: dict[str, ModelCall] = field(default_factory=dict[str, ModelCall])
    open: set[str] = field(default_factory=set[str])
    booked: list[Booking] = field(default_factory=list[Booking])

    async def hold(self, attempt: str, call: ModelCall) -> str:
        if self.admits is not None and len(self.calls) >= self.admits:
            self.order.append(("refused", call))
            raise Refused("budget_exhausted", "nothing is left")
        name = f"{attempt}/h{len(self.calls) + 1}"
        self.calls[name] = call
        self.open.add(name)
        self.order.append(("held", name))
        return name

    async def book(
        self, attempt: str, hold: str, usage: Usage | None, *, model: str, steps: Sequence[Step] = (), sent: bool = True
    ) -> None:
        if hold not in self.open:
            raise Refused("already_booked", f"{attempt} has no open hold {hold}")
        self.open.discard(hold)
        self.booked.append(Booking(hold, usage, model, tuple(steps), sent))
        self.order.append(("booked", hold))
