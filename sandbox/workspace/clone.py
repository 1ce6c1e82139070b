"""A node's work space: a `clone --shared` of its base's store (W1)."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.to_thread

from palmette.sandbox.errors import GitError, WorkspaceError
from palmette.sandbox.workspace.git import run_git
from palmette.sandbox.workspace.names import check_node, mailbox
from palmette.sandbox.workspace.stores import Store

__all__ = ["Workspace", "create_workspace", "remove_workspace"]

_CLONE_SECONDS = 600.0


@dataclass(frozen=True)
class Workspace:
    """A node's clone.

    Attributes:
        path: its work tree. After creation the supervisor never runs git in it (W1): its config is the node's.
        store: the store it borrows objects from.
        node: whose it is; names the author of its commits and the `Palmette-Node:` trailer.
    """

    path: Path
    store: Store
    node: str

    @property
    def base(self) -> str:
        """The commit it began at."""
        return self.store.commit


async def create_workspace(store: Store, path: Path, node: str) -> Workspace:
    """Make a work space at `path`, on branch `work` at the store's commit, or return the one that is there.

    A clone is made beside its place and renamed into it: what is at `path` is whole.

    Raises:
        WorkspaceError: `bad_name`, `workspace_exists` (something else is there), `store_failed`.
    """
    workspace = Workspace(path, store, check_node(node))
    if _there_already(path):
        return workspace
    making = path.with_name(f".{path.name}.making")
    await anyio.to_thread.run_sync(lambda: shutil.rmtree(making, ignore_errors=True))
    try:
        await run_git(
            "clone",
            "--quiet",
            "--shared",
            "--no-tags",
            "--single-branch",
            "--template=",
            "--no-recurse-submodules",
            "--end-of-options",
            os.fspath(store.path),
            os.fspath(making),
            local=True,
            timeout_s=_CLONE_SECONDS,
        )
        git_dir = making / ".git"
        await run_git("remote", "remove", "origin", git_dir=git_dir)
        await run_git("update-ref", "refs/palmette/base", store.commit, git_dir=git_dir)
        for key, value in (
            ("user.name", f"palmette {node}"),
            ("user.email", mailbox(node)),
            ("commit.gpgSign", "false"),
            ("gc.auto", "0"),
            ("maintenance.auto", "false"),
        ):
            await run_git("config", "--local", key, value, git_dir=git_dir)
        making.rename(path)
    except GitError as error:
        raise WorkspaceError(
            "store_failed", f"no work space could be made for {node}: {error.message}", error.hint
        ) from error
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(lambda: shutil.rmtree(making, ignore_errors=True))
    return workspace


async def remove_workspace(workspace: Workspace, *, saved: str | None) -> None:
    """Remove a work space whose result is saved (W2).

    Args:
        workspace: what to remove; one that is gone already is fine.
        saved: the commit that was collected from it; None refuses.

    Raises:
        WorkspaceError: `workspace_unsaved`.
    """
    if saved is None:
        raise WorkspaceError("workspace_unsaved", f"what is in {workspace.path} was not saved", "collect it first")
    # rmtree does not follow symbolic links (it uses directory descriptors).
    await anyio.to_thread.run_sync(lambda: shutil.rmtree(workspace.path, ignore_errors=True))


def _there_already(path: Path) -> bool:
    if path.is_dir() and (path / ".git").is_dir():
        return True
    if path.exists() or path.is_symlink():
        raise WorkspaceError("workspace_exists", f"{path} is taken by something else")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return False
