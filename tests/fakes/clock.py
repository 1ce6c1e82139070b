"""A clock and ids that tests own: time moves only when a test says so."""

import heapq
from collections.abc import Generator
from contextlib import contextmanager
from itertools import count

import anyio
from anyio import CancelScope

__all__ = ["CountingIds", "ManualClock"]


class ManualClock:
    """Fills ports.Clock; `advance` moves both sides, `jump` only the wall clock."""

    def __init__(self, now: int = 1_800_000_000_000_000) -> None:
        self._now = now
        self._monotonic = 1_000.0
        self._order = count()
        self._alarms: list[tuple[float, int, CancelScope | anyio.Event]] = []

    def now(self) -> int:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        event = anyio.Event()
        heapq.heappush(self._alarms, (self._monotonic + seconds, next(self._order), event))
        self._ring()
        await event.wait()

    @contextmanager
    def limit(self, seconds: float) -> Generator[CancelScope]:
        with CancelScope() as scope:
            heapq.heappush(self._alarms, (self._monotonic + seconds, next(self._order), scope))
            self._ring()
            yield scope

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._monotonic += seconds
        self._now += int(seconds * 1_000_000)
        self._ring()

    def jump(self, seconds: float) -> None:
        """Set the wall clock, as an administrator or a time server would."""
        self._now += int(seconds * 1_000_000)

    def _ring(self) -> None:
        while self._alarms and self._alarms[0][0] <= self._monotonic:
            _, _, alarm = heapq.heappop(self._alarms)
            if isinstance(alarm, CancelScope):
                alarm.cancel()
            else:
                alarm.set()


class CountingIds:
    """Fills ports.Ids with names a test can expect: t1, t2, …; token-1, …"""

    def __init__(self) -> None:
        self._trees = count(1)
        self._tokens = count(1)

    def tree(self) -> str:
        return f"t{next(self._trees)}"

    def token(self) -> str:
        return f"token-{next(self._tokens)}"
