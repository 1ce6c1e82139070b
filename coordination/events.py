"""The facts a journal can hold: one frozen class per kind, each with a version, and the envelope around them (§6).

A kind's fields may grow (with defaults) without a new version; a change of meaning is a new version beside the old
one. The catalogue of kinds in the documentation is generated from the docstrings here (E11).
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeVar

from palmette.coordination.values import Amounts, Label, Text, Usage, Verdict

__all__ = [
    "EVENT_TYPES",
    "Acknowledged",
    "Attached",
    "AttemptEnded",
    "AttemptStarted",
    "ClockMarked",
    "Detached",
    "Draft",
    "Event",
    "EventData",
    "HandedOver",
    "HttpSessionClosed",
    "HttpSessionOpened",
    "MessageIntended",
    "MessageMoved",
    "MessageOutcome",
    "MessageSent",
    "ModelBooked",
    "ModelHeld",
    "NodePaused",
    "NodeResumed",
    "NodeSettled",
    "NodeSpawned",
    "Notified",
    "Prompted",
    "QuestionAnswered",
    "QuestionAsked",
    "QuestionDelivered",
    "QuestionEscalated",
    "QuestionWithdrawn",
    "ResultPublished",
    "RootAdopted",
    "SecondsBooked",
    "Selected",
    "SessionStarted",
    "Stepped",
    "SubmitJudged",
    "Submitted",
    "SupervisorStarted",
    "SupervisorStopped",
    "TreeClosed",
    "TreeOpened",
    "VerbCalled",
    "kind_of",
]


class EventData:
    """What every kind's data has: its name and version."""

    kind: ClassVar[str]
    version: ClassVar[int]


D = TypeVar("D", bound=EventData)
EVENT_TYPES: dict[tuple[str, int], type[EventData]] = {}
"""(kind, version) → class."""


def _event(kind: str, version: int = 1) -> Any:
    def register(cls: type[D]) -> type[D]:
        cls.kind, cls.version = kind, version
        EVENT_TYPES[kind, version] = cls
        return cls

    return register


def kind_of(data: EventData) -> str:
    """The kind's name, as stored."""
    return data.kind


@dataclass(frozen=True, slots=True)
class Draft:
    """An event before it has a place in the journal.

    Attributes:
        tree, node, attempt: what it is about; None where it concerns the installation.
        actor: who did it: `person`, `supervisor`, `gateway`, or an attempt's id (its own label is then added, F2).
        because: the seq of the event that led to it.
        origin: where its content comes from (F2).
        label: further origins of the content; the store adds `origin` and the acting attempt's label.
    """

    data: EventData
    tree: str | None = None
    node: str | None = None
    attempt: str | None = None
    actor: str = "supervisor"
    because: int | None = None
    origin: str = "supervisor"
    label: Label = frozenset()


@dataclass(frozen=True, slots=True)
class Event:
    """One row of the journal: the envelope of DESIGN §6 and the kind's data.

    Attributes:
        seq: its place in the journal; strictly increasing, unique over all trees.
        at: UTC, microseconds since 1970.
    """

    seq: int
    at: int
    tree: str | None
    node: str | None
    attempt: str | None
    kind: str
    version: int
    actor: str
    because: int | None
    origin: str
    label: Label
    data: Any


# ── the installation ─────────────────────────────────────────────────────────────────────────────


@_event("supervisor_started")
@dataclass(frozen=True, slots=True)
class SupervisorStarted(EventData):
    """A supervisor took the journal; everything still open from an earlier life is recovered after it."""

    package_version: str
    pid: int
    started_by: Literal["person", "relay"]


@_event("supervisor_stopped")
@dataclass(frozen=True, slots=True)
class SupervisorStopped(EventData):
    """A supervisor ended in good order."""

    reason: Literal["down", "idle", "signal"]


@_event("clock_marked")
@dataclass(frozen=True, slots=True)
class ClockMarked(EventData):
    """How many seconds each open deadline had left (B10: a restart grants the lesser of this and the wall clock's)."""

    rests: dict[str, int]


