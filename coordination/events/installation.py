"""The supervisor's own life, its clock, and the sessions of MCP clients over HTTP."""

from dataclasses import dataclass
from typing import Any, Literal

from palmette.coordination.events.envelope import EventData, event

__all__ = [
    "ClockMarked",
    "HttpSessionClosed",
    "HttpSessionOpened",
    "SupervisorStarted",
    "SupervisorStopped",
]


@event("supervisor_started")
@dataclass(frozen=True, slots=True)
class SupervisorStarted(EventData):
    """A supervisor took the journal; everything still open from an earlier life is recovered after it."""

    package_version: str
    pid: int
    started_by: Literal["person", "relay"]


@event("supervisor_stopped")
@dataclass(frozen=True, slots=True)
class SupervisorStopped(EventData):
    """A supervisor ended in good order."""

    reason: Literal["down", "idle", "signal"]


@event("clock_marked")
@dataclass(frozen=True, slots=True)
class ClockMarked(EventData):
    """How many seconds each open deadline had left (B10: a restart grants the lesser of this and the wall clock's)."""

    rests: dict[str, int]


@event("http_session_opened")
@dataclass(frozen=True, slots=True)
class HttpSessionOpened(EventData):
    """An MCP client initialized over HTTP; the record from which its session is made again after a restart (S5)."""

    session: str
    endpoint: str
    credential: str
    protocol_version: str
    params: dict[str, Any]


@event("http_session_closed")
@dataclass(frozen=True, slots=True)
class HttpSessionClosed(EventData):
    """The client ended its session, or it was idle for too long."""

    session: str
