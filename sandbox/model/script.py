"""A script: scenarios in YAML, validated whole, with every mistake named by its place."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from palmette.sandbox.model.conversation import verb_of
from palmette.sandbox.model.errors import ScriptError
from palmette.sandbox.model.paths import parse_path
from palmette.sandbox.model.steps import Branch, Call, Condition, ErrorStep, LoopStep, Step, Turn, When, template_paths
from palmette.sandbox.model.values import as_object

__all__ = ["Scenario", "Script"]

GIVEN_NAMES = frozenset({"last", "user", "prompt"})
"""Path roots that every scenario has."""


class Scenario(BaseModel):
    """What is played for the requests that `when` selects.

    Attributes:
        steps: in order; after the last, the turn ends with the last `say`, or "Done." where it was a call.
        afterwards: played for each later prompt; without it, the last `say` is repeated.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str = Field(min_length=1)
    when: When = When()
    steps: list[Step] = Field(min_length=1)
    afterwards: list[Step] = []


class Script(BaseModel):
    """Scenarios, the first that fits a request is played; and the models the endpoint lists."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    scenarios: list[Scenario] = Field(min_length=1)
    models: list[str] = Field(default=["scripted"], min_length=1)

    @classmethod
    def load(cls, path_or_text: Path | str) -> "Script":
        """The script in a file, or in a text of more than one line.

        Raises:
            ScriptError: the file cannot be read, is no YAML, or holds mistakes; all of them are listed.
        """
        if isinstance(path_or_text, str) and "\n" in path_or_text:
            return _parsed(path_or_text, "<text>")
        source = str(path_or_text)
        try:
            text = Path(path_or_text).read_text(encoding="utf-8")
        except (OSError, UnicodeError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise ScriptError(source, [f"the file cannot be read: {reason}"]) from None
        return _parsed(text, source)


class _Loader(yaml.SafeLoader):
    """Safe YAML in which a key given twice is a mistake, and `yes`, `on` and dates are the words they look like."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"key {key.value!r} is given twice", key.start_mark
                    )
                seen.add(key.value)
        return cast("dict[Any, Any]", super().construct_mapping(node, deep))


def _resolvers() -> Iterator[tuple[str, list[tuple[str, re.Pattern[str]]]]]:
    """The implicit types of YAML but for dates, and with the two booleans of YAML 1.2."""
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items():
        kept = [(tag, regex) for tag, regex in resolvers if tag not in (_BOOL, _DATE)]
        yield first, [(_BOOL, re.compile("(?:true|True|TRUE|false|False|FALSE)$")), *kept] if first in "tTfF" else kept


_BOOL, _DATE = "tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp"
_Loader.yaml_implicit_resolvers = dict(_resolvers())


def _parsed(text: str, source: str) -> Script:
    try:
        document: Any = yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ScriptError(source, [f"{place}{error.problem}"]) from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ScriptError(source, [f"no YAML: {error}"]) from None
    if as_object(document) is None:
        raise ScriptError(source, ["the document must be a mapping with the key scenarios"])
    try:
        script = Script.model_validate(document)
    except ValidationError as error:
        raise ScriptError(
            source, [_problem(item["loc"], item["type"], item["msg"]) for item in error.errors()]
        ) from None
    problems = list(_strays(script))
    if problems:
        raise ScriptError(source, problems)
    return script


_TAGS = frozenset({"turn", "error", "loop", "then", "slow", "cut", "silent", "stream_error", "oversize"})


def _place(location: tuple[int | str, ...]) -> str:
    """`scenarios[0].steps[2].say`; the tags of unions, which stand behind an index or `fault`, are left out."""
    place = ""
    previous: int | str = ""
    for part in location:
        tag = part in _TAGS and (isinstance(previous, int) or previous == "fault")
        if isinstance(part, int):
            place += f"[{part}]"
        elif not tag and not part.startswith(("UsageSpec", "literal[")):
            place += f".{part}" if place else part
        previous = "" if tag else part
    return place or "the document"


_SAID = {
    "missing": "is missing: add it",
    "extra_forbidden": "is no word of the language here: remove it or mend its spelling",
}


def _problem(location: tuple[int | str, ...], kind: str, message: str) -> str:
    said = _SAID.get(kind) or message.removeprefix("Value error, ")
    return f"{_place(location)}: {said}"


def _strays(script: Script) -> Iterator[str]:
    """Mistakes that show only when a scenario is seen whole: names used twice, paths from names nobody gives."""
    names: set[str] = set()
    for number, scenario in enumerate(script.scenarios):
        place = f"scenarios[{number}]"
        if scenario.name in names:
            yield f"{place}.name: {scenario.name!r} is taken by an earlier scenario: choose another"
        names.add(scenario.name)
        parts = [*_parts(scenario.steps, f"{place}.steps"), *_parts(scenario.afterwards, f"{place}.afterwards")]
        calls = [(where, part) for where, part in parts if isinstance(part, Call)]
        verbs = {verb_of(call.tool) for _, call in calls}
        for where, call in calls:
            if call.name is not None and (call.name in verbs or call.name in GIVEN_NAMES):
                yield f"{where}.as: {call.name!r} already means something (a tool, or a given name): choose another"
        known = verbs | GIVEN_NAMES | {call.name for _, call in calls if call.name is not None}
        for where, part in parts:
            for path in _paths(part):
                root = parse_path(path).root
                if root not in known:
                    yield f"{where}: path {path!r} begins with {root!r}, which names nothing here; known: " + ", ".join(
                        sorted(known)
                    )


def _parts(steps: list[Step], place: str) -> Iterator[tuple[str, Turn | Call | Condition]]:
    for number, step in enumerate(steps):
        here = f"{place}[{number}]"
        if step.condition is not None:
            yield f"{here}.if", step.condition
        match step:
            case Turn():
                yield here, step
                if step.call is not None:
                    yield f"{here}.call", step.call
                yield from ((f"{here}.calls[{index}]", call) for index, call in enumerate(step.calls))
            case LoopStep():
                yield f"{here}.loop.until", step.loop.until
                yield from _parts(step.loop.steps, f"{here}.loop.steps")
            case Branch():
                yield from _parts(step.then, f"{here}.then")
                yield from _parts(step.otherwise, f"{here}.else")
            case ErrorStep():
                pass


def _paths(part: Turn | Call | Condition) -> Iterator[str]:
    match part:
        case Turn():
            yield from template_paths(part.say)
        case Call():
            yield from template_paths(part.arguments)
            yield from template_paths(part.input)
        case Condition():
            if part.path is not None:
                yield part.path
            yield from template_paths(part.equals)
            yield from template_paths(part.contains)
            for inner in [*(part.all_of or []), *(part.any_of or []), *([part.negated] if part.negated else [])]:
                yield from _paths(inner)