@_event("http_session_opened")
@dataclass(frozen=True, slots=True)
class HttpSessionOpened(EventData):
    """An MCP client initialized over HTTP; the record from which its session is made again after a restart (S5)."""

    session: str
    endpoint: str
    credential: str
    protocol_version: str
    params: dict[str, Any]


@_event("http_session_closed")
@dataclass(frozen=True, slots=True)
class HttpSessionClosed(EventData):
    """The client ended its session, or it was idle for too long."""

    session: str


# ── trees and nodes ──────────────────────────────────────────────────────────────────────────────


@_event("tree_opened")
@dataclass(frozen=True, slots=True)
class TreeOpened(EventData):
    """A root task began.

    Attributes:
        root_key: for an attached root, who it is (harness and session, or the relay's session); else None.
        max_depth: nodes at this depth cannot spawn (B15).
        person: whether the human channel is open (Q8: off in evaluation mode).
        model_source: where model calls go: a base URL or `scripted:FILE`; empty for an attached root's own.
    """

    mode: Literal["driven", "attached"]
    root_key: str | None
    repository: str | None
    max_depth: int
    person: bool
    evaluation: bool
    model_source: str = ""


@_event("tree_closed")
@dataclass(frozen=True, slots=True)
class TreeClosed(EventData):
    """The root settled; no hold is open (B6)."""

    settlement: str
    spent: Amounts


@_event("node_spawned")
@dataclass(frozen=True, slots=True)
class NodeSpawned(EventData):
    """A node exists: its grant was taken from the parent's free (B1), nothing has been started yet.

    Attributes:
        granted: what the node may spend; for a root, the pool.
        profile: the effective profile after intersection with the parent's (P1), as data.
        cut: what the intersection took away.
        key: its parent's idempotency key (E6), or None.
        task_digest: sha256 over task, profile and base: what the key stands for.
        base: the commit it starts from, or None without a repository.
        on_crash: what becomes of a live attempt after a restart (E5).
        held: whether each model call is held before it is made (else a restart charges the whole grant, B11).
    """

    parent: str | None
    ordinal: int
    label: str
    task: Text
    task_digest: str
    profile_name: str
    profile: dict[str, Any]
    profile_body: Text
    role: str
    harness: str
    model: str
    granted: Amounts
    deadline_at: int | None = None
    key: str | None = None
    base: str | None = None
    checks: list[dict[str, Any]] | None = None
    cut: list[str] | None = None
    continuity: Literal["fresh", "resume"] = "fresh"
    resumes: str | None = None
    on_crash: Literal["resume", "lost"] = "resume"
    isolation: str = "unsafe-none"
    enforcement: Literal["gateway", "reported", "none"] = "reported"
    access: Literal["key", "own-login", "scripted", "none"] = "scripted"
    held: bool = True


@_event("root_adopted")
@dataclass(frozen=True, slots=True)
class RootAdopted(EventData):
    """A person took over a detached root: its questions and events go to the inbox from here on."""


@_event("detached")
@dataclass(frozen=True, slots=True)
class Detached(EventData):
    """An attached root's last connection closed; detached, never settled (R8)."""

    connection: str


@_event("attached")
@dataclass(frozen=True, slots=True)
class Attached(EventData):
    """A detached root's harness is back."""

    connection: str


@_event("node_paused")
@dataclass(frozen=True, slots=True)
class NodePaused(EventData):
    """A person froze the node."""


@_event("node_resumed")
@dataclass(frozen=True, slots=True)
class NodeResumed(EventData):
    """A paused node goes on."""


