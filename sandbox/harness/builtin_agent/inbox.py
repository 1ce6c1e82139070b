"""What the driver says, as the loop takes it: texts, interruptions, the order to stop. Standard library only.

Nothing said is lost: a text that comes while the agent is idle begins a turn, one that comes in a turn goes into it.
"""

import threading
from dataclasses import dataclass

from palmette.sandbox.harness.builtin_agent.wire import Cancel

__all__ = ["Inbox", "Said"]


@dataclass(frozen=True)
class Said:
    """A text from above, and the id under which its arrival is told."""

    message: str
    text: str


class Inbox:
    """Filled by the thread that reads the driver, emptied by the one that runs the turns."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: list[Said] = []
        self._busy = False
        self._ended_early = False
        self._stopped = False
        self._cut = Cancel()

    # ── the reading side ─────────────────────────────────────────────────────────────────────────

    def say(self, said: Said, *, interrupt: bool = False) -> None:
        """Put a text in; with `interrupt` what is being done is cut short for it."""
        with self._changed:
            cut = self._cut if interrupt and self._busy else None
            self._waiting.append(said)
            self._busy = True
            self._changed.notify_all()
        if cut is not None:
            cut.set()

    def interrupt(self) -> None:
        """End the turn early; without a turn nothing is to be ended."""
        with self._changed:
            if not self._busy:
                return
            self._ended_early = True
            cut = self._cut
        cut.set()

    def stop(self) -> None:
        """End everything."""
        with self._changed:
            self._stopped = True
            cut = self._cut
            self._changed.notify_all()
        cut.set()

    # ── the working side ─────────────────────────────────────────────────────────────────────────

    @property
    def cut(self) -> Cancel:
        """Set when what is being done now is to be cut short; a new one after each `take`."""
        with self._changed:
            return self._cut

    @property
    def ended_early(self) -> bool:
        """Whether the turn is to end."""
        with self._changed:
            return self._ended_early or self._stopped

    @property
    def stopped(self) -> bool:
        """Whether everything is to end."""
        with self._changed:
            return self._stopped

    def wait(self) -> bool:
        """Wait for a turn to begin; false when everything is to end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._stopped)
            return not self._stopped

    def take(self) -> list[Said]:
        """All texts that wait; they are no longer a reason to cut anything short."""
        with self._changed:
            taken, self._waiting = self._waiting, []
            if self._cut.is_set and not self._ended_early and not self._stopped:
                self._cut = Cancel()
            return taken

    def end_turn(self, *, even_with_texts: bool) -> bool:
        """End the turn, unless texts wait and nothing forbids taking them into it; true if it ended.

        A text that waits after all begins the next turn.
        """
        with self._changed:
            if self._waiting and not even_with_texts:
                return False
            self._busy = bool(self._waiting)
            self._ended_early = False
            if not self._stopped:
                self._cut = Cancel()
            return True
