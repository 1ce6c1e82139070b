"""The fold: what goes up and has to be decided."""

from collections.abc import Mapping
from dataclasses import replace

from palmette.coordination import events as e
from palmette.coordination.fold.shared import Change, enqueue, have
from palmette.coordination.records import Delivery, Question
from palmette.coordination.tables import Tables

__all__ = ["CHANGES", "PRIORITY"]

PRIORITY = {"blocks_run": 2, "blocks_step": 1}
"""E2: question(blocks_run) > question(blocks_step) > everything else (0)."""


def _question_asked(tables: Tables, event: e.Event, data: e.QuestionAsked) -> None:
    question = Question(
        id=f"q{event.seq}",
        tree=event.tree or "",
        asker=event.node or "",
        attempt=event.attempt or "",
        question=data.question,
        why=data.why,
        urgency=data.urgency,
        asked_as=data.asked_as,
        options=data.options,
        holder=data.holder,
        asked_at=event.at,
        label=event.label,
    )
    tables.put(question)
    _hold_question(tables, event, question)


def _question_escalated(tables: Tables, event: e.Event, data: e.QuestionEscalated) -> None:
    old = have(tables, Question, data.question)
    _forget(tables, old.holder, old.id)
    question = replace(old, holder=data.holder, escalations=old.escalations + 1)
    tables.put(question)
    _hold_question(tables, event, question)


def _question_answered(tables: Tables, event: e.Event, data: e.QuestionAnswered) -> None:
    question = have(tables, Question, data.question)
    _forget(tables, question.holder, question.id)
    tables.put(
        replace(
            question,
            state="answered",
            answer=data.text,
            answered_by=data.by,
            oracle_injection=data.oracle_injection,
        )
    )


def _question_delivered(tables: Tables, _: e.Event, data: e.QuestionDelivered) -> None:
    tables.put(replace(have(tables, Question, data.question), state="delivered"))


def _question_withdrawn(tables: Tables, _: e.Event, data: e.QuestionWithdrawn) -> None:
    question = have(tables, Question, data.question)
    _forget(tables, question.holder, question.id)
    tables.put(replace(question, state="withdrawn"))


def _hold_question(tables: Tables, event: e.Event, question: Question) -> None:
    if question.holder not in (None, "person"):
        enqueue(tables, event, question.holder, "question", question.id, PRIORITY.get(question.urgency, 0))


def _forget(tables: Tables, holder: str | None, source: str) -> None:
    """Take a question out of its former holder's queue: it is not theirs to decide any more."""
    if holder not in (None, "person"):
        for delivery in tables.find(Delivery, node=holder):
            if delivery.source == source and delivery.type == "question" and not delivery.handed:
                tables.delete(Delivery, delivery.id)


CHANGES: Mapping[str, Change] = {
    "question_asked": _question_asked,
    "question_escalated": _question_escalated,
    "question_answered": _question_answered,
    "question_delivered": _question_delivered,
    "question_withdrawn": _question_withdrawn,
}
"""Kind of event → what it does."""
