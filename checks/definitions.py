"""What a check is: data, written in `.palmette/checks/<id>.toml` or given inline (DESIGN §8).

    kind = "tests"
    objective = "tests"
    [spec]
    command = ["python3", "-m", "pytest", "--junitxml={junit}"]
    timeout_s = 300
    [pass_if]
    at_least = 12

Kinds so far: `command` passes by its exit code; `tests` also reads the JUnit report that the command writes to
`{junit}`, where its arguments name that placeholder, and gives the number of passed tests as its value.
"""

import json
import tomllib
from collections.abc import Mapping
from hashlib import sha256
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from palmette.checks.errors import CheckError

__all__ = ["JUNIT", "MAX_BYTES", "NAME", "Definition", "PassIf", "Spec", "digest", "from_data", "parse"]

MAX_BYTES = 64 * 1024
"""The largest definition, in bytes of TOML or JSON."""

NAME = r"^[a-z0-9][a-z0-9-]{0,39}$"
"""What ids and objectives look like: they become file names and words in prompts."""

JUNIT = "{junit}"
"""In an argument of `tests`: the path at which the report is to be written."""

_VERSION = 1
"""Part of every digest: raised when the meaning of a definition changes, so that no verdict outlives its rules (C4)."""

Argument = Annotated[str, StringConstraints(max_length=4096, pattern=r"^[^\x00]*$")]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Spec(_Strict):
    """What is run, in a fresh clone of the target.

    Attributes:
        command: an argument list; no shell reads it.
        timeout_s: seconds; longer is a fail, since the work under test decides how long its tests run.
        max_output: bytes of each output stream; more ends the run as `unavailable`.
    """

    command: Annotated[tuple[Argument, ...], Field(min_length=1, max_length=200)]
    timeout_s: float = Field(600.0, gt=0, le=7200, allow_inf_nan=False)
    max_output: int = Field(10 * 1024 * 1024, ge=1024, le=100 * 1024 * 1024)


class PassIf(_Strict):
    """When the verdict is `pass`.

    Attributes:
        exit: the exit code that it takes.
        at_least: of `tests`: how many tests have to pass, so that deleting them does not help.
    """

    exit: Annotated[int, Field(ge=0, le=255)] = 0
    at_least: Annotated[int, Field(ge=1)] | None = None


class Definition(_Strict):
    """One check.

    Attributes:
        objective: what it measures; verdicts of several checks are compared by it (C7).
        direction: whether a higher or a lower value is the better one.
        deliverable: whether a submit is accepted only if it passes (C6); others are told and decide nothing.
    """

    id: str = Field(pattern=NAME)
    kind: Literal["tests", "command"]
    spec: Spec
    objective: str = Field("", pattern=r"^([a-z0-9][a-z0-9-]{0,39})?$")
    direction: Literal["higher", "lower"] = "higher"
    pass_if: PassIf = PassIf()
    deliverable: bool = True
    description: str = Field("", max_length=1000)

    @model_validator(mode="after")
    def _agrees(self) -> "Definition":
        if not self.spec.command[0]:
            raise ValueError("spec.command names no program")
        if self.pass_if.at_least is not None and not self.reports:
            raise ValueError(f"pass_if.at_least needs kind 'tests' and a command that writes a report to {JUNIT}")
        return self

    @property
    def reports(self) -> bool:
        """Whether its command is asked for a JUnit report."""
        return self.kind == "tests" and any(JUNIT in argument for argument in self.spec.command)

    @property
    def measures(self) -> str:
        """The objective; the id where none is named."""
        return self.objective or self.id


def from_data(data: Mapping[str, Any], where: str) -> Definition:
    """A check from data.

    Args:
        data: a whole definition.
        where: named in each problem.

    Raises:
        CheckError: `bad_check`, with every problem at once.
    """
    try:
        # By way of JSON, so that one set of strict types holds for TOML, arguments and what the journal kept.
        text = json.dumps(dict(data), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise CheckError("bad_check", f"{where} is no plain data: {error}", [f"{where}: {error}"]) from None
    if len(text) > MAX_BYTES:
        raise CheckError("bad_check", f"{where} is larger than {MAX_BYTES} bytes", [f"{where}: too large"])
    try:
        return Definition.model_validate_json(text)
    except ValidationError as error:
        problems = [_problem(where, found["loc"], found["msg"]) for found in error.errors(include_url=False)]
        raise CheckError("bad_check", f"{where}: {len(problems)} problem(s) in the definition", problems) from None


def parse(raw: bytes, name: str, where: str) -> Definition:
    """A check from a TOML file; its id is the file's name.

    Raises:
        CheckError: `bad_check`, with every problem at once.
    """
    if len(raw) > MAX_BYTES:
        raise CheckError("bad_check", f"{where} is larger than {MAX_BYTES} bytes", [f"{where}: too large"])
    try:
        data = tomllib.loads(raw.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise CheckError("bad_check", f"{where} is no TOML: {error}", [f"{where}: {error}"]) from None
    if data.setdefault("id", name) != name:
        raise CheckError("bad_check", f"{where}: id is not the file's name", [f"{where}: id must be {name!r}"])
    return from_data(data, where)


def digest(definition: Definition) -> str:
    """Hex sha256 of everything in a definition that can change a verdict (C4)."""
    told = definition.model_dump(mode="json", exclude={"description"})
    text = json.dumps([_VERSION, told], sort_keys=True, separators=(",", ":"))
    return sha256(text.encode()).hexdigest()


def _problem(where: str, location: tuple[int | str, ...], message: str) -> str:
    path = ".".join(str(part)[:80] for part in location)
    return f"{where}: {path}: {message}" if path else f"{where}: {message.removeprefix('Value error, ')}"