@_event("node_settled")
@dataclass(frozen=True, slots=True)
class NodeSettled(EventData):
    """How a node ended: only this returns the grant and stops children (B4, B13).

    Attributes:
        cause: a row of the cause table (E8).
        valid: True if the deliverable checks passed, False if not, None if unchecked (C6).
        spent: the node's own and its settled children's spend; goes to the parent's spent.
        commit: the collected result commit, if any.
        session: the harness's session id, for a later resume.
    """

    settlement: Literal["done", "down", "cancelled", "lost"]
    cause: str
    reason: str
    valid: bool | None
    spent: Amounts
    unknown: bool
    result: Text = ""
    artifacts: list[str] | None = None
    commit: str | None = None
    diffstat: dict[str, int] | None = None
    verdicts: tuple[Verdict, ...] = ()
    session: str | None = None


@_event("result_published")
@dataclass(frozen=True, slots=True)
class ResultPublished(EventData):
    """The root's result became a ref in the repository (W8)."""

    ref: str
    commit: str


# ── attempts ─────────────────────────────────────────────────────────────────────────────────────


@_event("attempt_started")
@dataclass(frozen=True, slots=True)
class AttemptStarted(EventData):
    """One life of a node began.

    Attributes:
        token_digest: sha256 of its access token; the token itself is never stored.
        session: the harness session it resumes, or None.
    """

    number: int
    token_digest: str
    session: str | None


@_event("session_started")
@dataclass(frozen=True, slots=True)
class SessionStarted(EventData):
    """The harness told the id of its session."""

    session: str
    harness_version: str


@_event("attempt_ended")
@dataclass(frozen=True, slots=True)
class AttemptEnded(EventData):
    """One life of a node is over and nothing of it is left running."""

    how: Literal["settled", "parked", "crashed"]
    exit_code: int | None = None


@_event("prompted")
@dataclass(frozen=True, slots=True)
class Prompted(EventData):
    """The supervisor prompted an idle node.

    Attributes:
        why: the first prompt; unread events; a refund after a refusal; a reminder to submit (E10); a resume (E5).
    """

    why: Literal["first", "wake", "refund", "reminder", "resumed", "message"]
    text: Text


@_event("stepped")
@dataclass(frozen=True, slots=True)
class Stepped(EventData):
    """New steps of the attempt, only those not journaled before (§6).

    Attributes:
        steps: a JSON list of steps (codec.steps_text): one text, so that a long one is one file and can be redacted.
        count: how many there are.
    """

    steps: Text
    count: int


# ── money and time ───────────────────────────────────────────────────────────────────────────────


@_event("model_held")
@dataclass(frozen=True, slots=True)
class ModelHeld(EventData):
    """The worst case of one model call was set aside before the call."""

    hold: str
    amounts: Amounts


@_event("model_booked")
@dataclass(frozen=True, slots=True)
class ModelBooked(EventData):
    """A hold was closed with what was truly spent.

    Attributes:
        hold: the hold it closes, or None for spend that was never held.
        amounts: what was spent; beyond the hold too (B5).
        usage: tokens as the provider told them; None if it never did.
        known: False if the amounts are an upper bound (B8).
        why: a reply came; the call was never made (nothing charged); or its maker is gone and the hold is charged in
            full (B11).
    """

    hold: str | None
    amounts: Amounts
    usage: Usage | None
    known: bool
    model: str
    why: Literal["reply", "released", "charged"] = "reply"
    prices: str = ""


@_event("seconds_booked")
@dataclass(frozen=True, slots=True)
class SecondsBooked(EventData):
    """Own active time since the last booking (B12)."""

    seconds: int


# ── down: messages ───────────────────────────────────────────────────────────────────────────────


@_event("message_intended")
@dataclass(frozen=True, slots=True)
class MessageIntended(EventData):
    """Something is to be said to a node (E4: intent). Its id is `m<seq>`.

    Attributes:
        purpose: a steer, an override of an earlier decision (Q4), or the answer to a question (Q2).
        supersedes: for an override, the seq of what it corrects.
        question: for an answer, the question's id.
    """

    purpose: Literal["steer", "override", "answer"]
    text: Text
    interrupt: bool = False
    supersedes: int | None = None
    question: str | None = None


