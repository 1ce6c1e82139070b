"""What an isolation can do on this machine, as its probe found it."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["Capabilities", "Limit"]

Limit = Literal["file_system", "pid", "network", "seccomp", "wall_time", "memory", "pids", "cpu", "disk"]


@dataclass(frozen=True)
class Capabilities:
    """The answer of a probe.

    Attributes:
        name: `unsafe-none`, later `bubblewrap` and `docker`.
        available: it can be used here.
        limits: what it enforces; whatever is required and not in it is a refusal.
        net: `host` when a process reaches whatever the machine reaches, `none` when it has no network of its own.
        pause: it can freeze and thaw.
        snapshot: it can take the work tree while the node runs.
        reason: why it is not available; empty if it is.
        remedy: what to do about that.
    """

    name: str
    available: bool
    limits: frozenset[Limit]
    net: Literal["host", "none"]
    pause: bool
    snapshot: bool
    reason: str = ""
    remedy: str = ""
