"""The rows that events project to: what a tree looks like now.

Each record class is one table, keyed by its first field; `indexes` names the field groups that are looked up. Records
are frozen: the fold (palmette.coordination.fold) replaces them, and nobody else does.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from palmette.coordination.values import Amounts, Label, Text, Verdict

__all__ = [
    "RECORD_TYPES",
    "Attempt",
    "Call",
    "Delivery",
    "Handover",
    "Hold",
    "HttpSession",
    "Message",
    "Node",
    "Purse",
    "Question",
    "Record",
    "Rest",
    "Tree",
]


class Record:
    """What every record class has: its table, and the field groups it can be found by."""

    table: ClassVar[str]
    indexes: ClassVar[tuple[tuple[str, ...], ...]] = ()


@dataclass(frozen=True, slots=True)
class Tree(Record):
    """One run of one root task."""

    table: ClassVar[str] = "tree"
    indexes: ClassVar[tuple[tuple[str, ...], ...]] = (("state",), ("root_key", "state"))

    id: str
    mode: Literal["driven", "attached"]
    root_key: str | None
    repository: str | None
    max_depth: int
    person: bool
    evaluation: bool
    model_source: str
    opened_at: int
    state: Literal["open", "closed"] = "open"
    adopted: bool = False
    detached: bool = False
    published: str | None = None


@dataclass(frozen=True, slots=True)
class Node(Record):
    """The lasting identity of an agent in a tree."""

    table: ClassVar[str] = "node"
    indexes: ClassVar[tuple[tuple[str, ...], ...]] = (
        ("tree",),
        ("parent",),
        ("parent", "state"),
        ("parent", "label"),
        ("parent", "key"),
        ("tree", "state"),
    )

    id: str
    tree: str
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
    deadline_at: int | None
    key: str | None
    base: str | None
    checks: list[dict[str, Any]] | None
    continuity: str
    resumes: str | None
    on_crash: Literal["resume", "lost"]
    isolation: str
    enforcement: str
    access: str
    held: bool
    spawned_at: int
    spawned_seq: int
    state: Literal["open", "settled"] = "open"
    children: int = 0
    attempts: int = 0
    paused: bool = False
    session: str | None = None
    submit: Literal["none", "judging", "accepted", "rejected", "unavailable"] = "none"
    reminders: int = 0
    result: Text = ""
    artifacts: list[str] | None = None
    incomplete: bool = False
    commit: str | None = None
    verdicts: tuple[Verdict, ...] = ()
    settlement: str | None = None
    cause: str | None = None
    reason: str = ""
    valid: bool | None = None
    diffstat: dict[str, int] | None = None
    settled_at: int | None = None
    settled_by: str | None = None
    settled_seq: int | None = None


@dataclass(frozen=True, slots=True)
class Attempt(Record):
    """One life of a node."""

    table: ClassVar[str] = "attempt"
    indexes: ClassVar[tuple[tuple[str, ...], ...]] = (("node",), ("token_digest",), ("state",))

    id: str
    node: str
    tree: str
    number: int
    token_digest: str
    session: str | None
    started_at: int
    label: Label = frozenset()
    state: Literal["live", "settled", "parked", "crashed"] = "live"
    last_step_seq: int = 0


@dataclass(frozen=True, slots=True)
class Purse(Record):
    """A node's account. B1: granted = free + held + spent + Σ grants of open children, on every budgeted channel.

    Attributes:
        spent: own spend and that of settled children, counted on every channel, budgeted or not.
        unknown: some of `spent` is a bound, not a reading (B8).
        usd_closed: unknown dollars under a dollar budget: the channel admits nothing any more (B8).
    """

    table: ClassVar[str] = "purse"
    indexes: ClassVar[tuple[tuple[str, ...], ...]] = ()

    node: str
    parent: str | None
    granted: Amounts
    free: Amounts
    held: Amounts
    spent: Amounts
    open: bool = True
    unknown: bool = False
    usd_closed: bool = False


@dataclass(frozen=True, slots=True)
class Hold(Record):
    """The worst case of a model call under way."""

    table: ClassVar[str] = "hold"
    indexes: ClassVar[tuple[tuple[str, ...], ...]] = (("node",),)

    id: str
    node: str
    attempt: str | None
    amounts: Amounts
    held_at: int


@dataclass(frozen=True, slots=True)
class Question(Record):
    """A question on its way up, and its answer on the way down."""

    table: ClassVar[str] = "question"
    indexes: ClassVar[tuple[tuple[str, ...], ...]] = (("tree",), ("asker", "state"), ("holder", "state"), ("state",))

    id: str
    tree: str
    asker: str
    attempt: str
    question: Text
    why: Text
    urgency: Literal["blocks_run", "blocks_step", "can_continue"]
    asked_as: Literal["decision", "permission", "plan"]
    options: list[str] | None
    holder: str | None
    asked_at: int
    label: Label
    state: Literal["open", "answered", "delivered", "withdrawn"] = "open"
    escalations: int = 0
    answer: Text | None = None
    answered_by: str | None = None
    oracle_injection: bool = False
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Message(Record):
    """Something said down the tree (E4: intent → sent → outcome)."""

    table: ClassVar[str] = "message"
    indexes: ClassVar[tuple[tuple[str, ...], ...]] = (("node", "state"), ("question",))

    id: str
    node: str
    attempt: str | None
    purpose: Literal["steer", "override", "answer"]
    text: Text
    interrupt: bool
    question: str | None
    supersedes: int | None
    intended_at: int
    actor: str
    label: Label
    state: Literal["intent", "sent", "delivered", "unknown", "undeliverable"] = "intent"


@dataclass(frozen=True, slots=True)
class Delivery(Record):
    """An event in a node's queue, until it is acknowledged (S4, E3)."""

    table: ClassVar[str] = "delivery"
    indexes: ClassVar[tuple[tuple[str, ...], ...]] = (("node",),)

    id: str
    node: str
    seq: int
    type: Literal["settled", "question", "answer", "message", "finding", "notify", "check"]
    source: str
    priority: int
    at: int
    label: Label
    handed: int = 0


