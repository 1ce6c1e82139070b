"""Who a node is: Markdown with YAML front matter, or the same written inline; a child's only narrows (P1)."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, cast

from palmette.coordination import front_matter
from palmette.coordination.bounds import fitting, json_size
from palmette.coordination.errors import ProfileError, Refused
from palmette.coordination.values import Channel, micro_dollars

__all__ = [
    "MAX_BYTES",
    "Profile",
    "as_data",
    "effective",
    "from_data",
    "inline",
    "named",
    "names",
    "parse",
]

MAX_BYTES = 64 * 1024
"""The largest profile: everything it says goes into a prompt."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_MAX_DATA_BYTES = 1_600
"""What a profile may say beside its body: it stands in the event of its node, which has 8 kB in all (DESIGN §6)."""
_MAX_EFFECTIVE_BYTES = 1_800
"""The same with what the profiles above it add: a list of theirs counts where its own names none."""
_MAX_LIST = 100
_MAX_ITEM = 200
_MAX_CUT = 120
"""Bytes of JSON of one line that names what was cut."""
_MAX_DESCRIPTION = 300
_NARROWED = ("tools", "mcp", "egress", "mounts", "harnesses")
_LISTS = (*_NARROWED, "skills")
_KEYS = frozenset(
    {"name", "description", "prompt", "harness", "model", "role", "limits", "sandbox", "workspace", "on_crash"}
    | {"wait", "checks", *_LISTS}
)
_LIMITS = ("usd", "tokens", "turns", "seconds", "deadline_s", "max_output")
_SANDBOXES = ("docker", "bubblewrap", "auto", "unsafe-none")
"""From the narrowest to none at all."""


@dataclass(frozen=True, slots=True)
class Profile:
    """A profile as it counts.

    Attributes:
        prompt: the body.
        tools, mcp, egress, mounts: what the node may use; None is all that its parent may.
        harnesses: in which its children may run, its own aside; None is all that its parent's may.
        limits: default budget per channel, in whole units (micro-dollars for usd).
        max_output: the most output tokens of one model call.
        on_crash: what becomes of a live attempt after a restart (E5).
        wait: how a question's answer is waited for (Q5).
    """

    name: str = "worker"
    description: str = ""
    prompt: str = ""
    role: Literal["driver", "worker", "analyst", "selector"] = "worker"
    harness: str = ""
    model: str = ""
    tools: tuple[str, ...] | None = None
    mcp: tuple[str, ...] | None = None
    skills: tuple[str, ...] | None = None
    egress: tuple[str, ...] | None = None
    mounts: tuple[str, ...] | None = None
    harnesses: tuple[str, ...] | None = None
    sandbox: str = "auto"
    workspace: Literal["read-write", "read-only"] = "read-write"
    on_crash: Literal["resume", "lost"] = "resume"
    wait: Literal["live-block", "park"] = "live-block"
    limits: dict[Channel, int] = field(default_factory=dict[Channel, int])
    deadline_s: int | None = None
    max_output: int | None = None
    checks: tuple[str, ...] = ()


# ── reading ──────────────────────────────────────────────────────────────────────────────────────


def parse(text: str, *, name: str, where: str) -> Profile:
    """A profile file. Claude Code's agent files load as they are: keys of theirs that we do not use are left alone.

    Raises:
        ProfileError: everything that is wrong with it, each with file and key.
    """
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise ProfileError(f"{where} is not valid Unicode", [f"{where}: a lone surrogate"]) from None
    if size > MAX_BYTES:
        raise ProfileError(f"{where} is larger than {MAX_BYTES} bytes", [f"{where}: too large"])
    found = front_matter.read(text, where)

    def at(key: str) -> str:
        line = found.lines.get(key)
        return f"{where}:{line}: {key}" if line is not None else f"{where}: {key}"

    # The file's name is how it is called, whatever it says.
    return _build({**found.data, "prompt": found.body, "name": name}, where, at, strict=False)


def inline(data: Mapping[str, Any]) -> Profile:
    """A profile that a driver wrote for its child.

    Raises:
        ProfileError: everything that is wrong with it; unknown keys too.
    """
    return _build({"name": "inline", **data}, "profile", lambda key: f"profile.{key}", strict=True)


def named(name: str, repository: str | None) -> Profile:
    """A profile by name: the repository's `.palmette/profiles`, its `.claude/agents`, then those that ship with us.

    Raises:
        Refused: unknown_profile.
        ProfileError: it is there and cannot be read.
    """
    if _NAME.fullmatch(name) is None:
        raise Refused("unknown_profile", f"{name[:80]!r} is no profile's name")
    if repository is not None:
        for folder in (".palmette/profiles", ".claude/agents"):
            path = Path(repository, folder, f"{name}.md")
            text = _text_of(path, repository)
            if text is not None:
                return parse(text, name=name, where=f"{folder}/{name}.md")
    shipped = files("palmette.coordination") / "profiles_shipped" / f"{name}.md"
    if shipped.is_file():
        return parse(shipped.read_text(encoding="utf-8"), name=name, where=f"{name}.md")
    raise Refused("unknown_profile", f"there is no profile {name!r}", known=names(repository))


