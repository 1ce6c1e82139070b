"""W1: per base one bare store that holds only what that commit reaches.

A `clone --shared` of the person's repository could read every object of it, an unreachable secret and other people's
branches included (measured); a clone of a store can read the base alone.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

import anyio
import anyio.to_thread

from palmette.sandbox.errors import GitError, WorkspaceError
from palmette.sandbox.workspace.git import run_git
from palmette.sandbox.workspace.names import check_commit

__all__ = ["BASE_REF", "Store", "Stores"]

BASE_REF = "refs/heads/work"
"""The only ref of a store: a clone's branch is named after it."""

_FETCH_SECONDS = 600.0


@dataclass(frozen=True)
class Store:
    """A bare repository at `path` whose objects are exactly those that `commit` reaches."""

    path: Path
    commit: str


class Stores:
    """All stores of one data directory, under `directory`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory.absolute()
        self._locks: dict[str, anyio.Lock] = {}

    def find(self, commit: str) -> Store | None:
        """Return the store of `commit` if it was made before."""
        path = self._directory / f"{check_commit(commit)}.git"
        return Store(path, commit) if path.is_dir() else None

    async def ensure(self, source: Path, commit: str) -> Store:
        """Return the store of `commit`, made from the repository `source` if there is none that is sound.

        Made beside its place and renamed into it, so a crash leaves a store or none; who loses a race uses the
        winner's.

        Raises:
            WorkspaceError: `store_failed`.
        """
        store = Store(self._directory / f"{check_commit(commit)}.git", commit)
        async with self._locks.setdefault(commit, anyio.Lock()):
            if await self._sound(store):
                return store
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if store.path.exists():  # living clones may still read from it, so it is moved, not removed
                store.path.rename(self._directory / f".unsound-{commit}-{token_hex(6)}")
            making = self._directory / f".making-{os.getpid()}-{token_hex(6)}"
            try:
                await self._make(making, source, commit)
                try:
                    making.rename(store.path)
                except OSError:
                    if not await self._sound(store):
                        raise
                await anyio.to_thread.run_sync(_sync_directory, self._directory)
            except (GitError, OSError) as error:
                raise WorkspaceError(
                    "store_failed",
                    f"no store could be made of {commit[:12]} from {source}: {error}",
                    "if it is a partial clone: git fetch --refetch --no-filter",
                ) from error
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(lambda: shutil.rmtree(making, ignore_errors=True))
            return store

    async def sweep(self) -> None:
        """Remove what a crash left half made. Only for the one process that owns the data directory, at its start."""
        for path in self._directory.glob(".making-*"):
            await anyio.to_thread.run_sync(lambda path=path: shutil.rmtree(path, ignore_errors=True))

    async def _sound(self, store: Store) -> bool:
        if not store.path.is_dir() or (store.path / "objects/info/alternates").exists():
            return False
        try:
            refs = await run_git("for-each-ref", "--format=%(objectname) %(refname)", git_dir=store.path)
            await run_git("cat-file", "-e", f"{store.commit}^{{tree}}", git_dir=store.path)
        except GitError:
            return False
        return refs.text == f"{store.commit} {BASE_REF}"

    async def _make(self, making: Path, source: Path, commit: str) -> None:
        await run_git("init", "--quiet", "--bare", "--template=", "--end-of-options", os.fspath(making))
        # upload-pack sends what the commit reaches and nothing else; a shallow source gives a shallow store.
        await run_git(
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-write-fetch-head",
            "--update-shallow",
            "--end-of-options",
            os.fspath(source),
            f"{commit}:{BASE_REF}",
            git_dir=making,
            local=True,
            config=("transfer.unpackLimit=1", "protocol.version=2"),
            timeout_s=_FETCH_SECONDS,
        )
        await run_git("symbolic-ref", "HEAD", BASE_REF, git_dir=making)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
