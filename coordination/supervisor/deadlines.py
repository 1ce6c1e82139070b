"""Deadlines on the monotonic clock: they never slide, whatever the wall clock does (B10, E9)."""

from palmette.coordination.ports import Clock
from palmette.coordination.supervisor.signals import Signal

__all__ = ["Deadlines"]


class Deadlines:
    """When each node with a deadline is over, in monotonic seconds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ends: dict[str, float] = {}
        self.changed = Signal()

    def set(self, node: str, deadline_at: int, last_rest: int | None = None) -> None:
        """Start a node's timer.

        Args:
            deadline_at: UTC microseconds.
            last_rest: after a restart, the last journaled rest in seconds: the lesser of the two counts (B10).
        """
        rest = (deadline_at - self._clock.now()) / 1_000_000
        if last_rest is not None:
            rest = min(rest, last_rest)
        self._ends[node] = self._clock.monotonic() + rest
        self.changed.set()

    def drop(self, node: str) -> None:
        """The node has settled."""
        self._ends.pop(node, None)

    def rests(self) -> dict[str, int]:
        """Whole seconds each has left, rounded down; never negative."""
        now = self._clock.monotonic()
        return {node: max(int(end - now), 0) for node, end in self._ends.items()}

    def over(self) -> list[str]:
        """The nodes whose time is up."""
        now = self._clock.monotonic()
        return [node for node, end in self._ends.items() if end <= now]

    def next_in(self) -> float | None:
        """Seconds until the next is over; None without any."""
        return max(min(self._ends.values()) - self._clock.monotonic(), 0.0) if self._ends else None
