"""Reads the YAML between the `---` lines of a Markdown file: text that nobody trusts, and people's agent files.

Aliases, tags and deep nesting are refused before anything of them is built: a few lines of aliases become gigabytes,
and five thousand brackets end the interpreter's stack.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import yaml

from palmette.coordination.errors import ProfileError

__all__ = ["FrontMatter", "read"]

_MAX_DEPTH = 16
_TOP_LEVEL = re.compile(r"([A-Za-z_][A-Za-z0-9_-]*):[ \t]+(.*\S)[ \t]*")
_NOT_PLAIN = tuple("\"'[{|>&*!%@`#")


@dataclass(frozen=True, slots=True)
class FrontMatter:
    """What a file says.

    Attributes:
        data: the mapping.
        lines: where its keys stand in the file, counted from 1; of a nested mapping as `limits.usd`.
        body: the Markdown below it.
    """

    data: Mapping[str, Any]
    body: str
    lines: Mapping[str, int] = field(default_factory=dict[str, int])


def read(text: str, where: str) -> FrontMatter:
    """Split a file and read its front matter; a file that does not begin with `---` is all body.

    Raises:
        ProfileError: with file and line of each problem.
    """
    front, body = _split(text.removeprefix("\ufeff"), where)
    try:
        node = _compose(front)
    except yaml.YAMLError as error:
        # Agent files are full of `description: Use it when: …`, which is no YAML and which their harness takes.
        try:
            node = _compose(_quoted(front))
        except yaml.YAMLError:
            raise _unreadable(error, where) from None
    if node is None:
        return FrontMatter({}, body)
    if not isinstance(node, yaml.MappingNode):
        raise ProfileError(f"the front matter of {where} is no mapping", [f"{where}:2: expected `key: value` lines"])
    lines: dict[str, int] = {}
    problems = _placed(node, where, "", lines)
    if problems:
        raise ProfileError(f"{where}: {problems[0].partition(': ')[2]}", problems)
    return FrontMatter(_built(node, where), body, lines)


class _Composer(yaml.SafeLoader):
    """Composes plain YAML alone."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = cast("Any", self.peek_event())  # pyright: ignore[reportUnknownMemberType]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise _refused(event, "anchors and aliases are not allowed")
        if getattr(event, "tag", None) is not None:
            raise _refused(event, "tags are not allowed")
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise _refused(event, f"nested deeper than {_MAX_DEPTH}")
        node: Any = super().compose_node(parent, index)  # pyright: ignore[reportUnknownMemberType]
        self.depth -= 1
        return node


def _refused(event: Any, problem: str) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, event.start_mark)


def _compose(front: str) -> yaml.Node | None:
    composer = _Composer(front)
    try:
        return composer.get_single_node()  # pyright: ignore[reportUnknownMemberType]
    finally:
        composer.dispose()  # pyright: ignore[reportUnknownMemberType]


def _built(node: yaml.MappingNode, where: str) -> Mapping[str, Any]:
    try:
        built: Any = yaml.SafeLoader("").construct_document(node)  # pyright: ignore[reportUnknownMemberType]
    except yaml.YAMLError as error:
        raise _unreadable(error, where) from None
    except (ValueError, OverflowError) as error:  # `2020-99-99` looks like a date to YAML, and is none
        raise ProfileError(f"the front matter of {where} holds a bad value", [f"{where}: {error}"]) from None
    return cast("Mapping[str, Any]", built)


def _placed(node: yaml.MappingNode, where: str, prefix: str, lines: dict[str, int]) -> list[str]:
    """Note where each key stands; what comes twice is a problem, since one of the two would be dropped silently."""
    problems: list[str] = []
    for key, value in cast("list[tuple[yaml.Node, yaml.Node]]", node.value):
        line = key.start_mark.line + 2
        if not isinstance(key, yaml.ScalarNode):
            problems.append(f"{where}:{line}: {prefix or 'front matter'}: a key must be a word")
            continue
        name = f"{prefix}{key.value}"
        if name in lines:
            problems.append(f"{where}:{line}: {name}: stands in line {lines[name]} already")
        lines[name] = line
        if isinstance(value, yaml.MappingNode):
            problems += _placed(value, where, f"{name}.", lines)
    return problems


def _unreadable(error: yaml.YAMLError, where: str) -> ProfileError:
    mark = getattr(error, "problem_mark", None)
    line = f":{mark.line + 2}" if mark is not None else ""
    problem = f"{where}{line}: {getattr(error, 'problem', None) or 'no YAML'}"
    return ProfileError(f"the front matter of {where} cannot be read", [problem])


def _split(text: str, where: str) -> tuple[str, str]:
    lines = text.splitlines()
    if not lines or lines[0].strip() != "---":
        return "", text.strip()
    for number, line in enumerate(lines[1:], 1):
        if line.rstrip() == "---":
            return "\n".join(lines[1:number]), "\n".join(lines[number + 1 :]).strip()
    raise ProfileError(f"the front matter of {where} does not end", [f"{where}:1: a second line `---` is missing"])


def _quoted(front: str) -> str:
    """The same with every plain one-line value quoted."""
    quoted: list[str] = []
    for line in front.split("\n"):
        found = _TOP_LEVEL.fullmatch(line)
        if found is not None and not found[2].startswith(_NOT_PLAIN):
            line = f"{found[1]}: '{found[2].replace(chr(39), chr(39) * 2)}'"
        quoted.append(line)
    return "\n".join(quoted)
