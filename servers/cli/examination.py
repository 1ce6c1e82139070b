"""What palmette needs of its surroundings, looked at one by one, each with one remedy."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import anyio

from palmette.coordination.errors import PalmetteError
from palmette.coordination.ports import HarnessProbe
from palmette.coordination.store import engine_facts
from palmette.sandbox.harness.registry import Registry
from palmette.sandbox.isolation.unsafe_none import UnsafeNone
from palmette.servers import config, launch, places

__all__ = ["GIT_NEEDED", "Finding", "examine"]

GIT_NEEDED = (2, 25)
"""`git clone --shared` with sparse reads and `bundle` as the workspaces use them; what Ubuntu 20.04 ships."""

State = Literal["ok", "warning", "blocking"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        state: `blocking` if no tree can run without it.
        remedy: the one thing to do; empty if nothing is.
    """

    what: str
    state: State
    found: str
    remedy: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The form for --json."""
        return {"what": self.what, "state": self.state, "found": self.found, "remedy": self.remedy}


def examine(data: str) -> list[Finding]:
    """Everything, in the order in which it matters. Nothing is created or changed."""
    return [
        _platform(),
        _python(),
        _git(),
        _sqlite(),
        *_directories(data),
        _supervisor(data),
        _config(),
        *_sandbox(data),
    ]


def _platform() -> Finding:
    if sys.platform == "linux":
        return Finding("platform", "ok", "Linux")
    return Finding("platform", "blocking", sys.platform, "nodes need Linux: use a Linux machine or WSL2")


def _python() -> Finding:
    return Finding("python", "ok", f"{sys.version.split()[0]} at {sys.executable}")


def _git() -> Finding:
    install = f"install git {'.'.join(map(str, GIT_NEEDED))} or newer, e.g. apt install git"
    try:
        said = subprocess.run(["git", "--version"], capture_output=True, timeout=10, check=True).stdout.decode()
    except (OSError, subprocess.SubprocessError):
        return Finding("git", "blocking", "none", install)
    version = re.search(r"(\d+)\.(\d+)(\.\d+)*", said)
    if version is None or (int(version[1]), int(version[2])) < GIT_NEEDED:
        return Finding("git", "blocking", said.strip(), install)
    return Finding("git", "ok", version[0])


def _sqlite() -> Finding:
    facts = engine_facts()
    if facts.several_writers_safe:
        return Finding("sqlite", "ok", facts.version)
    remedy = "a Python with SQLite 3.51.3 or newer closes a rare gap; one writer per journal already avoids it"
    return Finding("sqlite", "warning", facts.version, remedy)


def _directories(data: str) -> Iterator[Finding]:
    if not os.path.isdir(data):
        above = Path(data)
        while not above.exists():
            above = above.parent
        if os.access(above, os.W_OK | os.X_OK):
            yield Finding("data directory", "ok", f"{data} (not made yet)")
        else:
            yield Finding("data directory", "blocking", f"{data} cannot be made", "give another with --data DIR")
    elif os.access(data, os.W_OK | os.X_OK):
        yield Finding("data directory", "ok", data)
    else:
        yield Finding("data directory", "blocking", f"{data} cannot be written", "give another with --data DIR")
    try:
        path = places.find_socket(data)
    except places.PlaceError as error:
        yield Finding("runtime directory", "blocking", error.message, error.hint)
        return
    length = len(os.fsencode(path))
    yield Finding("runtime directory", "ok", f"{os.path.dirname(path)} (a socket path has {length} bytes of 107)")


def _supervisor(data: str) -> Finding:
    if launch.is_running(data):
        record = launch.recorded(data)
        return Finding("supervisor", "ok", f"runs, pid {record.get('pid', '?')}, version {record.get('version', '?')}")
    if os.path.exists(places.down_marker(data)):
        return Finding("supervisor", "ok", "down, by `palmette down`", "palmette up")
    return Finding("supervisor", "ok", "none runs; run and mcp start one")


def _config() -> Finding:
    try:
        config.load()
    except PalmetteError as error:
        return Finding("config", "blocking", error.message, error.hint)
    path = config.user_config(os.environ)
    return Finding("config", "ok", str(path) if path.exists() else f"the defaults; there is no {path}")


def _sandbox(data: str) -> Iterator[Finding]:
    isolation = UnsafeNone(Path(data, "reapers"))
    offered = isolation.probe()
    if offered.available:
        limits = ", ".join(sorted(offered.limits))
        yield Finding(
            "isolation", "warning", f"{offered.name}: no cage; {limits}", "run only what you would run yourself"
        )
    else:
        yield Finding("isolation", "blocking", f"{offered.name}: {offered.reason}", offered.remedy)
    registry = Registry(isolation)
    for name in registry.names():
        probe: HarnessProbe = anyio.run(registry.probe, name)
        state: State = "ok" if probe.available else "warning"
        yield Finding(f"harness {name}", state, probe.version or probe.reason, probe.remedy)
