"""The fold: attempts."""

from collections.abc import Mapping
from dataclasses import replace

from palmette.coordination import events as e
from palmette.coordination.fold.shared import Change, have
from palmette.coordination.records import Attempt, Node
from palmette.coordination.tables import Tables
from palmette.coordination.values import Label, attempt_id

__all__ = ["CHANGES"]


def _attempt_started(tables: Tables, event: e.Event, data: e.AttemptStarted) -> None:
    node = have(tables, Node, event.node)
    label: Label = frozenset()
    if data.number > 1:
        label = have(tables, Attempt, attempt_id(node.id, data.number - 1)).label
    tables.put(
        Attempt(
            id=attempt_id(node.id, data.number),
            node=node.id,
            tree=node.tree,
            number=data.number,
            token_digest=data.token_digest,
            session=data.session,
            started_at=event.at,
            label=label | event.label,
        )
    )
    tables.put(replace(node, attempts=data.number, reminders=0))


def _session_started(tables: Tables, event: e.Event, data: e.SessionStarted) -> None:
    tables.put(replace(have(tables, Attempt, event.attempt), session=data.session))
    tables.put(replace(have(tables, Node, event.node), session=data.session))


def _attempt_ended(tables: Tables, event: e.Event, data: e.AttemptEnded) -> None:
    tables.put(replace(have(tables, Attempt, event.attempt), state=data.how))


def _prompted(tables: Tables, event: e.Event, data: e.Prompted) -> None:
    node = have(tables, Node, event.node)
    reminders = node.reminders + 1 if data.why == "reminder" else 0
    if reminders != node.reminders:
        tables.put(replace(node, reminders=reminders))


def _stepped(tables: Tables, event: e.Event, _: e.Stepped) -> None:
    tables.put(replace(have(tables, Attempt, event.attempt), last_step_seq=event.seq))


CHANGES: Mapping[str, Change] = {
    "attempt_started": _attempt_started,
    "session_started": _session_started,
    "attempt_ended": _attempt_ended,
    "prompted": _prompted,
    "stepped": _stepped,
}
"""Kind of event → what it does."""
