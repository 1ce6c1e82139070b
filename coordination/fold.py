"""The fold: what each event does to the records. Nothing else changes a record.

The store applies it in the transaction that writes the event; `palmette verify` applies it to empty tables and
compares. Decisions (may this happen?) are taken before, in `palmette.coordination.commands`; by the time an event is
here it is a fact, so the fold never refuses, and what an event refers to must exist (else the journal is corrupt).
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from palmette.coordination import events as e
from palmette.coordination.errors import JournalCorrupt
from palmette.coordination.records import (
    Attempt,
    Call,
    Delivery,
    Handover,
    Hold,
    HttpSession,
    Message,
    Node,
    Purse,
    Question,
    Record,
    Rest,
    Tree,
)
from palmette.coordination.tables import Tables
from palmette.coordination.values import Amounts, Label, attempt_id

__all__ = ["PRIORITY", "apply"]

R = TypeVar("R", bound=Record)

PRIORITY = {"blocks_run": 2, "blocks_step": 1}
"""E2: question(blocks_run) > question(blocks_step) > everything else (0)."""


def apply(tables: Tables, event: e.Event) -> None:
    """Change the records as this event says.

    Raises:
        JournalCorrupt: the event refers to something that no earlier event made.
    """
    change = _CHANGES.get(event.kind)
    if change is not None:
        change(tables, event, event.data)


def _have(tables: Tables, kind: type[R], key: str | None) -> R:
    record = tables.get(kind, key) if key is not None else None
    if record is None:
        raise JournalCorrupt(f"an event refers to {kind.table} {key!r}, which no event made")
    return record


# ── trees and nodes ──────────────────────────────────────────────────────────────────────────────


def _tree_opened(tables: Tables, event: e.Event, data: e.TreeOpened) -> None:
    tables.put(
        Tree(
            id=event.tree or "",
            mode=data.mode,
            root_key=data.root_key,
            repository=data.repository,
            max_depth=data.max_depth,
            person=data.person,
            evaluation=data.evaluation,
            model_source=data.model_source,
            opened_at=event.at,
        )
    )


def _tree_closed(tables: Tables, event: e.Event, _: e.TreeClosed) -> None:
    tables.put(replace(_have(tables, Tree, event.tree), state="closed"))


def _node_spawned(tables: Tables, event: e.Event, data: e.NodeSpawned) -> None:
    node_id = event.node or ""
    if data.parent is not None:
        parent = _have(tables, Node, data.parent)
        tables.put(replace(parent, children=data.ordinal))
        purse = _have(tables, Purse, data.parent)
        tables.put(replace(purse, free=purse.free.minus(data.granted)))
    tables.put(
        Node(
            id=node_id,
            tree=event.tree or "",
            parent=data.parent,
            ordinal=data.ordinal,
            label=data.label,
            task=data.task,
            task_digest=data.task_digest,
            profile_name=data.profile_name,
            profile=data.profile,
            profile_body=data.profile_body,
            role=data.role,
            harness=data.harness,
            model=data.model,
            deadline_at=data.deadline_at,
            key=data.key,
            base=data.base,
            checks=data.checks,
            continuity=data.continuity,
            resumes=data.resumes,
            on_crash=data.on_crash,
            isolation=data.isolation,
            enforcement=data.enforcement,
            access=data.access,
            held=data.held,
            spawned_at=event.at,
            spawned_seq=event.seq,
        )
    )
    tables.put(
        Purse(
            node=node_id,
            parent=data.parent,
            granted=data.granted,
            free=data.granted,
            held=Amounts.zero(),
            spent=Amounts.zero(),
        )
    )


def _node_settled(tables: Tables, event: e.Event, data: e.NodeSettled) -> None:
    node = _have(tables, Node, event.node)
    tables.put(
        replace(
            node,
            state="settled",
            settlement=data.settlement,
            cause=data.cause,
            reason=data.reason,
            valid=data.valid,
            result=data.result,
            artifacts=data.artifacts,
            commit=data.commit,
            diffstat=data.diffstat,
            verdicts=data.verdicts,
            session=data.session,
            settled_at=event.at,
            settled_by=event.actor,
            settled_seq=event.seq,
        )
    )
    purse = _have(tables, Purse, node.id)
    tables.put(replace(purse, open=False))
    tables.delete(Rest, node.id)
    for delivery in tables.find(Delivery, node=node.id):
        tables.delete(Delivery, delivery.id)
    for handover in tables.find(Handover, node=node.id):
        tables.delete(Handover, handover.id)
    if node.parent is None:
        return
    above = _have(tables, Purse, node.parent)
    # The unspent moves back, and an overdraft is debited (B5): what is free here may be negative.
    tables.put(
        replace(
            above,
            free=above.free.plus(purse.granted).minus(purse.spent),
            spent=above.spent.plus(purse.spent),
            unknown=above.unknown or purse.unknown,
            usd_closed=above.usd_closed or purse.usd_closed,
        )
    )
    _queue(tables, event, node.parent, "settled", node.id)


def _root_adopted(tables: Tables, event: e.Event, _: e.RootAdopted) -> None:
    tables.put(replace(_have(tables, Tree, event.tree), adopted=True, detached=False))


def _detached(tables: Tables, event: e.Event, _: e.Detached) -> None:
    tables.put(replace(_have(tables, Tree, event.tree), detached=True))


def _attached(tables: Tables, event: e.Event, _: e.Attached) -> None:
    tables.put(replace(_have(tables, Tree, event.tree), detached=False))


def _paused(tables: Tables, event: e.Event, _: e.NodePaused) -> None:
    tables.put(replace(_have(tables, Node, event.node), paused=True))


def _unpaused(tables: Tables, event: e.Event, _: e.NodeResumed) -> None:
    tables.put(replace(_have(tables, Node, event.node), paused=False))


def _published(tables: Tables, event: e.Event, data: e.ResultPublished) -> None:
    tables.put(replace(_have(tables, Tree, event.tree), published=data.ref))


# ── attempts ─────────────────────────────────────────────────────────────────────────────────────


def _attempt_started(tables: Tables, event: e.Event, data: e.AttemptStarted) -> None:
    node = _have(tables, Node, event.node)
    label: Label = frozenset()
    if data.number > 1:
        label = _have(tables, Attempt, attempt_id(node.id, data.number - 1)).label
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
    tables.put(replace(_have(tables, Attempt, event.attempt), session=data.session))
    tables.put(replace(_have(tables, Node, event.node), session=data.session))


def _attempt_ended(tables: Tables, event: e.Event, data: e.AttemptEnded) -> None:
    tables.put(replace(_have(tables, Attempt, event.attempt), state=data.how))


def _prompted(tables: Tables, event: e.Event, data: e.Prompted) -> None:
    node = _have(tables, Node, event.node)
    reminders = node.reminders + 1 if data.why == "reminder" else 0
    if reminders != node.reminders:
        tables.put(replace(node, reminders=reminders))


def _stepped(tables: Tables, event: e.Event, _: e.Stepped) -> None:
    tables.put(replace(_have(tables, Attempt, event.attempt), last_step_seq=event.seq))


# ── money and time ───────────────────────────────────────────────────────────────────────────────


def _model_held(tables: Tables, event: e.Event, data: e.ModelHeld) -> None:
    purse = _have(tables, Purse, event.node)
    tables.put(replace(purse, free=purse.free.minus(data.amounts), held=purse.held.plus(data.amounts)))
    tables.put(Hold(data.hold, purse.node, event.attempt, data.amounts, event.at))


def _model_booked(tables: Tables, event: e.Event, data: e.ModelBooked) -> None:
    purse = _have(tables, Purse, event.node)
    free, held = purse.free, purse.held
    if data.hold is not None:
        hold = _have(tables, Hold, data.hold)
        free, held = free.plus(hold.amounts), held.minus(hold.amounts)
        tables.delete(Hold, hold.id)
    blind = not data.known and data.why != "released"
    tables.put(
        replace(
            purse,
            free=free.minus(data.amounts),
            held=held,
            spent=purse.spent.plus(data.amounts),
            unknown=purse.unknown or blind,
            # B8: dollars that nobody can even bound, under a dollar budget, close the channel.
            usd_closed=purse.usd_closed or (blind and data.amounts.usd is None and purse.granted.usd is not None),
        )
    )


def _seconds_booked(tables: Tables, event: e.Event, data: e.SecondsBooked) -> None:
    purse = _have(tables, Purse, event.node)
    amounts = Amounts(0, 0, 0, data.seconds)
    tables.put(replace(purse, free=purse.free.minus(amounts), spent=purse.spent.plus(amounts)))


# ── down ─────────────────────────────────────────────────────────────────────────────────────────


def _message_intended(tables: Tables, event: e.Event, data: e.MessageIntended) -> None:
    message = f"m{event.seq}"
    tables.put(
        Message(
            id=message,
            node=event.node or "",
            attempt=event.attempt,
            purpose=data.purpose,
            text=data.text,
            interrupt=data.interrupt,
            question=data.question,
            supersedes=data.supersedes,
            intended_at=event.at,
            actor=event.actor,
            label=event.label,
        )
    )
    if data.question is not None:
        tables.put(replace(_have(tables, Question, data.question), message=message))
    _queue(tables, event, event.node or "", "answer" if data.question else "message", message)


def _message_sent(tables: Tables, event: e.Event, data: e.MessageSent) -> None:
    message = _have(tables, Message, data.message)
    tables.put(replace(message, state="sent", attempt=event.attempt))
    if data.via != "await_event":
        # It reaches the node by another road: nothing is left to hand over.
        tables.delete(Delivery, _place(message))
    _taint(tables, event.attempt, message.label)


def _message_outcome(tables: Tables, event: e.Event, data: e.MessageOutcome) -> None:
    tables.put(replace(_have(tables, Message, data.message), state=data.outcome))


def _message_moved(tables: Tables, event: e.Event, data: e.MessageMoved) -> None:
    message = replace(_have(tables, Message, data.message), state="intent", attempt=event.attempt)
    tables.put(message)
    kind = "answer" if message.question else "message"
    seq = int(message.id[1:])
    tables.put(Delivery(_place(message), message.node, seq, kind, message.id, 0, message.intended_at, message.label))


# ── up ───────────────────────────────────────────────────────────────────────────────────────────


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
    old = _have(tables, Question, data.question)
    _forget(tables, old.holder, old.id)
    question = replace(old, holder=data.holder, escalations=old.escalations + 1)
    tables.put(question)
    _hold_question(tables, event, question)


def _question_answered(tables: Tables, event: e.Event, data: e.QuestionAnswered) -> None:
    question = _have(tables, Question, data.question)
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
    tables.put(replace(_have(tables, Question, data.question), state="delivered"))


def _question_withdrawn(tables: Tables, _: e.Event, data: e.QuestionWithdrawn) -> None:
    question = _have(tables, Question, data.question)
    _forget(tables, question.holder, question.id)
    tables.put(replace(question, state="withdrawn"))


def _notified(tables: Tables, event: e.Event, _: e.Notified) -> None:
    node = _have(tables, Node, event.node)
    if node.parent is not None:
        _queue(tables, event, node.parent, "notify", node.id)


def _handed_over(tables: Tables, event: e.Event, data: e.HandedOver) -> None:
    label: Label = frozenset()
    for seq in data.events:
        delivery = _have(tables, Delivery, f"{event.node}:{seq}")
        label |= delivery.label
        tables.put(replace(delivery, handed=delivery.handed + 1))
    tables.put(Handover(f"c{event.seq}", event.node or "", event.attempt or "", data.events))
    _taint(tables, event.attempt, label)


def _acknowledged(tables: Tables, event: e.Event, data: e.Acknowledged) -> None:
    tables.delete(Handover, data.cursor)
    for seq in data.events:
        tables.delete(Delivery, f"{event.node}:{seq}")


# ── verbs and sessions ───────────────────────────────────────────────────────────────────────────


def _verb_called(tables: Tables, event: e.Event, data: e.VerbCalled) -> None:
    key = f"{data.session}:{data.request}"
    tables.put(Call(key, event.attempt, data.verb, data.digest, data.answer, event.seq))


def _submitted(tables: Tables, event: e.Event, data: e.Submitted) -> None:
    tables.put(
        replace(
            _have(tables, Node, event.node),
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
    node = _have(tables, Node, event.node)
    tables.put(replace(node, submit=outcome, verdicts=data.verdicts))  # type: ignore[arg-type]


def _http_session_opened(tables: Tables, event: e.Event, data: e.HttpSessionOpened) -> None:
    tables.put(HttpSession(data.session, data.endpoint, data.credential, data.protocol_version, data.params, event.at))


def _http_session_closed(tables: Tables, _: e.Event, data: e.HttpSessionClosed) -> None:
    tables.delete(HttpSession, data.session)


def _clock_marked(tables: Tables, event: e.Event, data: e.ClockMarked) -> None:
    for node, seconds in data.rests.items():
        tables.put(Rest(node, seconds, event.at))


# ── shared ───────────────────────────────────────────────────────────────────────────────────────


def _queue(tables: Tables, event: e.Event, owner: str, kind: Any, source: str, priority: int = 0) -> None:
    """Put the event into a node's queue; a settled node's queue takes nothing."""
    node = _have(tables, Node, owner)
    if node.state == "open":
        key = f"{owner}:{event.seq}"
        tables.put(Delivery(key, owner, event.seq, kind, source, priority, event.at, event.label))


def _hold_question(tables: Tables, event: e.Event, question: Question) -> None:
    if question.holder not in (None, "person"):
        _queue(tables, event, question.holder, "question", question.id, PRIORITY.get(question.urgency, 0))


def _forget(tables: Tables, holder: str | None, source: str) -> None:
    """Take a question out of its former holder's queue: it is not theirs to decide any more."""
    if holder not in (None, "person"):
        for delivery in tables.find(Delivery, node=holder):
            if delivery.source == source and delivery.type == "question" and not delivery.handed:
                tables.delete(Delivery, delivery.id)