def names(repository: str | None) -> list[str]:
    """Every profile that `named` would find."""
    found = {
        entry.name.removesuffix(".md") for entry in (files("palmette.coordination") / "profiles_shipped").iterdir()
    }
    if repository is not None:
        for folder in (".palmette/profiles", ".claude/agents"):
            found |= {path.stem for path in Path(repository, folder).glob("*.md")}
    return sorted(name for name in found if _NAME.fullmatch(name))


# ── narrowing ────────────────────────────────────────────────────────────────────────────────────


def effective(parent: Profile, asked: Profile) -> tuple[Profile, list[str]]:
    """What a child gets of what it asked: tools, egress, mounts, MCP servers, harnesses and sandbox only narrow (P1).

    A harness that its parent may not give is replaced by the parent's own.

    Returns the profile and what was cut, one line each.

    Raises:
        ProfileError: what it asks for, with what its parents narrowed, is too much for the event of one node.
    """
    cut: list[str] = []
    narrowed: dict[str, Any] = {}
    for name in _NARROWED:
        have: tuple[str, ...] | None = getattr(parent, name)
        want: tuple[str, ...] | None = getattr(asked, name)
        if have is None:
            continue
        if want is None:
            narrowed[name] = have
            continue
        kept = tuple(item for item in want if item in have)
        lost = [item for item in want if item not in have]
        narrowed[name] = kept
        if lost:
            cut.append(_named(name, lost))
    if asked.harness and parent.harnesses is not None and asked.harness not in parent.harnesses:
        narrowed["harness"] = ""
        cut.append(_named("harness", [asked.harness]))
    if _width(asked.sandbox) > _width(parent.sandbox):
        narrowed["sandbox"] = parent.sandbox
        cut.append(f"sandbox: {asked.sandbox} → {parent.sandbox}")
    if parent.workspace == "read-only" and asked.workspace == "read-write":
        narrowed["workspace"] = "read-only"
        cut.append("workspace: read-write → read-only")
    if parent.max_output is not None and (asked.max_output or parent.max_output + 1) > parent.max_output:
        narrowed["max_output"] = parent.max_output
        if asked.max_output is not None:
            cut.append(f"max_output: {asked.max_output} → {parent.max_output}")
    child = replace(asked, **narrowed)
    size = json_size(as_data(child))
    if size > _MAX_EFFECTIVE_BYTES:
        problem = f"with what its parents allow it has {size} bytes beside its prompt; at most {_MAX_EFFECTIVE_BYTES}"
        raise ProfileError(f"profile: {problem}", [f"profile: {problem}"])
    return child, cut


def _named(name: str, lost: Sequence[str]) -> str:
    """A line that names what was cut, as many as fit."""
    line = f"{name}: {', '.join(lost)}"
    if json_size(line) <= _MAX_CUT:
        return line
    told = fitting(lost, _MAX_CUT - len(name) - len(", 100 more"))
    return f"{name}: {', '.join([*told, f'{len(lost) - len(told)} more'])}"


def _width(sandbox: str) -> int:
    return _SANDBOXES.index(sandbox)


# ── journal form ─────────────────────────────────────────────────────────────────────────────────


def as_data(profile: Profile) -> dict[str, Any]:
    """Everything but the body, without what is at its default: small enough for an event."""
    default = Profile()
    data: dict[str, Any] = {}
    for name in Profile.__dataclass_fields__:
        value = getattr(profile, name)
        if name == "prompt" or value == getattr(default, name):
            continue
        data[name] = list(cast(tuple[str, ...], value)) if isinstance(value, tuple) else value
    return data


def from_data(data: Mapping[str, Any], prompt: str) -> Profile:
    """The profile that `as_data` told of."""
    given: dict[str, Any] = {}
    for key, value in data.items():
        given[key] = tuple(cast(list[str], value)) if isinstance(value, list) else value
    given["prompt"] = prompt
    return Profile(**given)


# ── shared ───────────────────────────────────────────────────────────────────────────────────────


def _text_of(path: Path, repository: str) -> str | None:
    """A repository's profile, if it is a plain file of it; a link is not followed, nor one above it out of it."""
    try:
        if path.is_symlink() or not path.is_file() or not path.resolve().is_relative_to(Path(repository).resolve()):
            return None
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1).decode("utf-8")
    except UnicodeDecodeError:
        raise ProfileError(f"{path.name} is not UTF-8", [f"{path.name}: not UTF-8"]) from None
    except OSError:
        return None


_At = Callable[[str], str]
"""Names a key as a person finds it: with file and line."""


