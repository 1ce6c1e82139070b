"""Who is told of each committed batch."""

import logging
from collections.abc import Callable, Sequence
from itertools import count

from palmette.coordination.events import Event

__all__ = ["Subscribers"]

Receive = Callable[[Sequence[Event]], None]
_log = logging.getLogger(__name__)


class Subscribers:
    """Receivers in the order of their subscription; to be used on the event loop only."""

    def __init__(self) -> None:
        self._ids = count()
        self._receivers: dict[int, Receive] = {}

    def add(self, receive: Receive) -> Callable[[], None]:
        """Returns the unsubscriber, which may be called more than once."""
        number = next(self._ids)
        self._receivers[number] = receive
        return lambda: self._receivers.pop(number, None) and None

    def tell(self, events: Sequence[Event]) -> None:
        """Tell every receiver. What one raises is logged: the events are facts, and the others wait for them."""
        if events:
            for receive in list(self._receivers.values()):
                try:
                    receive(events)
                except Exception:
                    _log.exception("a subscriber failed on events %s to %s", events[0].seq, events[-1].seq)
