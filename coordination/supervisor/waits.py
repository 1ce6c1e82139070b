"""The calls that wait: at most one await_event per node, any number of ask_parent (S4)."""

from collections.abc import Generator
from contextlib import contextmanager

from palmette.coordination.supervisor.signals import Signal

__all__ = ["Wait", "Waits"]


class Wait:
    """One open call; nudged when something of its node changed."""

    def __init__(self, question: str | None = None) -> None:
        self.question = question
        self.superseded = False
        self.changed = Signal()


class Waits:
    """Every open wait, by node."""

    def __init__(self) -> None:
        self._awaits: dict[str, Wait] = {}
        self._asks: dict[str, list[Wait]] = {}

    @contextmanager
    def awaiting(self, node: str) -> Generator[Wait]:
        """Open an await_event; an older one of the same node ends with `superseded`."""
        older = self._awaits.get(node)
        if older is not None:
            older.superseded = True
            older.changed.set()
        wait = self._awaits[node] = Wait()
        try:
            yield wait
        finally:
            if self._awaits.get(node) is wait:
                del self._awaits[node]

    @contextmanager
    def asking(self, node: str, question: str) -> Generator[Wait]:
        """Open an ask_parent that waits for this question's answer."""
        wait = Wait(question)
        self._asks.setdefault(node, []).append(wait)
        try:
            yield wait
        finally:
            self._asks[node].remove(wait)
            if not self._asks[node]:
                del self._asks[node]

    def takes_messages(self, node: str, question: str | None) -> bool:
        """Whether an open call will hand a message to the node: its await_event, or the ask that it answers."""
        if node in self._awaits:
            return True
        return question is not None and any(wait.question == question for wait in self._asks.get(node, ()))

    def waiting(self, node: str) -> bool:
        """Whether any call of the node waits."""
        return node in self._awaits or node in self._asks

    def nudge(self, node: str) -> None:
        """Something of this node changed: every wait of it looks again."""
        wait = self._awaits.get(node)
        if wait is not None:
            wait.changed.set()
        for ask in self._asks.get(node, ()):
            ask.changed.set()

    def nudge_all(self) -> None:
        """Every wait looks again."""
        for node in [*self._awaits, *self._asks]:
            self.nudge(node)
