"""A node's own active time: it stands still while the node sleeps or waits; overlapping waits count once (B12)."""

from palmette.coordination.ports import Clock

__all__ = ["Activity"]


class Activity:
    """A stopwatch that runs while a turn is on and no wait is open.

    Args:
        clock: its monotonic side is read (E9).
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._turn = False
        self._frozen = False
        self._waits = 0
        self._since: float | None = None
        self._passed = 0.0
        self.last = clock.monotonic()

    @property
    def running(self) -> bool:
        """Whether time counts now."""
        return self._since is not None

    def turn(self, on: bool) -> None:
        """A turn begins or ends."""
        self._turn = on
        self._update()

    def freeze(self, on: bool) -> None:
        """The node is paused or goes on."""
        self._frozen = on
        self._update()

    def wait_begins(self) -> None:
        """An await_event or ask_parent opens."""
        self._waits += 1
        self._update()

    def wait_ends(self) -> None:
        """One of them closes."""
        self._waits -= 1
        self._update()

    def take(self) -> int:
        """Whole seconds since the last take; the fraction stays for the next one."""
        now = self._clock.monotonic()
        if self._since is not None:
            self._passed += now - self._since
            self._since = now
        whole = int(self._passed)
        self._passed -= whole
        return whole

    def touch(self) -> None:
        """Something was heard of the node (for the idle reading)."""
        self.last = self._clock.monotonic()

    def _update(self) -> None:
        self.touch()
        runs = self._turn and not self._frozen and self._waits == 0
        if runs and self._since is None:
            self._since = self._clock.monotonic()
        elif not runs and self._since is not None:
            self._passed += self._clock.monotonic() - self._since
            self._since = None
