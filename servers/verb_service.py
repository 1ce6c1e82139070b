"""The tree as the coordination server sees it: a protocol, so that the server can be tested without a tree."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal, Protocol

from palmette.coordination.identity import CallKey, Visitor

__all__ = ["Answer", "Progress", "VerbService"]

Answer = dict[str, Any]
"""What a verb answers: the essential keys first."""

Progress = Callable[[str], Awaitable[None]]
"""Takes a line for the person who watches a call wait."""


class VerbService(Protocol):
    """What the tree offers; `palmette.coordination.verbs.Verbs` is it.

    Every verb answers with a plain object, the essential keys first, and raises Refused for a business refusal (S2).
    `since` is how many seconds a call had waited before it was sent again; `progress` takes a line for a person.
    """

    async def allowed(self, visitor: Visitor) -> frozenset[str]:
        """The verbs this visitor holds (S3)."""
        ...

    async def spawn(
        self,
        visitor: Visitor,
        call: CallKey | None,
        *,
        task: str,
        profile: str | dict[str, Any] | None,
        label: str | None,
        key: str | None,
        decide: Literal["rerun", "skip"] | None,
        budget: dict[str, Any] | None,
        checks: Sequence[str | dict[str, Any]] | None,
        base: str | None,
        continuity: Literal["fresh", "resume"],
    ) -> Answer: ...

    async def await_event(
        self,
        visitor: Visitor,
        call: CallKey | None,
        *,
        kinds: Sequence[str],
        cursor: str | None,
        wait_s: float | None,
        nodes: Sequence[str],
        since: float,
        progress: Progress,
    ) -> Answer: ...

    async def steer(
        self,
        visitor: Visitor,
        call: CallKey | None,
        *,
        node: str,
        message: str,
        interrupt: bool,
        supersedes: int | None,
    ) -> Answer: ...

    async def stop(
        self, visitor: Visitor, call: CallKey | None, *, node: str, reason: str, grace_s: float | None
    ) -> Answer: ...

    async def ask_parent(
        self,
        visitor: Visitor,
        call: CallKey | None,
        *,
        question: str | None,
        why: str,
        urgency: Literal["blocks_run", "blocks_step", "can_continue"],
        options: Sequence[str] | None,
        kind: Literal["decision", "permission", "plan"],
        wait_s: float | None,
        question_id: str | None,
        since: float,
        progress: Progress,
    ) -> Answer: ...

    async def answer(
        self, visitor: Visitor, call: CallKey | None, *, question: str, text: str | None, escalate: str | None
    ) -> Answer: ...

    async def submit(
        self,
        visitor: Visitor,
        call: CallKey | None,
        *,
        result: str,
        artifacts: Sequence[str] | None,
        incomplete: bool,
    ) -> Answer: ...

    async def select(
        self,
        visitor: Visitor,
        call: CallKey | None,
        *,
        nodes: Sequence[str],
        objectives: Sequence[str],
        allow_unchecked: bool,
    ) -> Answer: ...

    async def observe(self, visitor: Visitor, *, node: str | None, after: int | None, limit: int) -> Answer: ...

    async def notify(
        self, visitor: Visitor, call: CallKey | None, *, summary: str, salience: int, refs: Sequence[str] | None
    ) -> Answer: ...
