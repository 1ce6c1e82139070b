"""A person's repository, and work spaces over it whose commands run under real subreapers."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from palmette.sandbox.isolation.unsafe_none import UnsafeNone
from palmette.sandbox.workspace.workspaces import GitWorkspaces

Git = Callable[..., str]


@pytest.fixture
def git() -> Git:
    """Run git as a person would, in a directory; return what it printed."""

    def call(directory: Path, *arguments: str, stdin: str = "") -> str:
        command = ["git", "-C", str(directory), "-c", "user.name=Ada", "-c", "user.email=ada@example.org", *arguments]
        environment = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": str(directory),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
        }
        done = subprocess.run(command, env=environment, input=stdin, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"git {arguments}: {done.stderr}"
        return done.stdout.strip()

    return call


@pytest.fixture
def repository(tmp_path: Path, git: Git) -> Path:
    """Two commits on `main`: `greet.py`, `data/table.csv`, an ignore file, a link inside the tree."""
    root = tmp_path / "person"
    root.mkdir()
    git(root, "init", "--quiet", "--initial-branch=main")
    (root / "greet.py").write_text("def greet():\n    return 'hello'\n")
    (root / ".gitignore").write_text("*.log\nbuild/\n")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "-m", "first")
    (root / "data").mkdir()
    (root / "data/table.csv").write_text("a,b\n1,2\n")
    (root / "latest").symlink_to("data/table.csv")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "-m", "second")
    return root


@pytest.fixture
def head(repository: Path, git: Git) -> str:
    """The repository's HEAD."""
    return git(repository, "rev-parse", "HEAD")


@pytest.fixture
def isolation(tmp_path: Path) -> UnsafeNone:
    """Subreapers with their lock files under the test's directory."""
    return UnsafeNone(tmp_path / "locks")


@pytest.fixture
def workspaces(tmp_path: Path, isolation: UnsafeNone) -> GitWorkspaces:
    """Work spaces whose snapshots run under `isolation`."""
    return GitWorkspaces(tmp_path / "palmette", isolation.command)
