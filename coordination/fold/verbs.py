"""The fold: what agents did by verbs."""

from collections.abc import Mapping
from dataclasses import replace

from palmette.coordination import events as e
from palmette.coordination.fold.shared import Change, have
from palmette.coordination.records import Call, Node
from palmette.coordination.tables import Tables

__all__ = ["CHANGES"]


def _verb_called(tables: Tables, event: e.Event, data: e.VerbCalled) -> None:
    key = f"{data.session}:{data.request}"
    tables.put(Call(key, event.attempt, data.verb, data.digest, data.answer, event.seq))


def _submitted(tables: Tables, event: e.Event, data: e.Submitted) -> None:
    tables.put(
        replace(
            have(tables, Node, event.node),
            submit="judging",
            result=data.result,
            artifacts=data.artifacts,
            incomplete=data.incomplete,
            commit=data.commit,
            diffstat=data.diffstat,
        )
    )


def _submit_judged(tables: Tables, event: e.Event, data: e.SubmitJudged) -> None:
    outcome = {"accepted": "accepted", "check_failed": "rejected", "check_unavailable": "unavailable"}[data.outcome]
    node = have(tables, Node, event.node)
    tables.put(replace(node, submit=outcome, verdicts=data.verdicts))  # type: ignore[arg-type]


CHANGES: Mapping[str, Change] = {
    "verb_called": _verb_called,
    "submitted": _submitted,
    "submit_judged": _submit_judged,
}
"""Kind of event → what it does."""
