"""The words of the scenario language, each a validated model; docs/scripted-model.md shows them by example."""

import math
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator

from palmette.sandbox.model.paths import Placeholder, parse_path, parse_template
from palmette.sandbox.model.values import as_list, as_object

__all__ = [
    "Branch",
    "Call",
    "Condition",
    "Cut",
    "ErrorSpec",
    "ErrorStep",
    "Fault",
    "Loop",
    "LoopStep",
    "Oversize",
    "Silent",
    "Slow",
    "Step",
    "StreamError",
    "Turn",
    "UsageSpec",
    "When",
    "template_paths",
]

_MAX_FILLER = 64 << 20


class _Word(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def template_paths(value: Any) -> Iterator[str]:
    """Every path in the templates of a JSON value.

    Raises:
        ValueError: a template that cannot be parsed.
    """
    if isinstance(value, str):
        for piece in parse_template(value):
            if isinstance(piece, Placeholder):
                yield piece.path.text
    elif (fields := as_object(value)) is not None:
        for key, inner in fields.items():
            if not isinstance(key, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # YAML allows 1: and yes:
                raise ValueError(f"the key {key!r} is no text: quote it")
            yield from template_paths(inner)
    elif (items := as_list(value)) is not None:
        for item in items:
            yield from template_paths(item)
    elif not isinstance(value, bool | int | float | None) or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError(f"{value!r} has no JSON form: quote it")


def _checked_template(value: Any) -> Any:
    list(template_paths(value))
    return value


def _checked_path(value: str) -> str:
    parse_path(value)
    return value


def _checked_regex(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"{value!r} is no regular expression: {error}") from None
    return value


Text = Annotated[str, Field(min_length=1), AfterValidator(_checked_template)]
Template = Annotated[Any, AfterValidator(_checked_template)]
PathText = Annotated[str, AfterValidator(_checked_path)]
Regex = Annotated[str, AfterValidator(_checked_regex)]
Seconds = Annotated[float, Field(ge=0, le=86_400, strict=False)]
Share = Annotated[float, Field(ge=0, le=1, strict=False)]


class When(_Word):
    """Which requests a scenario answers; all that is given must hold. Regexes are searched, not matched whole."""

    system: Regex | None = None
    user: Regex | None = None
    model: Regex | None = None
    tools: list[str] = []


_TESTS = ("equals", "matches", "contains", "exists", "above", "below")


class Condition(_Word):
    """A question about earlier results and user texts.

    Attributes:
        path: what is looked at; a path with `[*]` holds if `at_least` (1) of its values pass.
        equals: the value is this (templates allowed).
        matches: the value as text is found by this regular expression.
        contains: the list has this element, or the text this part (templates allowed).
        exists: whether the path leads anywhere.
        above, below: the value is a number beyond this one.
    """

    path: PathText | None = None
    equals: Template = None
    matches: Regex | None = None
    contains: Template = None
    exists: bool | None = None
    above: float | None = Field(default=None, strict=False)
    below: float | None = Field(default=None, strict=False)
    at_least: int = Field(default=1, ge=1)
    all_of: list["Condition"] | None = Field(default=None, alias="all", min_length=1)
    any_of: list["Condition"] | None = Field(default=None, alias="any", min_length=1)
    negated: "Condition | None" = Field(default=None, alias="not")

    @model_validator(mode="after")
    def _one_question(self) -> "Condition":
        given = self.model_fields_set
        heads = sum(name in given for name in ("path", "all_of", "any_of", "negated"))
        if heads != 1:
            raise ValueError("a condition has exactly one of path, all, any, not")
        tests = [name for name in _TESTS if name in given]
        if "path" in given and len(tests) != 1:
            raise ValueError(f"a path needs exactly one of {', '.join(_TESTS)}")
        if "path" not in given and (tests or "at_least" in given):
            raise ValueError(f"{', '.join([*tests, *(given & {'at_least'})])} needs a path")
        return self

    @property
    def test(self) -> str:
        """The name of the one test that is asked."""
        return next(name for name in _TESTS if name in self.model_fields_set)


class UsageSpec(_Word):
    """Usage that overrides the computed one, in tokens; it may lie. `input` is the uncached part."""

    input: int | None = None
    output: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None


class Slow(_Word):
    """`delay_s` before each chunk, `first_s` before the first byte."""

    kind: Literal["slow"]
    delay_s: Seconds = 0.1
    first_s: Seconds = 0.0
    times: int | None = Field(default=None, ge=1)


class Cut(_Word):
    """The connection is closed after this share of the reply."""

    kind: Literal["cut"]
    after: Share = 0.5
    times: int | None = Field(default=None, ge=1)


class Silent(_Word):
    """Headers (or not even those), then nothing: for ever, or for a time after which the reply comes."""

    kind: Literal["silent"]
    for_s: Seconds | None = None
    headers: bool = True
    times: int | None = Field(default=None, ge=1)


class StreamError(_Word):
    """An error in the dialect's words inside a stream that began well; without a stream a plain 500."""

    kind: Literal["stream_error"]
    after: Share = 0.5
    type: str | None = None
    message: str = "the scripted stream failed"
    times: int | None = Field(default=None, ge=1)


class Oversize(_Word):
    """The text is filled up to so many bytes."""

    kind: Literal["oversize"]
    bytes: int = Field(default=1 << 20, ge=1, le=_MAX_FILLER)


def _named_fault(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


Fault = Annotated[
    Slow | Cut | Silent | StreamError | Oversize, Field(discriminator="kind"), BeforeValidator(_named_fault)
]


class Call(_Word):
    """One tool call: `arguments` for a tool that takes JSON, `input` for one that takes text."""

    tool: str = Field(min_length=1)
    arguments: dict[str, Template] | None = None
    input: Text | None = None
    name: Annotated[str, Field(pattern=r"^[A-Za-z_][\w-]*$")] | None = Field(default=None, alias="as")

    @model_validator(mode="after")
    def _one_form(self) -> "Call":
        if self.arguments is not None and self.input is not None:
            raise ValueError("a call has arguments or input, not both")
        return self


class _Guarded(_Word):
    condition: Condition | None = Field(default=None, alias="if")


class Turn(_Guarded):
    """One reply of the model: text, calls, or both."""

    say: Text | None = None
    call: Call | None = None
    calls: list[Call] = Field(default=[], min_length=1)
    usage: UsageSpec | Literal["missing"] | None = None
    fault: Fault | None = None
    stop: Literal["length"] | None = None

    @model_validator(mode="after")
    def _one_turn(self) -> "Turn":
        if self.call is not None and self.calls:
            raise ValueError("a step has call or calls, not both")
        if self.say is None and not self.all_calls:
            raise ValueError("a step has one of say, call, calls, error, loop, then (with if)")
        return self

    @property
    def all_calls(self) -> list[Call]:
        """Its calls, however they were written."""
        return [self.call] if self.call else self.calls


class ErrorSpec(_Word):
    """A refusal in the dialect's words.

    Attributes:
        status: HTTP status.
        type: error type; the status's usual one if left out.
        code: `error.code` of the OpenAI dialects.
        times: passes once the client's header says that it was sent so many times before; else the error stays.
        retry_after_s: sent as `retry-after`.
        retry: sent as `x-should-retry`.
    """

    status: int = Field(ge=400, le=599)
    type: str | None = None
    code: str | None = None
    message: str = Field(default="the scripted model refuses", min_length=1)
    times: int | None = Field(default=None, ge=1)
    retry_after_s: int | None = Field(default=None, ge=0)
    retry: bool | None = None


class ErrorStep(_Guarded):
    """The request is refused at this point."""

    error: ErrorSpec


class Loop(_Word):
    """Steps that are played again until a condition holds after a round."""

    steps: list["Step"] = Field(min_length=1)
    until: Condition
    at_most: int = Field(default=100, ge=1, le=1_000_000)


class LoopStep(_Guarded):
    """A loop as a step."""

    loop: Loop


class Branch(_Word):
    """One of two ways on."""

    condition: Condition = Field(alias="if")
    then: list["Step"]
    otherwise: list["Step"] = Field(default=[], alias="else")


def _kind(value: Any) -> str | None:
    fields = as_object(value)
    if fields is None:
        return None
    return next((word for word in ("then", "loop", "error") if word in fields), "turn")


Step = Annotated[
    Annotated[Turn, Tag("turn")]
    | Annotated[ErrorStep, Tag("error")]
    | Annotated[LoopStep, Tag("loop")]
    | Annotated[Branch, Tag("then")],
    Discriminator(
        _kind,
        custom_error_type="step",
        custom_error_message="a step is a mapping with one of say, call, calls, error, loop, then (with if)",
    ),
]

for _model in (Loop, LoopStep, Branch, Condition):
    _model.model_rebuild()
