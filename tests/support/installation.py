"""A whole installation in a directory of its own: the command line as a person types it, and nothing left behind."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.polling import until
from tests.support.survivors import alive, marked

__all__ = ["Installation", "installation"]

ROOT = Path(__file__).parents[2]


@dataclass
class Installation:
    """A data directory, a home, and the `palmette` command over them."""

    directory: Path

    @property
    def data(self) -> Path:
        return self.directory / "data"

    @property
    def repository(self) -> Path:
        """The demo's repository, once the demo has run."""
        return self.data / "demo-repository"

    def environment(self) -> dict[str, str]:
        """A newcomer's: a home of its own, and nothing of this test run's settings."""
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.directory / "home"),
            "XDG_RUNTIME_DIR": str(self.directory / "run"),
            "LANG": "C.UTF-8",
            "PALMETTE_DATA": str(self.data),
            "PYTHONPATH": str(ROOT),
        }

    def command(self, *arguments: str) -> list[str]:
        """The argv of a `palmette` command."""
        return [sys.executable, "-m", "palmette", *arguments]

    def run(self, *arguments: str, timeout: float = 120, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            self.command(*arguments),
            env=self.environment(),
            cwd=cwd or self.directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def json(self, *arguments: str, timeout: float = 120) -> Any:
        """What a command prints with --json; it has to succeed."""
        done = self.run(*arguments, "--json", timeout=timeout)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return json.loads(done.stdout)

    @contextmanager
    def started(self, argv: Sequence[str], **given: Any) -> Generator[subprocess.Popen[str]]:
        """A command that goes on while the test looks; killed at the end if it has not ended."""
        with subprocess.Popen(
            argv,
            env=self.environment(),
            cwd=self.directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            **given,
        ) as process:
            try:
                yield process
            finally:
                with suppress(ProcessLookupError):
                    process.kill()

    def supervisor(self) -> int | None:
        """The pid of the supervisor that runs, if one does."""
        status = self.json("up", "--status")
        return status["pid"] if status["running"] else None

    def survivors(self) -> set[int]:
        """Every living process that carries this directory's name."""
        return marked(str(self.directory))


@contextmanager
def installation() -> Generator[Installation]:
    """A fresh installation, under a short path (sockets have at most 108 bytes); ended and removed afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="pm-", dir="/tmp"))
    for name in ("home", "run"):
        (directory / name).mkdir(mode=0o700)
    place = Installation(directory)
    try:
        yield place
    finally:
        for pid in place.survivors():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        until(lambda: not place.survivors(), 20)
        shutil.rmtree(directory, ignore_errors=True)


def wait_for_line(process: subprocess.Popen[str], *words: str, seconds: float = 60) -> str:
    """Read a command's output until a line holds all these words; one that takes too long is killed."""
    assert process.stdout is not None
    seen: list[str] = []
    alarm = threading.Timer(seconds, process.kill)
    alarm.start()
    try:
        for line in process.stdout:
            seen.append(line)
            if all(word in line for word in words):
                return line
    finally:
        alarm.cancel()
        alarm.join()
    raise AssertionError(f"{words} did not come; it said: {''.join(seen)}")


def is_alive(pid: int) -> bool:
    """Whether a process lives."""
    return alive(pid)
