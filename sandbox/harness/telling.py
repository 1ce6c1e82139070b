"""What the builtin agent tells, parsed and cleaned. Its process may be hostile: nothing in a line is taken on trust."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from palmette.coordination.ports import ModelCall
from palmette.coordination.values import Step, ToolCall, Usage
from palmette.sandbox.harness.agent.lines import clean, parse_object

__all__ = [
    "BookedTold",
    "DeliveredTold",
    "FatalTold",
    "HoldTold",
    "IdleTold",
    "ReadyTold",
    "StartedTold",
    "StepTold",
    "Told",
    "parse",
]

_SESSION = re.compile(r"[0-9a-f]{32}")
_SHORT = 200
_REASON = 2000
_MOST_TOKENS = 1 << 40
_MOST_ITEMS = 1000


@dataclass(frozen=True, slots=True)
class StartedTold:
    """The session is open."""

    session: str
    version: str


@dataclass(frozen=True, slots=True)
class ReadyTold:
    """MCP was reached."""


@dataclass(frozen=True, slots=True)
class HoldTold:
    """A model call waits for its hold."""

    id: str
    call: ModelCall


@dataclass(frozen=True, slots=True)
class BookedTold:
    """A model call is over: with usage, without (unknown), or it was never sent."""

    id: str
    usage: Usage | None
    model: str
    sent: bool
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class StepTold:
    """Steps outside model calls: what tools gave back."""

    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class DeliveredTold:
    """A message is in the session file and in the request now sent."""

    message: str


@dataclass(frozen=True, slots=True)
class IdleTold:
    """The turn ended; `heard` is the seq of the last text that was taken into it."""

    stopped_by: Literal["end", "interrupt", "budget", "model"]
    text: str
    heard: int


@dataclass(frozen=True, slots=True)
class FatalTold:
    """The agent's last words."""

    stage: Literal["start", "mcp", "run"]
    reason: str


Told = StartedTold | ReadyTold | HoldTold | BookedTold | StepTold | DeliveredTold | IdleTold | FatalTold


def parse(line: bytes) -> Told | None:
    """What a line tells; None if it is no line of the protocol."""
    fields = parse_object(line)
    if fields is None:
        return None
    try:
        return _told(fields)
    except (TypeError, ValueError):
        return None


def _told(fields: Mapping[str, Any]) -> Told | None:
    match fields:
        case {"kind": "started", "session": str(session), "version": str(version)}:
            return StartedTold(session, _text(version, _SHORT)) if _SESSION.fullmatch(session) else None
        case {"kind": "ready"}:
            return ReadyTold()
        case {"kind": "hold", "id": str(name), "model": str(model), "input_bound": bound, "max_output": most}:
            return HoldTold(_short(name), ModelCall(_short(model), _count(bound), _count(most)))
        case {"kind": "booked", "id": str(name), "model": str(model), "sent": bool(sent), "steps": list()}:
            usage = _usage(fields.get("usage"))
            try:
                steps = _steps(fields["steps"], usage)
            except (TypeError, ValueError):
                steps = ()  # the books count, whatever the steps are
            return BookedTold(_short(name), usage, _short(model), sent, steps)
        case {"kind": "step", "steps": list()}:
            return StepTold(_steps(fields["steps"], None))
        case {"kind": "delivered", "message": str(message)}:
            return DeliveredTold(_short(message))
        case {
            "kind": "idle",
            "stopped_by": "end" | "interrupt" | "budget" | "model" as stopped_by,
            "text": str(text),
            "heard": heard,
        }:
            return IdleTold(stopped_by, clean(text), _count(heard))
        case {"kind": "fatal", "stage": "start" | "mcp" | "run" as stage, "reason": str(reason)}:
            return FatalTold(stage, _text(reason, _REASON))
        case _:
            return None


def _text(text: str, limit: int) -> str:
    return clean(text[:limit])


def _short(text: str) -> str:
    if len(text) > _SHORT:
        raise ValueError("too long for a name")
    return clean(text)


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MOST_TOKENS:
        raise ValueError("no count")
    return value


def _usage(value: Any) -> Usage | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise TypeError("usage is no object")
    given = cast("dict[str, Any]", value)
    return Usage(
        input=_count(given.get("input")),
        cache_read=_count(given.get("cache_read")),
        cache_write=_count(given.get("cache_write")),
        output=_count(given.get("output")),
    )


def _steps(items: list[Any], usage: Usage | None) -> tuple[Step, ...]:
    """The steps; the usage is that of the last one, the model's reply."""
    if len(items) > _MOST_ITEMS:
        raise ValueError("too many steps")
    last = len(items) - 1
    return tuple(_step(item, usage if at == last else None) for at, item in enumerate(items))


def _step(item: Any, usage: Usage | None) -> Step:
    match item:
        case {"source": "system" | "user" | "agent" as source, "message": str(message)}:
            given: Any = cast("dict[str, Any]", item).get("tool_calls", [])
            if not isinstance(given, list) or len(calls := cast("list[Any]", given)) > _MOST_ITEMS:
                raise ValueError("no calls")
            return Step(source, clean(message), tool_calls=tuple(_call(call) for call in calls), usage=usage)
        case _:
            raise ValueError("no step")


def _call(item: Any) -> ToolCall:
    match item:
        case {"id": str(name), "name": str(tool), "arguments": str(arguments)}:
            fields = cast("dict[str, Any]", item)
            observation = fields.get("observation")
            if observation is not None and not isinstance(observation, str):
                raise ValueError("an observation is a text")
            shown = None if observation is None else clean(observation)
            return ToolCall(_short(name), _short(tool), clean(arguments), shown, fields.get("error") is True)
        case _:
            raise ValueError("no call")
