"""The fold: what each event does to the records. Nothing else changes a record.

The store applies it in the transaction that writes the event; `palmette verify` applies it to empty tables and
compares. Decisions (may this happen?) are taken before, in `palmette.coordination.commands`; by the time an event is
here it is a fact, so the fold never refuses, and what an event refers to must exist (else the journal is corrupt).
"""

from collections.abc import Mapping

from palmette.coordination.events import Event
from palmette.coordination.fold import attempts, installation, messages, money, questions, queue, trees, verbs
from palmette.coordination.fold.questions import PRIORITY
from palmette.coordination.fold.shared import Change
from palmette.coordination.tables import Tables

__all__ = ["PRIORITY", "apply"]

_CHANGES: Mapping[str, Change] = {
    **trees.CHANGES,
    **attempts.CHANGES,
    **money.CHANGES,
    **messages.CHANGES,
    **questions.CHANGES,
    **queue.CHANGES,
    **verbs.CHANGES,
    **installation.CHANGES,
}


def apply(tables: Tables, event: Event) -> None:
    """Change the records as this event says.

    Raises:
        JournalCorrupt: the event refers to something that no earlier event made.
    """
    change = _CHANGES.get(event.kind)
    if change is not None:
        change(tables, event, event.data)
