"""`unsafe-none`: no cage. Processes are held by a subreaper and end with it; nothing else is kept from them.

Only used when asked for by name, and written in every record it touches (DESIGN §3).
"""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from secrets import token_hex

from palmette.sandbox.isolation.capabilities import Capabilities
from palmette.sandbox.isolation.process import ExecResult, ReapedProcess, run_reaped
from palmette.sandbox.isolation.stale import Stale, reap_stale
from palmette.sandbox.workspace.names import directory_name

__all__ = ["UnsafeNone"]

_PASSED_ON = ("PATH", "LANG", "LC_ALL", "TZ")


class UnsafeNone:
    """Starts the commands of attempts under subreapers whose lock files are in one directory.

    Args:
        locks: directory of the lock files (made 0700); one supervisor owns it.
    """

    name = "unsafe-none"

    def __init__(self, locks: Path) -> None:
        self._locks = locks

    def probe(self) -> Capabilities:
        """What it offers: a wall-time bound, pause and a confirmed end, on Linux."""
        linux = sys.platform == "linux"
        return Capabilities(
            name=self.name,
            available=linux,
            limits=frozenset({"wall_time"}),
            net="host",
            pause=True,
            snapshot=True,
            reason="" if linux else "there are no subreapers here",
            remedy="" if linux else "use a Linux engine",
        )

    def environment(self, home: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the whole environment of a command: four harmless variables of ours, its own home, and `extra`."""
        passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        mine = {"HOME": str(home), "PALMETTE_ISOLATION": self.name, "GIT_TERMINAL_PROMPT": "0"}
        return {**passed, **mine, **(extra or {})}

    async def launch(
        self,
        attempt: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        grace_s: float = 2.0,
        stdin: bool = True,
    ) -> ReapedProcess:
        """Start a long-lived command of an attempt; the caller closes it.

        Raises:
            IsolationError: `launch_failed`.
        """
        return await ReapedProcess.start(
            argv, attempt=attempt, env=env, cwd=cwd, lock=self._lock(attempt), grace_s=grace_s, stdin=stdin
        )

    async def exec(
        self,
        attempt: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        timeout_s: float,
        max_output: int = 10 * 1024 * 1024,
        stdin: bytes = b"",
    ) -> ExecResult:
        """Run a command to its end, bounded in time and output; whatever it started ends with it.

        Raises:
            IsolationError: `launch_failed`.
        """
        return await run_reaped(
            argv,
            attempt=attempt,
            env=env,
            cwd=cwd,
            lock=self._lock(attempt),
            timeout_s=timeout_s,
            max_output=max_output,
            stdin=stdin,
        )

    async def command(self, node: str, argv: Sequence[str], directory: Path, seconds: float) -> bytes:
        """Run a command of ours for a node and return its standard output, whatever it exits with: an IsolatedCommand.

        Raises:
            IsolationError: `launch_failed`.
        """
        result = await self.exec(node, argv, env=self.environment(directory), cwd=directory, timeout_s=seconds)
        return result.stdout

    async def reap(self, *, wait_s: float = 15.0) -> list[Stale]:
        """End whatever an earlier life left; to be called before anything is started. Idempotent."""
        return await reap_stale(self._locks, wait_s=wait_s)

    def _lock(self, attempt: str) -> Path:
        # An attempt may run several commands at once: its harness, a snapshot, a check. Each has a reaper of its own.
        self._locks.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self._locks / f"{directory_name(attempt)}.{token_hex(4)}.lock"