def _build(data: Mapping[Any, Any], where: str, at: _At, *, strict: bool) -> Profile:
    problems: list[str] = []
    if strict:
        problems += [f"{at(str(key)[:80])}: unknown key" for key in data if key not in _KEYS]
    given: dict[str, Any] = {}
    _take_words(data, at, given, problems)
    for key in (*_LISTS, "checks"):
        if data.get(key) is not None:
            _take_list(data[key], at(key), key, given, problems)
    for key, allowed in (
        ("role", ("driver", "worker", "analyst", "selector")),
        ("sandbox", _SANDBOXES),
        ("workspace", ("read-write", "read-only")),
        ("on_crash", ("resume", "lost")),
        ("wait", ("live-block", "park")),
    ):
        value = data.get(key)
        if value is not None and value not in allowed:
            problems.append(f"{at(key)}: {str(value)[:80]!r} is none of {', '.join(allowed)}")
        elif value is not None:
            given[key] = value
    _take_limits(data.get("limits"), at, given, problems)
    if not problems:
        profile = Profile(**given)
        size = len(json.dumps(as_data(profile), ensure_ascii=False).encode())
        if size <= _MAX_DATA_BYTES:
            return profile
        problems.append(f"{where}: has {size} bytes beside its prompt; at most {_MAX_DATA_BYTES} are taken")
    raise ProfileError(f"{where}: {problems[0].partition(': ')[2]}", problems)


def _take_words(data: Mapping[Any, Any], at: _At, given: dict[str, Any], problems: list[str]) -> None:
    prompt = data.get("prompt") or ""
    if not _is_text(prompt, MAX_BYTES):
        problems.append(f"{at('prompt')}: must be Unicode text without NUL of at most {MAX_BYTES} bytes")
    given["prompt"] = prompt
    name = data.get("name")
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        problems.append(f"{at('name')}: must be a word of at most 64 letters, digits, `_`, `.` and `-`")
    given["name"] = name
    description = str(data.get("description") or "")
    if not _is_text(description, MAX_BYTES):
        problems.append(f"{at('description')}: must be Unicode text without NUL")
    given["description"] = description[:_MAX_DESCRIPTION]
    for key in ("harness", "model"):
        value = data.get(key)
        if value is not None and not _is_name(value):
            problems.append(f"{at(key)}: must be a name")
        elif value is not None and value != "inherit":
            given[key] = value


def _take_list(value: Any, where: str, key: str, given: dict[str, Any], problems: list[str]) -> None:
    items: Any = _comma_separated(value) if isinstance(value, str) else value
    if not isinstance(items, list) or len(cast(list[Any], items)) > _MAX_LIST:
        problems.append(f"{where}: must be a list of at most {_MAX_LIST} names")
        return
    bad = [item for item in cast(list[Any], items) if not _is_name(item)]
    if bad:
        problems.append(f"{where}: {str(bad[0])[:80]!r} is no name")
    elif items != ["*"]:  # the agent files' word for all of them, which is what leaving the key out says
        given[key] = tuple(dict.fromkeys(cast(list[str], items)))


def _comma_separated(text: str) -> list[str]:
    """The items; a comma inside parentheses is theirs, as in `Bash(git add:*, git commit:*)`."""
    items: list[list[str]] = [[]]
    depth = 0
    for character in text:
        depth = max(0, depth + (character == "(") - (character == ")"))
        if character == "," and depth == 0:
            items.append([])
        else:
            items[-1].append(character)
    return [item for item in ("".join(part).strip() for part in items) if item]


def _take_limits(value: Any, at: _At, given: dict[str, Any], problems: list[str]) -> None:
    if value is None:
        return
    if not isinstance(value, dict):
        problems.append(f"{at('limits')}: must be a mapping of {', '.join(_LIMITS)}")
        return
    limits: dict[Channel, int] = {}
    for key, amount in cast(dict[Any, Any], value).items():
        where = at(f"limits.{str(key)[:80]}")
        if key == "usd":
            try:
                limits["usd"] = micro_dollars(amount)
            except Refused as refused:
                problems.append(f"{where}: {refused.message}")
        elif key not in _LIMITS:
            problems.append(f"{where}: unknown; known are {', '.join(_LIMITS)}")
        elif isinstance(amount, bool) or not isinstance(amount, int) or not 0 <= amount < 2**53:
            problems.append(f"{where}: must be a whole number, not negative")
        elif key in ("deadline_s", "max_output"):
            given[key] = amount
        else:
            limits[key] = amount
    given["limits"] = limits


def _is_text(value: object, most: int) -> bool:
    """Whether it is text that may be stored: valid Unicode of at most `most` bytes, without NUL."""
    if not isinstance(value, str) or "\0" in value:
        return False
    try:
        return len(value.encode()) <= most
    except UnicodeEncodeError:
        return False


def _is_name(value: object) -> bool:
    """Whether it is a word or two for a list, a prompt and a screen: short, printable, not empty."""
    return isinstance(value, str) and value.isprintable() and bool(value) and _is_text(value, _MAX_ITEM)
