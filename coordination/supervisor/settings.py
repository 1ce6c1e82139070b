"""What a supervisor is told once, at its start."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from palmette.coordination.values import Amounts

__all__ = ["AWAIT_MAX_S", "HEARTBEAT_S", "Settings"]

HEARTBEAT_S = 15.0
"""A waiting call tells its client this often that it is alive (DESIGN §4)."""
AWAIT_MAX_S = 240.0
"""The longest wait of one call, in seconds (DESIGN §4)."""


@dataclass(frozen=True, slots=True)
class Settings:
    """A supervisor's settings.

    Attributes:
        data: the data directory: journal, blobs, attempts, workspaces.
        relay_argv: starts the stdio relay on this supervisor's socket, for nodes.
        pool: what a root gets on each channel if it asks for nothing (B15).
        max_depth, max_live, grace_s: see B15; seconds for the grace.
        book_seconds_every: how often active time is booked, in seconds.
        mark_clock_every: how often the rests of deadlines are journaled, in seconds (B10).
        model: the model a node uses if its profile names none.
    """

    data: Path
    version: str
    relay_argv: tuple[str, ...]
    started_by: Literal["person", "relay"] = "person"
    pool: Amounts = field(default_factory=lambda: Amounts(5_000_000, None, 400, 7_200))
    max_depth: int = 4
    max_live: int = 8
    grace_s: float = 10.0
    harness: str = "builtin"
    model: str = "scripted"
    model_source: str = ""
    isolation: str = "unsafe-none"
    book_seconds_every: float = 5.0
    mark_clock_every: float = 30.0

    def attempt_directory(self, attempt: str) -> Path:
        """An attempt's own directory: harness home, token, logs."""
        tree, _, rest = attempt.partition("/")
        path, _, number = rest.partition("#")
        return self.data / "attempts" / tree / path / number

    def session_directory(self, node: str) -> Path:
        """Where a node's session files outlive its attempts."""
        tree, _, path = node.partition("/")
        return self.data / "sessions" / tree / path
