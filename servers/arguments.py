"""What the verbs' arguments look like: types, bounds, and the words a model acts on (DESIGN §4)."""

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

from palmette.coordination.errors import Refused
from palmette.coordination.values import TEXT_MAX_BYTES, checked_text
from palmette.servers.strict import Problem

__all__ = [
    "FROM_TEXT",
    "Amount",
    "Budget",
    "Kind",
    "NameOrInline",
    "Reference",
    "Seconds",
    "Text",
    "answer_problems",
    "ask_problems",
]


_DEPTH = 32
"""Levels an object of an argument may have."""


def _storable(text: str) -> str:
    try:
        return checked_text(text, "the text")
    except Refused as refused:
        kind = "too_large" if refused.code == "too_large" else "bad_text"
        raise PydanticCustomError(kind, "{reason}", {"reason": refused.message}) from None


def _storable_object(value: dict[str, Any]) -> dict[str, Any]:
    """An object's texts, however deep, obey the same bounds; so does the sum of them."""
    size, depth = 0, 0
    rest: list[Any] = [value]
    while rest:
        depth += 1
        if depth > _DEPTH:
            raise PydanticCustomError("bad_text", "is nested too deeply")
        inner: list[Any] = []
        for item in rest:
            parts = _parts(item)
            size += sum(len(_storable(part).encode()) for part in parts if isinstance(part, str))
            inner += [part for part in parts if isinstance(part, dict | list)]
        rest = inner
    if size > TEXT_MAX_BYTES:
        raise PydanticCustomError("too_large", "has {size} bytes of text", {"size": size})
    return value


def _parts(item: dict[Any, Any] | list[Any]) -> list[Any]:
    return [*item, *item.values()] if isinstance(item, dict) else item


def _object_in_text(value: Any) -> Any:
    """Some models pass an object or a list as the text of its JSON; a name or a task never begins like one."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _shape(value: Any) -> str:
    return "name" if isinstance(value, str) else "inline"


Text = Annotated[str, AfterValidator(_storable), Field(min_length=1)]
"""Text of an agent: at most 1 MiB of UTF-8, without NUL and lone surrogates."""

Reference = Annotated[str, AfterValidator(_storable), Field(min_length=1, max_length=400)]
"""An id, a label, a ref: short."""

Amount = Annotated[int, Field(ge=0, le=2**53)]
"""A whole number that every JSON client can write exactly."""

Seconds = Annotated[float, Field(ge=0, le=240, allow_inf_nan=False)]
"""How long one call may wait (DESIGN §4)."""

Kind = Literal["settled", "question", "answer", "message", "finding", "notify", "check"]

_Inline = Annotated[dict[str, Any], AfterValidator(_storable_object)]
_NameOrInline = Annotated[
    Annotated[Reference, Tag("name")] | Annotated[_Inline, Tag("inline")],
    Discriminator(_shape),
]

FROM_TEXT = BeforeValidator(_object_in_text)
"""Marks an argument that is an object or a list, and may come as the text of one."""

NameOrInline = Annotated[_NameOrInline, FROM_TEXT]
"""A profile or a check: the name of one, or the whole of it."""


class Budget(BaseModel):
    """A child's grant, taken from the caller's own; whole amounts, dollars with at most six decimals (DESIGN §5)."""

    model_config = ConfigDict(extra="forbid", strict=True)

    usd: Annotated[float, Field(ge=0, le=4_000_000_000, allow_inf_nan=False)] | None = Field(
        default=None, description="Dollars, at most six decimals."
    )
    tokens: Amount | None = Field(default=None, description="Tokens in and out, cache included.")
    turns: Amount | None = Field(default=None, description="Model calls.")
    seconds: Amount | None = Field(default=None, description="Its own active seconds; waiting is free.")
    deadline_s: Amount | None = Field(default=None, description="Seconds from now until it is ended, whatever it does.")


def ask_problems(arguments: Mapping[str, Any]) -> Iterator[Problem]:
    """A new question says what, why and how urgent; waiting again names the question."""
    if arguments.get("question_id") is not None:
        for name in ("question", "why", "urgency", "options", "kind"):
            if arguments.get(name) is not None:
                yield {"argument": name, "problem": "belongs to a new question", "hint": "question_id only waits again"}
        return
    for name in ("question", "why", "urgency"):
        if arguments.get(name) is None:
            yield {"argument": name, "problem": "is missing", "hint": "or wait again with question_id alone"}


def answer_problems(arguments: Mapping[str, Any]) -> Iterator[Problem]:
    """A question is either decided or re-raised (Q1)."""
    given = [name for name in ("text", "escalate") if arguments.get(name) is not None]
    if not given:
        yield {"argument": "text", "problem": "is missing", "hint": "decide with text, or re-raise with escalate"}
    if len(given) == 2:
        yield {"argument": "escalate", "problem": "cannot stand beside text", "hint": "decide, or re-raise"}
