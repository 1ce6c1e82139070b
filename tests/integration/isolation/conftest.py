"""Programs that try to outlive their supervisor, and a view of who is left."""

import os
import signal
import sys
from collections.abc import Generator
from pathlib import Path
from secrets import token_hex

import pytest

from tests.support.survivors import marked

DAEMONS = """
import os, signal, subprocess, sys, time
def daemon(seconds):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                signal.signal(number, signal.SIG_IGN)
            time.sleep(seconds)
        os._exit(0)
    os.wait()
for _ in range(3):
    daemon(300)
subprocess.Popen([sys.executable, "-I", "-S", "-c", "import time; time.sleep(300)", sys.argv[1]], env={},
                 start_new_session=True)
print("ready", flush=True)
"""
"""Starts three double-forked daemons deaf to SIGTERM and one child with an empty environment, then says `ready`."""


@pytest.fixture
def attempt() -> Generator[str]:
    """An id that no other test uses; a failing test leaves no process either."""
    name = f"t{token_hex(5)}/0#1"
    yield name
    for pid in marked(name):
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The whole environment of a command."""
    return {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}


@pytest.fixture
def locks(tmp_path: Path) -> Path:
    """Where the reapers' lock files are."""
    path = tmp_path / "locks"
    path.mkdir()
    return path


@pytest.fixture
def daemons(attempt: str) -> list[str]:
    """The command that starts daemons and then waits for ever; the id is in every command line."""
    return [sys.executable, "-I", "-S", "-c", DAEMONS + "\ntime.sleep(300)\n", attempt]
