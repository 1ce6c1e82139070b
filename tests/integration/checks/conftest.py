"""Checks on commits of a real repository, run under real subreapers."""

import subprocess
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from palmette.checks.runner import IsolatedChecks
from palmette.coordination.values import Verdict
from palmette.sandbox.isolation.unsafe_none import UnsafeNone
from palmette.sandbox.workspace.workspaces import GitWorkspaces

Judge = Callable[[Mapping[str, Any]], Awaitable[Verdict]]

CHECK = """
kind = "command"
[spec]
command = ["sh", "-c", "grep -q return greet.py"]
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """One commit: a module, its test, and a named check."""
    root = tmp_path / "person"
    (root / ".palmette/checks").mkdir(parents=True)
    (root / "greet.py").write_text("def greet():\n    return 'hello'\n")
    (root / ".palmette/checks/returns.toml").write_text(CHECK)
    environment = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(root),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
    }
    identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    for command in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", "-C", str(root), *command], env=environment, check=True)
    return root


@pytest.fixture
def isolation(tmp_path: Path) -> UnsafeNone:
    """Subreapers with their lock files under the test's directory."""
    return UnsafeNone(tmp_path / "locks")


@pytest.fixture
def workspaces(tmp_path: Path, isolation: UnsafeNone) -> GitWorkspaces:
    """Work spaces under the test's directory."""
    return GitWorkspaces(tmp_path / "palmette", isolation.command)


@pytest.fixture
def clones(tmp_path: Path) -> Path:
    """Where checks make their clones."""
    return tmp_path / "clones"


@pytest.fixture
def checks(isolation: UnsafeNone, workspaces: GitWorkspaces, clones: Path) -> IsolatedChecks:
    """The runner."""
    return IsolatedChecks(isolation, workspaces, directory=clones)


@pytest.fixture
async def workspace(workspaces: GitWorkspaces, repository: Path) -> Path:
    """The work tree of node `t1/0.1`, at the repository's commit."""
    commit, _ = await workspaces.resolve(str(repository), None)
    return await workspaces.create("t1", "t1/0.1", str(repository), commit)


@pytest.fixture
def judge(checks: IsolatedChecks, workspaces: GitWorkspaces, repository: Path, workspace: Path) -> Judge:
    """Judge the node's work tree as it stands."""
    assert workspace.is_dir()

    async def run(check: Mapping[str, Any]) -> Verdict:
        taken = await workspaces.collect("t1", "t1/0.1")
        return await checks.run(check, tree="t1", repository=str(repository), commit=taken.commit, base=taken.base)

    return run
