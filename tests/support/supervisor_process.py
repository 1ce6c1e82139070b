"""Starting and ending a supervisor process as a test needs it."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.polling import until

__all__ = ["SupervisorProcess"]

_ROOT = Path(__file__).parents[2]


@dataclass
class SupervisorProcess:
    """A supervisor of a data directory; ended by `close`, however the test went.

    The sockets lie under `runtime`, which must be short: a path of 108 bytes cannot be bound.
    """

    data: Path
    runtime: Path
    lives: list[subprocess.Popen[str]] = field(default_factory=list[subprocess.Popen[str]])

    def start(self, *, port: int = 0, idle_exit_s: float = 900.0) -> dict[str, Any]:
        """Start a life and wait until it serves; returns its record."""
        self.launch(port=port, idle_exit_s=idle_exit_s)
        until(lambda: self.record().get("pid") == self.lives[-1].pid or self.lives[-1].poll() is not None)
        if self.lives[-1].poll() is not None:
            raise AssertionError(f"it ended at once: {self.lives[-1].communicate()[1]}")
        return self.record()

    def launch(self, *, port: int = 0, idle_exit_s: float = 900.0) -> subprocess.Popen[str]:
        """Start a life and do not wait."""
        argv = [sys.executable, "-m", "tests.support.supervisor_program", str(self.data), str(port), str(idle_exit_s)]
        life = subprocess.Popen(
            argv, cwd=_ROOT, env=self.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        self.lives.append(life)
        return life

    def environment(self) -> dict[str, str]:
        """What a client of it needs to find it."""
        return {"PATH": os.environ["PATH"], "HOME": str(self.data), "XDG_RUNTIME_DIR": str(self.runtime)}

    def record(self) -> dict[str, Any]:
        """What the running life wrote down; empty if none has."""
        try:
            return json.loads((self.data / "supervisor.json").read_text())
        except (FileNotFoundError, ValueError):
            return {}

    def kill(self) -> None:
        """kill -9."""
        self.lives[-1].kill()
        self.lives[-1].wait(timeout=30)

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end; returns its exit code."""
        self.lives[-1].send_signal(how)
        return self.lives[-1].wait(timeout=30)

    def close(self) -> None:
        """Leave nothing behind."""
        for life in self.lives:
            if life.poll() is None:
                life.kill()
            life.communicate(timeout=30)
