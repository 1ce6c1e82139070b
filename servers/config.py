"""Configuration: every value with the place it is from.

The person's own layers give one value each: flag, else environment (PALMETTE_*), else the user's config, else the
default. A repository's `.palmette/config.toml` comes from whoever wrote the repository, so it may hold limits and
checks (profiles are files beside it), and its limits only lower what the person's layers say (DESIGN "Platforms").
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from palmette.coordination.errors import PalmetteError
from palmette.coordination.events import EVENT_TYPES
from palmette.coordination.values import Amounts, micro_dollars

__all__ = ["Config", "Hook", "Value", "default_max_live", "load", "repository_config", "user_config"]

_MEMORY_OF_A_NODE = 700 * 1024 * 1024
"""Bytes (B15)."""

Count = Annotated[int, Field(ge=0, le=10**12)]
M = TypeVar("M", bound="_Strict")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _SharedLimits(_Strict):
    usd: Annotated[Decimal, Field(ge=0, le=10**9, decimal_places=6)] | None = None
    tokens: Count | None = None
    turns: Count | None = None
    seconds: Count | None = None
    deadline_s: Annotated[int, Field(gt=0, le=31_536_000)] | None = None
    max_depth: Annotated[int, Field(ge=0, le=64)] | None = None


class _Limits(_SharedLimits):
    max_live: Annotated[int, Field(ge=1, le=10_000)] | None = None
    grace_s: Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)] | None = None


class _Check(_Strict):
    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")]
    kind: Annotated[str, Field(min_length=1, max_length=40)]
    spec: dict[str, Any] = {}
    objective: str | None = None
    direction: Literal["higher", "lower"] | None = None
    pass_if: str | None = None


class _Run(_Strict):
    harness: str | None = None
    model: str | None = None
    model_source: str | None = None
    profile: str | None = None


class _Server(_Strict):
    port: Annotated[int, Field(ge=0, le=65535)] | None = None


class Hook(_Strict):
    """A command that is told of events of some kinds, one JSON object on its standard input (E11)."""

    kinds: Annotated[list[str], Field(min_length=1)]
    command: Annotated[list[str], Field(min_length=1)]


class _Notify(_Strict):
    command: Annotated[list[str], Field(min_length=1)]


class _RepositoryFile(_Strict):
    limits: _SharedLimits = _SharedLimits()
    checks: list[_Check] = []


class _UserFile(_Strict):
    limits: _Limits = _Limits()
    checks: list[_Check] = []
    run: _Run = _Run()
    server: _Server = _Server()
    hooks: list[Hook] = []
    notify: _Notify | None = None


@dataclass(frozen=True, slots=True)
class Value:
    """A setting and where it is from: `flag`, `environment NAME`, a file's path, or `default`."""

    value: Any
    source: str


_LIMITS = ("usd", "tokens", "turns", "seconds", "deadline_s", "max_depth", "max_live", "grace_s")
_PLAIN = {"port": "server", "harness": "run", "model": "run", "model_source": "run", "profile": "run"}

_DEFAULTS: Mapping[str, Any] = {
    "usd": 5.0,
    "tokens": None,
    "turns": 400,
    "seconds": 7_200,
    "deadline_s": None,
    "max_depth": 4,
    "grace_s": 10.0,
    "port": 0,
    "harness": "builtin",
    "model": "scripted",
    "model_source": "",
    "profile": "driver",
}
"""B15; `max_live` depends on the machine (`default_max_live`)."""


@dataclass(frozen=True, slots=True)
class Config:
    """Everything configured. Amounts in the units of the channels; `usd` in dollars."""

    values: Mapping[str, Value]
    checks: tuple[Mapping[str, Any], ...]
    checks_source: str
    hooks: tuple[Hook, ...]
    notify: tuple[str, ...]
    hooks_source: str

    def of(self, name: str) -> Any:
        """A setting's value."""
        return self.values[name].value

    def pool(self) -> Amounts:
        """What a root gets, one whole number per channel."""
        usd = self.of("usd")
        return Amounts(
            None if usd is None else micro_dollars(usd), self.of("tokens"), self.of("turns"), self.of("seconds")
        )

    def as_dict(self) -> dict[str, Any]:
        """Each value with its source, for `palmette config --json`."""
        shown: dict[str, Any] = {name: {"value": v.value, "source": v.source} for name, v in self.values.items()}
        shown["checks"] = {"value": list(self.checks), "source": self.checks_source}
        shown["hooks"] = {"value": [hook.model_dump() for hook in self.hooks], "source": self.hooks_source}
        shown["notify"] = {"value": list(self.notify), "source": self.hooks_source}
        return shown


def user_config(environ: Mapping[str, str]) -> Path:
    """The user's own config: $XDG_CONFIG_HOME/palmette/config.toml, else below ~/.config. It need not exist."""
    home = environ.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(home):
        home = os.path.join(environ.get("HOME") or os.path.expanduser("~"), ".config")
    return Path(home, "palmette", "config.toml")


def repository_config(repository: str | None) -> Path | None:
    """The repository's config; None without a repository. It need not exist."""
    return None if repository is None else Path(repository, ".palmette", "config.toml")