@_event("message_sent")
@dataclass(frozen=True, slots=True)
class MessageSent(EventData):
    """The message is being handed to the harness, or to a call that waits (E4: sent)."""

    message: str
    via: Literal["harness", "call", "await_event"]


@_event("message_outcome")
@dataclass(frozen=True, slots=True)
class MessageOutcome(EventData):
    """What became of a message (E4: outcome). `unknown`: sent, then a crash; it is not replayed by itself."""

    message: str
    outcome: Literal["delivered", "unknown", "undeliverable"]


@_event("message_moved")
@dataclass(frozen=True, slots=True)
class MessageMoved(EventData):
    """An undelivered message moved along to the node's next attempt."""

    message: str


# ── up: questions, notices, the queue ────────────────────────────────────────────────────────────


@_event("question_asked")
@dataclass(frozen=True, slots=True)
class QuestionAsked(EventData):
    """A node asked its parent. Its id is `q<seq>`.

    Attributes:
        holder: who has to decide now: a node's id, `person`, or None if nobody is above (Q3).
    """

    question: Text
    why: Text
    urgency: Literal["blocks_run", "blocks_step", "can_continue"]
    asked_as: Literal["decision", "permission", "plan"]
    options: list[str] | None
    holder: str | None


@_event("question_escalated")
@dataclass(frozen=True, slots=True)
class QuestionEscalated(EventData):
    """Its holder re-raised it, exactly one level (Q1)."""

    question: str
    holder: str
    why: Text


@_event("question_answered")
@dataclass(frozen=True, slots=True)
class QuestionAnswered(EventData):
    """Its holder decided; it counts as answered once delivered (Q2)."""

    question: str
    text: Text
    by: str
    oracle_injection: bool


@_event("question_delivered")
@dataclass(frozen=True, slots=True)
class QuestionDelivered(EventData):
    """The answer reached the asker."""

    question: str


@_event("question_withdrawn")
@dataclass(frozen=True, slots=True)
class QuestionWithdrawn(EventData):
    """The asker ended or submitted; nothing is to be decided any more."""

    question: str
    reason: str


@_event("notified")
@dataclass(frozen=True, slots=True)
class Notified(EventData):
    """A node told its parent something, without waiting."""

    summary: Text
    salience: int
    refs: list[str] | None = None


@_event("handed_over")
@dataclass(frozen=True, slots=True)
class HandedOver(EventData):
    """A set of events was given to a waiting attempt; its cursor is `c<seq>` (S4)."""

    events: list[int]


@_event("acknowledged")
@dataclass(frozen=True, slots=True)
class Acknowledged(EventData):
    """The attempt presented a cursor: that set is not given again (S4)."""

    cursor: str
    events: list[int]


# ── verbs ────────────────────────────────────────────────────────────────────────────────────────


@_event("verb_called")
@dataclass(frozen=True, slots=True)
class VerbCalled(EventData):
    """A verb that writes was carried out, in the same transaction as its effect.

    (session, request) is its idempotency key: the same request, sent again after a restart, gets `answer` again
    (notes on the stdio relay). `digest` is of verb and arguments.
    """

    session: str
    request: str
    verb: str
    digest: str
    answer: dict[str, Any]


@_event("submitted")
@dataclass(frozen=True, slots=True)
class Submitted(EventData):
    """A node handed in its result; the deliverable checks run on `commit` next."""

    result: Text
    artifacts: list[str] | None
    incomplete: bool
    commit: str | None
    diffstat: dict[str, int] | None = None


@_event("submit_judged")
@dataclass(frozen=True, slots=True)
class SubmitJudged(EventData):
    """What the deliverable checks said of a submit; only an accepted one settles the node (C6)."""

    outcome: Literal["accepted", "check_failed", "check_unavailable"]
    verdicts: tuple[Verdict, ...]


@_event("selected")
@dataclass(frozen=True, slots=True)
class Selected(EventData):
    """A driver chose among its settled children (C7); `winner` is None if nothing valid was there."""

    nodes: list[str]
    objectives: list[str]
    winner: str | None
    why: str
