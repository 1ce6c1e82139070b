"""Who a node is: Markdown with YAML front matter, or the same written inline; a child's only narrows (P1)."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, cast

import yaml

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
_MAX_LIST = 100
_MAX_ITEM = 200
_LISTS = ("tools", "mcp", "skills", "egress", "mounts")
_KEYS = frozenset(
    {
        *_LISTS,
        "name",
        "description",
        "prompt",
        "harness",
        "model",
        "role",
        "limits",
        "sandbox",
        "workspace",
        "on_crash",
        "wait",
        "checks",
    }
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
    if len(text.encode()) > MAX_BYTES:
        raise ProfileError(f"{where} is larger than {MAX_BYTES} bytes", [f"{where}: too large"])
    front, body = _split(text)
    try:
        data = _load(front)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 2}" if mark is not None else ""
        problem = f"{where}{line}: {getattr(error, 'problem', None) or 'not YAML'}"
        raise ProfileError(f"the front matter of {where} cannot be read", [problem]) from None
    if not isinstance(data, dict):
        raise ProfileError(f"the front matter of {where} is no mapping", [f"{where}: expected `key: value` lines"])
    return _build(cast(dict[str, Any], data) | {"prompt": body}, name, where, strict=False)


def inline(data: Mapping[str, Any]) -> Profile:
    """A profile that a driver wrote for its child.

    Raises:
        ProfileError: everything that is wrong with it; unknown keys too.
    """
    return _build(dict(data), str(data.get("name") or "inline"), "profile", strict=True)


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
            text = _text_of(path)
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
    """What a child gets of what it asked: tools, egress, mounts, MCP servers and sandbox only narrow (P1).

    Returns the profile and what was cut, one line each.
    """
    cut: list[str] = []
    narrowed: dict[str, Any] = {}
    for name in ("tools", "mcp", "egress", "mounts"):
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
            cut.append(f"{name}: {', '.join(lost)}")
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
    return replace(asked, **narrowed), cut


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


class _Plain(yaml.SafeLoader):
    """YAML without aliases: an alias bomb is a few lines that become gigabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):  # pyright: ignore[reportUnknownMemberType]
            raise yaml.constructor.ConstructorError(None, None, "aliases are not allowed", None)
        return super().compose_node(parent, index)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]


def _load(front: str) -> Any:
    return yaml.load(front, _Plain) or {}


def _split(text: str) -> tuple[str, str]:
    lines = text.splitlines()
    if lines and lines[0].strip() == "---":
        for number, line in enumerate(lines[1:], 1):
            if line.strip() == "---":
                return "\n".join(lines[1:number]), "\n".join(lines[number + 1 :]).strip()
    return "", text.strip()


def _text_of(path: Path) -> str | None:
    """A repository's profile, if it is a plain file of a sane size; a link is not followed."""
    try:
        if path.is_symlink() or not path.is_file():
            return None
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1).decode("utf-8")
    except UnicodeDecodeError:
        raise ProfileError(f"{path.name} is not UTF-8", [f"{path.name}: not UTF-8"]) from None
    except OSError:
        return None


def _build(data: dict[str, Any], name: str, where: str, *, strict: bool) -> Profile:
    problems: list[str] = []
    if strict:
        problems += [f"{where}.{key}: unknown key" for key in data if key not in _KEYS]
    given: dict[str, Any] = {"name": name[:64], "description": str(data.get("description") or "")[:1_000]}
    prompt = data.get("prompt") or ""
    if not isinstance(prompt, str) or len(prompt.encode("utf-8", "replace")) > MAX_BYTES:
        problems.append(f"{where}.prompt: must be text of at most {MAX_BYTES} bytes")
    else:
        given["prompt"] = prompt
    for key in ("harness", "model"):
        value = data.get(key)
        if value is not None and (not isinstance(value, str) or not 0 < len(value) <= _MAX_ITEM):
            problems.append(f"{where}.{key}: must be a name")
        elif value is not None and value != "inherit":
            given[key] = value
    for key in _LISTS:
        if data.get(key) is not None:
            _take_list(data[key], f"{where}.{key}", key, given, problems)
    if data.get("checks") is not None:
        _take_list(data["checks"], f"{where}.checks", "checks", given, problems)
    for key, allowed in (
        ("role", ("driver", "worker", "analyst", "selector")),
        ("sandbox", _SANDBOXES),
        ("workspace", ("read-write", "read-only")),
        ("on_crash", ("resume", "lost")),
        ("wait", ("live-block", "park")),
    ):
        value = data.get(key)
        if value is not None and value not in allowed:
            problems.append(f"{where}.{key}: {value!r} is none of {', '.join(allowed)}")
        elif value is not None:
            given[key] = value
    _take_limits(data.get("limits"), where, given, problems)
    if problems:
        raise ProfileError(f"{where}: {problems[0].partition(': ')[2]}", problems)
    return Profile(**given)


def _take_list(value: Any, where: str, key: str, given: dict[str, Any], problems: list[str]) -> None:
    items: Sequence[Any] = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    if not isinstance(items, list) or len(items) > _MAX_LIST:
        problems.append(f"{where}: must be a list of at most {_MAX_LIST} names")
        return
    bad = [item for item in items if not isinstance(item, str) or not 0 < len(item) <= _MAX_ITEM]
    if bad:
        problems.append(f"{where}: {bad[0]!r} is no name")
    else:
        given[key] = tuple(dict.fromkeys(cast(list[str], items)))


def _take_limits(value: Any, where: str, given: dict[str, Any], problems: list[str]) -> None:
    if value is None:
        return
    if not isinstance(value, dict):
        problems.append(f"{where}.limits: must be a mapping of {', '.join(_LIMITS)}")
        return
    limits: dict[Channel, int] = {}
    for key, amount in cast(dict[str, Any], value).items():
        if key == "usd":
            try:
                limits["usd"] = micro_dollars(amount)
            except Refused as refused:
                problems.append(f"{where}.limits.usd: {refused.message}")
        elif key not in _LIMITS:
            problems.append(f"{where}.limits.{key}: unknown; known are {', '.join(_LIMITS)}")
        elif isinstance(amount, bool) or not isinstance(amount, int) or not 0 <= amount < 2**53:
            problems.append(f"{where}.limits.{key}: must be a whole number, not negative")
        elif key in ("deadline_s", "max_output"):
            given[key] = amount
        else:
            limits[key] = amount
    given["limits"] = limits