def _place(message: Message) -> str:
    """The key of a message's entry in its node's queue."""
    return f"{message.node}:{message.id[1:]}"


def _taint(tables: Tables, attempt: str | None, label: Label) -> None:
    """F2: an attempt's label is the union of the origins of all it was handed."""
    if attempt is not None and (record := tables.get(Attempt, attempt)) is not None and not label <= record.label:
        tables.put(replace(record, label=record.label | label))


_CHANGES: dict[str, Callable[[Tables, e.Event, Any], None]] = {
    "tree_opened": _tree_opened,
    "tree_closed": _tree_closed,
    "node_spawned": _node_spawned,
    "node_settled": _node_settled,
    "root_adopted": _root_adopted,
    "attached": _attached,
    "detached": _detached,
    "node_paused": _paused,
    "node_resumed": _unpaused,
    "result_published": _published,
    "attempt_started": _attempt_started,
    "session_started": _session_started,
    "attempt_ended": _attempt_ended,
    "prompted": _prompted,
    "stepped": _stepped,
    "model_held": _model_held,
    "model_booked": _model_booked,
    "seconds_booked": _seconds_booked,
    "message_intended": _message_intended,
    "message_sent": _message_sent,
    "message_outcome": _message_outcome,
    "message_moved": _message_moved,
    "question_asked": _question_asked,
    "question_escalated": _question_escalated,
    "question_answered": _question_answered,
    "question_delivered": _question_delivered,
    "question_withdrawn": _question_withdrawn,
    "notified": _notified,
    "handed_over": _handed_over,
    "acknowledged": _acknowledged,
    "verb_called": _verb_called,
    "submitted": _submitted,
    "submit_judged": _submit_judged,
    "http_session_opened": _http_session_opened,
    "http_session_closed": _http_session_closed,
    "clock_marked": _clock_marked,
}
