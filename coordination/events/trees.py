"""Trees and nodes: how they begin, pause, change hands and end."""

from dataclasses import dataclass
from typing import Any, Literal

from palmette.coordination.events.envelope import EventData, event
from palmette.coordination.values import Amounts, Text, Verdict

__all__ = [
    "Attached",
    "Detached",
    "NodePaused",
    "NodeResumed",
    "NodeSettled",
    "NodeSpawned",
    "ResultPublished",
    "RootAdopted",
    "TreeClosed",
    "TreeOpened",
]


@event("tree_opened")
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


@event("tree_closed")
@dataclass(frozen=True, slots=True)
class TreeClosed(EventData):
    """The root settled; no hold is open (B6)."""

    settlement: str
    spent: Amounts


@event("node_spawned")
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


@event("root_adopted")
@dataclass(frozen=True, slots=True)
class RootAdopted(EventData):
    """A person took over a detached root: its questions and events go to the inbox from here on."""


@event("detached")
@dataclass(frozen=True, slots=True)
class Detached(EventData):
    """An attached root's last connection closed; detached, never settled (R8)."""

    connection: str


@event("attached")
@dataclass(frozen=True, slots=True)
class Attached(EventData):
    """A detached root's harness is back."""

    connection: str


@event("node_paused")
@dataclass(frozen=True, slots=True)
class NodePaused(EventData):
    """A person froze the node."""


@event("node_resumed")
@dataclass(frozen=True, slots=True)
class NodeResumed(EventData):
    """A paused node goes on."""


@event("node_settled")
@dataclass(frozen=True, slots=True)
class NodeSettled(EventData):
    """How a node ended: only this returns the grant and stops children (B4, B13).

    Attributes:
        cause: a row of the cause table (E8).
        valid: True if the deliverable checks passed, False if not, None if unchecked (C6).
        spent: the node's own and its settled children's spend; goes to the parent's spent.
        verdicts: those of its last submit, without evidence, digests and the like, which `submit_judged` has.
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


@event("result_published")
@dataclass(frozen=True, slots=True)
class ResultPublished(EventData):
    """The root's result became a ref in the repository (W8)."""

    ref: str
    commit: str
