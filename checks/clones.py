"""A fresh clone per run: a commit checked out where nothing else has been, and removed whatever it turned into."""

import os
import shutil
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

import anyio
import anyio.to_thread

from palmette.sandbox.errors import GitError
from palmette.sandbox.workspace.git import run_git
from palmette.sandbox.workspace.names import check_commit, check_label

__all__ = ["Clone", "clones", "file_of_commit", "remove"]

_CHECKOUT_S = 600.0


@dataclass(frozen=True, slots=True)
class Clone:
    """Where one run happens.

    Attributes:
        work: the checked-out commit.
        home: HOME of the run; `temporary` is its TMPDIR, `out` the place of its report.
    """

    name: str
    work: Path
    home: Path
    temporary: Path
    out: Path


@asynccontextmanager
async def clones(directory: Path | None, tree: str, source: Path, commit: str) -> AsyncGenerator[Clone]:
    """A clone of `commit` that borrows the objects of `source`, a bare repository that holds it; removed at the end.

    Its config is ours, so a checkout runs no filter and no hook of the tree.

    Args:
        directory: where to make it; None is the system's directory for temporary files.

    Raises:
        GitError: it could not be made.
        OSError: the disk refused.
    """
    name = f"{check_label(tree)}/check.{token_hex(6)}"
    place = await anyio.to_thread.run_sync(_new_directory, directory)
    clone = Clone(name, place / "work", place / "home", place / "tmp", place / "out")
    try:
        await anyio.to_thread.run_sync(_make_directories, clone)
        git_dir = clone.work / ".git"
        await run_git("init", "--quiet", "--template=", "--end-of-options", os.fspath(clone.work))
        await anyio.to_thread.run_sync(_borrow, source, git_dir)
        # Where the repository is: --git-dir alone would take the current directory for the work tree.
        at = ("--detach", "--quiet", check_commit(commit))
        await run_git("checkout", *at, directory=clone.work, git_dir=git_dir, timeout_s=_CHECKOUT_S)
        yield clone
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(remove, place)


async def file_of_commit(source: Path, commit: str, path: str, limit: int) -> bytes | None:
    """The bytes of a file of a commit, at most `limit` + 1; None if there is no such regular file.

    Raises:
        GitError: the commit is not there.
    """
    listed = await run_git("ls-tree", "-z", check_commit(commit), "--", path, git_dir=source)
    mode, _, rest = listed.stdout.partition(b" ")
    kind, _, rest = rest.partition(b" ")
    if kind != b"blob" or mode == b"120000":
        return None
    blob = rest.partition(b"\t")[0].decode("ascii")
    found = await run_git("cat-file", "blob", blob, git_dir=source, max_output=limit + 1, truncate=True)
    return found.stdout


def remove(place: Path) -> None:
    """Remove a directory, also where a test run took the permissions away. Links are not followed."""
    shutil.rmtree(place, ignore_errors=True)
    if not place.exists():
        return
    for folder, _, _ in os.walk(place):
        if not os.path.islink(folder):
            os.chmod(folder, 0o700)
    shutil.rmtree(place, ignore_errors=True)


def _new_directory(directory: Path | None) -> Path:
    if directory is not None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix="palmette-check-", dir=directory))


def _make_directories(clone: Clone) -> None:
    for path in (clone.work, clone.home, clone.temporary, clone.out):
        path.mkdir(mode=0o700, parents=True)


def _borrow(source: Path, git_dir: Path) -> None:
    objects = (source / "objects").resolve(strict=True)
    if b"\n" in os.fsencode(objects):
        raise GitError("git_failed", f"{objects} has a line break in its path")
    info = git_dir / "objects" / "info"
    info.mkdir(parents=True, exist_ok=True)
    info.joinpath("alternates").write_bytes(os.fsencode(objects) + b"\n")
    shallow = source / "shallow"
    if shallow.is_file():
        shutil.copyfile(shallow, git_dir / "shallow")