def default_max_live() -> int:
    """B15: min(8, memory ÷ 700 MB), at least one."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(1, min(8, memory // _MEMORY_OF_A_NODE))


def load(
    flags: Mapping[str, Any] | None = None,
    *,
    repository: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> Config:
    """Read all layers.

    Args:
        flags: what the command line gave, by setting; None for what it did not.
        repository: path of a work tree.

    Raises:
        PalmetteError: `bad_config`, naming the file (or variable) and every key that is wrong in it.
    """
    env = os.environ if environ is None else environ
    path = user_config(env)
    user = _read(path, _UserFile)
    theirs = repository_config(repository)
    repo = _RepositoryFile() if theirs is None else _read(theirs, _RepositoryFile)
    environment = _environment(env)
    values: dict[str, Value] = {}
    for name in (*_LIMITS, *_PLAIN):
        given = (flags or {}).get(name)
        if given is not None:
            values[name] = Value(given, "flag")
        elif name in environment:
            values[name] = Value(environment[name], f"environment {_variable(name)}")
        elif (own := getattr(getattr(user, _PLAIN.get(name, "limits")), name)) is not None:
            values[name] = Value(_plain(own), str(path))
        else:
            values[name] = Value(default_max_live() if name == "max_live" else _DEFAULTS[name], "default")
        lower = getattr(repo.limits, name, None) if name in _LIMITS else None
        if lower is not None and (values[name].value is None or _plain(lower) < values[name].value):
            values[name] = Value(_plain(lower), str(theirs))
    checks, source = (repo.checks, str(theirs)) if repo.checks else (user.checks, str(path))
    return Config(
        values=values,
        checks=tuple(check.model_dump(exclude_none=True) for check in checks),
        checks_source=source if checks else "default",
        hooks=tuple(user.hooks),
        notify=tuple(user.notify.command) if user.notify else (),
        hooks_source=str(path) if user.hooks or user.notify else "default",
    )


def _plain(value: Any) -> Any:
    return float(value) if isinstance(value, Decimal) else value


def _variable(name: str) -> str:
    return f"PALMETTE_{name.upper()}"


def _environment(env: Mapping[str, str]) -> dict[str, Any]:
    """The settings that the environment gives; an empty variable is none."""
    found: dict[str, Any] = {}
    groups: dict[str, dict[str, str]] = {"limits": {}, "server": {}, "run": {}}
    for name in (*_LIMITS, *_PLAIN):
        if raw := env.get(_variable(name)):
            groups[_PLAIN.get(name, "limits")][name] = raw
    for group, given in groups.items():
        model = {"limits": _Limits, "server": _Server, "run": _Run}[group]
        try:
            read = model.model_validate(given)
        except ValidationError as error:
            problems = "; ".join(f"{_variable(str(p['loc'][0]))}: {p['msg']}" for p in error.errors(include_url=False))
            raise PalmetteError(
                f"the environment is wrong: {problems}", "unset or mend it", code="bad_config"
            ) from None
        found |= {name: _plain(getattr(read, name)) for name in given}
    return found


def _read(path: Path, model: type[M]) -> M:
    try:
        raw = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return model()
    except OSError as error:
        raise PalmetteError(
            f"{path} cannot be read ({error.strerror})", "mend or remove it", code="bad_config"
        ) from None
    try:
        data: dict[str, Any] = tomllib.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise PalmetteError(f"{path} is no TOML: {error}", "mend the file", code="bad_config") from None
    problems = _wrong_kinds(data)
    try:
        read = model.model_validate(data)
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            problems.append(_problem(data, problem["loc"], problem["type"], problem["msg"], model is _RepositoryFile))
        read = model()
    if problems:
        hint = "mend the file; `palmette config` shows what holds"
        raise PalmetteError(f"{path}: {'; '.join(problems[:20])}", hint, code="bad_config")
    return read


def _problem(data: Mapping[str, Any], loc: tuple[int | str, ...], kind: str, what: str, in_repository: bool) -> str:
    key = ".".join(map(str, loc))
    if kind != "extra_forbidden":
        return f"{key}: {what}"
    known: Mapping[str, Any] = _UserFile.model_fields
    section = known[str(loc[0])].annotation if str(loc[0]) in known else None
    elsewhere = len(loc) == 1 and section is not None
    if len(loc) == 2 and loc[0] == "limits":
        elsewhere = str(loc[1]) in _Limits.model_fields
    if in_repository and elsewhere:
        return f"{key} may not come from a repository; it belongs in your own config"
    return f"{key} is not a key"


def _wrong_kinds(data: Mapping[str, Any]) -> list[str]:
    hooks = data.get("hooks")
    if not isinstance(hooks, list):
        return []
    known = {kind for kind, _ in EVENT_TYPES}
    wrong: list[str] = []
    for hook in cast(list[Any], hooks):
        kinds: Any = cast(dict[str, Any], hook).get("kinds") if isinstance(hook, dict) else None
        if isinstance(kinds, list):
            wrong += [
                f"hooks.kinds: no event is called {kind!r}" for kind in cast(list[Any], kinds) if kind not in known
            ]
    return wrong
