"""The person's repository: read, never written but for a ref under `refs/palmette/`."""

from dataclasses import dataclass
from pathlib import Path

import anyio

from palmette.sandbox.errors import GitError, RepositoryError
from palmette.sandbox.workspace.git import run_git
from palmette.sandbox.workspace.names import check_base

__all__ = ["Repository", "Uncommitted", "open_repository"]

_STATUS_CAP = 4 * 1024 * 1024
_PATHS_NAMED = 200


@dataclass(frozen=True)
class Uncommitted:
    """Changes that a child of a commit cannot see (W3).

    Attributes:
        paths: the first 200, as git names them; bytes that are not UTF-8 are escaped.
        total: how many there are (at least, if the listing was cut).
    """

    paths: tuple[str, ...] = ()
    total: int = 0


@dataclass(frozen=True)
class Repository:
    """A repository with at least one commit.

    Attributes:
        root: the top of its work tree, or the bare repository itself.
        git_dir: where refs and objects are.
        head: the commit checked out.
        bare: it has no work tree.
    """

    root: Path
    git_dir: Path
    head: str
    bare: bool

    async def resolve(self, base: str | None = None) -> str:
        """Return the full id of the commit that `base` names (a branch, a tag, a commit); HEAD when None.

        Raises:
            RepositoryError: `bad_base`.
        """
        if base is None:
            return self.head
        result = await run_git(
            "rev-parse",
            "--verify",
            "--quiet",
            "--end-of-options",
            f"{check_base(base)}^{{commit}}",
            git_dir=self.git_dir,
            accept=(0, 1, 128),
        )
        if result.code != 0:
            raise RepositoryError(
                "bad_base", f"{base[:80]!r} is no commit of {self.root}", "`git branch -a` lists what there is"
            )
        return result.text

    async def uncommitted(self) -> Uncommitted:
        """Name what is changed or untracked (ignored files are not) in the work tree (W3)."""
        if self.bare:
            return Uncommitted()
        listing = await run_git(
            "status",
            "--porcelain=v1",
            "-z",
            "--untracked-files=normal",
            "--no-renames",
            "--ignore-submodules=all",
            directory=self.root,
            max_output=_STATUS_CAP,
            truncate=True,
        )
        entries = [entry[3:].decode("utf-8", "backslashreplace") for entry in listing.stdout.split(b"\0") if entry]
        return Uncommitted(tuple(entries[:_PATHS_NAMED]), len(entries))


async def open_repository(path: Path) -> Repository:
    """Open the repository at or above `path`.

    Raises:
        RepositoryError: `not_a_repository`, `repository_empty`, or `repository_foreign` (it belongs to another user:
            its config could run commands as us).
    """
    if not await anyio.Path(path).is_dir():
        raise RepositoryError("not_a_repository", f"{path} is not a directory", "give the path of a git repository")
    try:
        found = await run_git("rev-parse", "--is-bare-repository", "--absolute-git-dir", directory=path)
        bare_word, git_dir = found.stdout.decode("utf-8", "surrogateescape").rstrip("\n").split("\n", 1)
        bare = bare_word == "true"
        root = Path(git_dir)
        if not bare:
            top = await run_git("rev-parse", "--show-toplevel", directory=path)
            root = Path(top.stdout.decode("utf-8", "surrogateescape").rstrip("\n"))
    except GitError as error:
        if error.code == "git_failed" and "dubious ownership" in error.message:
            raise RepositoryError(
                "repository_foreign", f"{path} belongs to another user", "run Palmette as its owner, or clone it"
            ) from error
        if error.code == "git_failed":
            raise RepositoryError(
                "not_a_repository", f"{path} is not in a git repository", "`git init` there and commit"
            ) from error
        raise
    head = await run_git(
        "rev-parse", "--verify", "--quiet", "--end-of-options", "HEAD^{commit}", directory=root, accept=(0, 1, 128)
    )
    if head.code != 0:
        raise RepositoryError("repository_empty", f"{root} has no commit yet", "commit something first")
    return Repository(root=root, git_dir=Path(git_dir), head=head.text, bare=bare)
