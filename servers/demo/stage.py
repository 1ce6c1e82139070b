"""What the demo is played on: a small git repository with a failing test, and the script of the model."""

import os
import shlex
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

__all__ = ["TASK", "TESTS", "build_repository", "write_script"]

TASK = "Make the tests of this repository pass, and describe its functions in the README."

TESTS = {"id": "tests", "kind": "tests", "spec": {"command": [sys.executable, "-m", "unittest", "-q"]}}
"""The deliverable check of the fixes and of the root."""

_IDENTITY = ("-c", "user.name=Palmette demo", "-c", "user.email=demo@localhost", "-c", "init.defaultBranch=main")


def build_repository(path: Path) -> None:
    """Make the repository, with one commit; one that is there is taken as it is.

    Raises:
        OSError, CalledProcessError: git or the disk refused.
    """
    if (path / ".git").is_dir():
        return
    path.mkdir(parents=True)
    for entry in (files("palmette.servers.demo") / "repository").iterdir():
        (path / entry.name.removesuffix(".txt")).write_text(entry.read_text(encoding="utf-8"), encoding="utf-8")
    _git(path, "init", "--quiet")
    _git(path, "add", "--all")
    _git(path, "commit", "--quiet", "--message", "Invoices, with a test that fails")


def write_script(path: Path) -> None:
    """Lay the model's script out, with this very Python in its commands."""
    script = (files("palmette.servers.demo") / "script.yaml").read_text(encoding="utf-8")
    path.write_text(script.replace("python3", shlex.quote(sys.executable)), encoding="utf-8")


def _git(path: Path, *arguments: str) -> None:
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": os.fspath(path),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
    }
    subprocess.run(["git", *_IDENTITY, *arguments], cwd=path, env=environment, check=True, stdin=subprocess.DEVNULL)
