"""A tree that only writes down what it is asked, and answers what a test has laid ready."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from palmette.coordination.errors import Refused
from palmette.coordination.identity import CallKey, Visitor

__all__ = ["ALL_VERBS", "Call", "RecordingVerbs"]

ALL_VERBS = frozenset(
    {"spawn", "await_event", "steer", "stop", "ask_parent", "answer", "submit", "select", "observe", "notify"}
)


@dataclass(frozen=True)
class Call:
    """One call of a verb as it arrived."""

    verb: str
    visitor: Visitor
    key: CallKey | None
    arguments: dict[str, Any]


@dataclass
class RecordingVerbs:
    """Fills VerbService.

    Attributes:
        answers: by verb, what to answer, or what to raise.
        lists: what `allowed` gives, or raises.
        during: by verb, what to do before the answer.
        calls, asked: what came, and who asked for the list.
    """

    answers: dict[str, dict[str, Any] | Exception] = field(default_factory=dict[str, dict[str, Any] | Exception])
    lists: frozenset[str] | Refused = ALL_VERBS
    during: dict[str, Callable[[Call], Awaitable[None]]] = field(
        default_factory=dict[str, Callable[[Call], Awaitable[None]]]
    )
    calls: list[Call] = field(default_factory=list[Call])
    asked: list[Visitor] = field(default_factory=list[Visitor])

    async def allowed(self, visitor: Visitor) -> frozenset[str]:
        """The list that was laid ready."""
        self.asked.append(visitor)
        if isinstance(self.lists, Refused):
            raise self.lists
        return self.lists

    async def spawn(self, visitor: Visitor, call: CallKey | None, **arguments: Any) -> dict[str, Any]:
        """Write down and answer; so do all that follow."""
        return await self._called("spawn", visitor, call, arguments)

    async def await_event(self, visitor: Visitor, call: CallKey | None, **arguments: Any) -> dict[str, Any]:
        return await self._called("await_event", visitor, call, arguments)

    async def steer(self, visitor: Visitor, call: CallKey | None, **arguments: Any) -> dict[str, Any]:
        return await self._called("steer", visitor, call, arguments)

    async def stop(self, visitor: Visitor, call: CallKey | None, **arguments: Any) -> dict[str, Any]:
        return await self._called("stop", visitor, call, arguments)

    async def ask_parent(self, visitor: Visitor, call: CallKey | None, **arguments: Any) -> dict[str, Any]:
        return await self._called("ask_parent", visitor, call, arguments)

    async def answer(self, visitor: Visitor, call: CallKey | None, **arguments: Any) -> dict[str, Any]:
        return await self._called("answer", visitor, call, arguments)

    async def submit(self, visitor: Visitor, call: CallKey | None, **arguments: Any) -> dict[str, Any]:
        return await self._called("submit", visitor, call, arguments)

    async def select(self, visitor: Visitor, call: CallKey | None, **arguments: Any) -> dict[str, Any]:
        return await self._called("select", visitor, call, arguments)

    async def observe(self, visitor: Visitor, **arguments: Any) -> dict[str, Any]:
        return await self._called("observe", visitor, None, arguments)

    async def notify(self, visitor: Visitor, call: CallKey | None, **arguments: Any) -> dict[str, Any]:
        return await self._called("notify", visitor, call, arguments)

    async def _called(
        self, verb: str, visitor: Visitor, key: CallKey | None, arguments: dict[str, Any]
    ) -> dict[str, Any]:
        call = Call(verb, visitor, key, arguments)
        self.calls.append(call)
        if verb in self.during:
            await self.during[verb](call)
        answer = self.answers.get(verb, {"ok": True, "verb": verb})
        if isinstance(answer, Exception):
            raise answer
        return answer
