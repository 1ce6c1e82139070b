"""Paths into earlier results, and the `${…}` templates made of them. No code is ever evaluated.

last.cursor                        the last tool result
spawn[0].node   spawn.node         a tool's results by index (from 0, -1 is the latest); without one, the latest
fixer.node                         a call named with `as: fixer`
last.events[kind=settled].node     the first element whose key has this value
last.events[*].kind                every element
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from palmette.sandbox.model.results import Result
from palmette.sandbox.model.values import as_list, as_object, compact

__all__ = [
    "MISSING",
    "Memory",
    "MissingPath",
    "Path",
    "Placeholder",
    "fill",
    "fill_text",
    "parse_path",
    "parse_template",
    "shown",
]

Memory = Mapping[str, Sequence[Result]]
"""Results by name, oldest first."""


class _Missing:
    """The type of MISSING."""


MISSING: Final = _Missing()
"""What an optional template without a value gives: the key or element that holds it is left out."""


class MissingPath(LookupError):
    """A path that leads nowhere; its text is the argument."""


@dataclass(frozen=True, slots=True)
class Key:
    """`.name`"""

    name: str


@dataclass(frozen=True, slots=True)
class Index:
    """`[0]`"""

    at: int


@dataclass(frozen=True, slots=True)
class Each:
    """`[*]`"""


@dataclass(frozen=True, slots=True)
class Pick:
    """`[key=value]`"""

    key: str
    value: str


Part = Key | Index | Each | Pick

_ROOT = re.compile(r"[A-Za-z_][\w-]*")
_PART = re.compile(r"\.(?P<key>[\w-]+)|\[(?:(?P<at>-?\d{1,9})|(?P<each>\*)|(?P<pick>[\w-]+)=(?P<value>[^\]]+))\]")
_OPENING = re.compile(r"\$?\$\{")


@dataclass(frozen=True, slots=True)
class Path:
    """A parsed path.

    Attributes:
        root: the name of the results it starts from.
        parts: what is done from there.
        text: as written.
    """

    root: str
    parts: tuple[Part, ...]
    text: str

    @property
    def many(self) -> bool:
        """Whether it stands for a list of values."""
        return any(isinstance(part, Each) for part in self.parts)

    def find(self, memory: Memory) -> list[Any]:
        """Every value it leads to; none is no error here."""
        results = memory.get(self.root, ())
        first = self.parts[0] if self.parts else None
        found: list[Any] = list(results)
        if first is None or isinstance(first, Key):
            found = found[-1:]
            parts = self.parts
        else:
            found = _step([found], first)
            parts = self.parts[1:]
        for part in parts:
            found = _step(found, part)
        return [_plain(value) for value in found]


def _plain(value: Any) -> Any:
    if isinstance(value, Result):
        return value.text if value.value is None else value.value
    return value


def _field(value: Any, name: str) -> list[Any]:
    if isinstance(value, Result):
        return value.field(name)
    fields = as_object(value)
    return [fields[name]] if fields is not None and name in fields else []


def _step(values: list[Any], part: Part) -> list[Any]:
    found: list[Any] = []
    for value in values:
        if isinstance(part, Key):
            found += _field(value, part.name)
            continue
        items = as_list(value) or []
        if isinstance(part, Each):
            found += items
        elif isinstance(part, Index):
            found += items[part.at :][:1] if part.at >= -len(items) else []
        else:
            found += [item for item in items if part.value in map(shown, _field(item, part.key))][:1]
    return found


def shown(value: Any) -> str:
    """A value inside a longer text: strings as they are, all else as JSON."""
    return value if isinstance(value, str) else compact(value)


@lru_cache(maxsize=4096)
def parse_path(text: str) -> Path:
    """The path a text spells.

    Raises:
        ValueError: it spells none; the sentence says where it stops making sense.
    """
    root = _ROOT.match(text)
    if root is None:
        raise ValueError(f"{text!r} is no path: it begins with last, user, prompt, a tool or an `as` name")
    parts: list[Part] = []
    at = root.end()
    while at < len(text):
        part = _PART.match(text, at)
        if part is None:
            raise ValueError(f"{text!r} is no path from {text[at:]!r} on: use .key, [0], [*] or [key=value]")
        key, index, pick = part["key"], part["at"], part["pick"]
        if key is not None:
            parts.append(Key(key))
        elif index is not None:
            parts.append(Index(int(index)))
        else:
            parts.append(Each() if pick is None else Pick(pick, part["value"]))
        at = part.end()
    return Path(root[0], tuple(parts), text)


@dataclass(frozen=True, slots=True)
class Placeholder:
    """`${path}`, or `${path?}` which may be missing."""

    path: Path
    optional: bool


@lru_cache(maxsize=4096)
def parse_template(text: str) -> tuple[str | Placeholder, ...]:
    """Literal text and placeholders in turn; `$${` is a literal `${`.

    Raises:
        ValueError: a placeholder is not closed or holds no path.
    """
    pieces: list[str | Placeholder] = []
    literal = ""
    at = 0
    while opening := _OPENING.search(text, at):
        literal += text[at : opening.start()]
        if opening[0] == "$${":
            literal += "${"
            at = opening.end()
            continue
        close = text.find("}", opening.end())
        if close < 0:
            raise ValueError(
                f"a '${{' is not closed in {text[opening.start() :][:40]!r}; a literal one is written '$${{'"
            )
        inner = text[opening.end() : close].strip()
        if literal:
            pieces.append(literal)
            literal = ""
        pieces.append(Placeholder(parse_path(inner.removesuffix("?")), inner.endswith("?")))
        at = close + 1
    literal += text[at:]
    if literal:
        pieces.append(literal)
    return tuple(pieces)


def _value(placeholder: Placeholder, memory: Memory) -> Any:
    found = placeholder.path.find(memory)
    if not found and not placeholder.optional:
        raise MissingPath(placeholder.path.text)
    if placeholder.path.many:
        return found if found else MISSING
    return found[0] if found else MISSING


def fill_text(template: str, memory: Memory) -> str:
    """The template as text; optional placeholders without a value are empty.

    Raises:
        MissingPath: a placeholder leads nowhere.
    """
    text = ""
    for piece in parse_template(template):
        if isinstance(piece, str):
            text += piece
            continue
        value = _value(piece, memory)
        text += "" if value is MISSING else shown(value)
    return text


def fill(value: Any, memory: Memory) -> Any:
    """Any JSON value with its templates filled; a string that is one placeholder becomes the value itself.

    Raises:
        MissingPath: a placeholder leads nowhere.
    """
    if isinstance(value, str):
        pieces = parse_template(value)
        if len(pieces) == 1 and isinstance(pieces[0], Placeholder):
            return _value(pieces[0], memory)
        return fill_text(value, memory)
    if (fields := as_object(value)) is not None:
        filled = {key: fill(inner, memory) for key, inner in fields.items()}
        return {key: inner for key, inner in filled.items() if inner is not MISSING}
    if (items := as_list(value)) is not None:
        return [inner for inner in (fill(item, memory) for item in items) if inner is not MISSING]
    return value