@dataclass(frozen=True, slots=True)
class Handover(Record):
    """A set of events that was handed over and not acknowledged yet; its id is the cursor."""

    table: ClassVar[str] = "handover"
    indexes: ClassVar[tuple[tuple[str, ...], ...]] = (("node",),)

    id: str
    node: str
    attempt: str
    events: list[int]


@dataclass(frozen=True, slots=True)
class Call(Record):
    """A verb that was carried out, by its idempotency key `session:request`."""

    table: ClassVar[str] = "call"
    indexes: ClassVar[tuple[tuple[str, ...], ...]] = (("attempt",),)

    id: str
    attempt: str | None
    verb: str
    digest: str
    answer: dict[str, Any]
    seq: int


@dataclass(frozen=True, slots=True)
class HttpSession(Record):
    """An MCP session over HTTP that outlives the process (S5)."""

    table: ClassVar[str] = "http_session"
    indexes: ClassVar[tuple[tuple[str, ...], ...]] = ()

    id: str
    endpoint: str
    credential: str
    protocol_version: str
    params: dict[str, Any]
    opened_at: int


@dataclass(frozen=True, slots=True)
class Rest(Record):
    """The last journaled rest of a node's deadline, in seconds (B10)."""

    table: ClassVar[str] = "rest"
    indexes: ClassVar[tuple[tuple[str, ...], ...]] = ()

    node: str
    seconds: int
    at: int


RECORD_TYPES: tuple[type[Record], ...] = (
    Tree,
    Node,
    Attempt,
    Purse,
    Hold,
    Question,
    Message,
    Delivery,
    Handover,
    Call,
    HttpSession,
    Rest,
)
"""Every table there is."""
