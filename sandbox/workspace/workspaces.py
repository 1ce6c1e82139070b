"""The Workspaces port: git on behalf of the tree (W1, W2, W3, W8), over one directory.

`<directory>/stores`  a store per base · `results/<tree>`  what passed the quarantine ·
`nodes/<tree>/<node>/`  `work` the clone, `in` what children delivered, `out` what the collector wrote, and a note.
"""

import json
import os
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import anyio
import anyio.to_thread

from palmette.coordination.errors import Refused
from palmette.coordination.ports import Collected as CollectedValue
from palmette.sandbox.errors import RepositoryError, WorkspaceError
from palmette.sandbox.workspace.changes import diff
from palmette.sandbox.workspace.clone import Workspace, create_workspace, remove_workspace
from palmette.sandbox.workspace.delivery import deliver_bundle, publish
from palmette.sandbox.workspace.git import run_git
from palmette.sandbox.workspace.names import check_commit, check_label, directory_name
from palmette.sandbox.workspace.quarantine import Quarantine, QuarantineCaps
from palmette.sandbox.workspace.repository import Repository, open_repository
from palmette.sandbox.workspace.snapshot import Runner, Snapshot, SnapshotCaps, take_snapshot
from palmette.sandbox.workspace.stores import Store, Stores

__all__ = ["GitWorkspaces", "IsolatedCommand"]

IsolatedCommand = Callable[[str, Sequence[str], Path, float], Awaitable[bytes]]
"""(node, argv, directory, seconds) → standard output: runs a command where that node runs."""

_REFUSED_AS = frozenset({"not_a_repository", "repository_empty", "bad_base"})


@dataclass(frozen=True)
class _Note:
    """What `workspace.json` keeps: where a node began, and the last commit that was saved from it."""

    node: str
    base: str
    saved: str | None = None


class GitWorkspaces:
    """Fills `palmette.coordination.ports.Workspaces`.

    Args:
        directory: of the data directory; owned by one supervisor.
        run: how a command is run in a node's isolation; snapshots are taken that way and no other.
        snapshot_caps: bounds of a snapshot.
        quarantine_caps: bounds of a result.
    """

    def __init__(
        self,
        directory: Path,
        run: IsolatedCommand,
        *,
        snapshot_caps: SnapshotCaps | None = None,
        quarantine_caps: QuarantineCaps | None = None,
    ) -> None:
        self._directory = directory.absolute()
        self._run = run
        self._caps = snapshot_caps
        self._stores = Stores(self._directory / "stores")
        self._locks: defaultdict[Path, anyio.Lock] = defaultdict(anyio.Lock)
        self._results = Quarantine(self._directory / "results", quarantine_caps)

    async def sweep(self) -> None:
        """Remove what a crash left half made; once, at the supervisor's start."""
        await self._stores.sweep()
        await self._results.sweep()

    async def resolve(self, repository: str, ref: str | None) -> tuple[str, list[str]]:
        """Return (commit, uncommitted paths) for a ref of a person's repository; None is HEAD (W3).

        Raises:
            Refused: `not_a_repository`, `repository_empty`, `bad_base`.
        """
        try:
            opened = await self._open(repository)
            commit = await opened.resolve(ref)
        except RepositoryError as error:
            raise _refusal(error) from error
        return commit, list((await opened.uncommitted()).paths)

    async def create(self, tree: str, node: str, repository: str, base: str) -> Path:
        """Make a node's work space at `base`, a commit of the repository or an earlier result of the tree. Idempotent.

        Raises:
            Refused: `not_a_repository`, `bad_base`.
            WorkspaceError: it could not be made, or exists at another base.
        """
        place = self._place(tree, node)
        async with self._locks[place]:
            return await self._create(tree, node, repository, base, place)

    async def _create(self, tree: str, node: str, repository: str, base: str, place: Path) -> Path:
        note = await anyio.to_thread.run_sync(_read_note, place)
        if note is not None and note.base != base:
            raise WorkspaceError("workspace_exists", f"{node} has a work space at {note.base[:12]} already")
        store = await self._store(tree, repository, base)
        workspace = await create_workspace(store, place / "work", node)
        if note is None:
            await anyio.to_thread.run_sync(_write_note, place, _Note(node, base))
        return workspace.path

    async def collect(self, tree: str, node: str) -> CollectedValue:
        """Snapshot the work tree as it stands (C2), in the node's isolation, and take it through the quarantine.

        A work tree that was not changed since gives the commit it gave before, so that a verdict on it holds (C4).

        Raises:
            WorkspaceError: there is no work space, or no snapshot could be made.
            QuarantineError: the result was refused; the work space and its bundle are kept (W2).
        """
        return (await self.collect_snapshot(tree, node))[0]

    async def collect_snapshot(self, tree: str, node: str) -> tuple[CollectedValue, Snapshot]:
        """As `collect`, and what the snapshot left out with it."""
        place = self._place(tree, node)
        async with self._locks[place]:
            return await self._collect(tree, node, place)

    async def _collect(self, tree: str, node: str, place: Path) -> tuple[CollectedValue, Snapshot]:
        note = await anyio.to_thread.run_sync(_read_note, place)
        store = self._stores.find(note.base) if note else None
        if note is None or store is None:
            raise WorkspaceError("snapshot_failed", f"{node} has no work space")
        out = place / "out"
        await anyio.Path(out).mkdir(mode=0o700, exist_ok=True)
        taken = await take_snapshot(
            self._runner(node, place),
            work=place / "work",
            base=note.base,
            node=node,
            out=out / "result.bundle",
            caps=self._caps,
        )
        if taken.bundle is not None and note.saved is not None and await self._same(tree, note.saved, taken):
            taken = replace(taken, commit=note.saved)
        collected = await self._results.collect(tree, taken.bundle, taken.commit, store)
        await anyio.to_thread.run_sync(_write_note, place, _Note(node, note.base, collected.commit))
        value = CollectedValue(
            commit=collected.commit,
            base=collected.base,
            files=collected.files_changed,
            insertions=collected.insertions,
            deletions=collected.deletions,
        )
        return value, taken

    async def _same(self, tree: str, saved: str, taken: Snapshot) -> bool:
        """Whether a commit that is saved holds the same tree on the same parent as a new snapshot."""
        holder = self._results.find(tree, saved)
        if holder is None:
            return False
        known = await run_git("rev-parse", f"{saved}^{{tree}}", f"{saved}^", git_dir=holder)
        return known.text.split() == [taken.tree, taken.head]

    async def working_tree(self, tree: str, node: str, repository: str) -> str:
        """Commit a person's work tree as it stands, outside his repository, and return the commit (W3, `working-tree`).

        Nothing is written in the repository: the result is one of the tree's results, and can be a base.

        Raises:
            Refused: `not_a_repository`, `repository_empty`.
            WorkspaceError, QuarantineError: as `collect`.
        """
        try:
            opened = await self._open(repository)
        except RepositoryError as error:
            raise _refusal(error) from error
        if opened.bare:
            return opened.head
        store = await self._stores.ensure(opened.git_dir, opened.head)
        place = self._place(tree, node) / "working-tree"
        await anyio.Path(place).mkdir(mode=0o700, parents=True, exist_ok=True)
        taken = await take_snapshot(
            self._runner(node, place),
            work=opened.root,
            base=opened.head,
            node=node,
            out=place / "result.bundle",
            caps=self._caps,
        )
        return (await self._results.collect(tree, taken.bundle, taken.commit, store)).commit

    async def deliver(self, tree: str, child: str, commit: str, parent: str, label: str) -> None:
        """Lay a settled child's commit as `in/<label>.bundle` beside its parent's work space (W8).

        A parent without one (an attached root) gets none. The bundle starts at the parent's base where the child
        descends from it, so that it can always be merged there.
        """
        place = self._place(tree, parent)
        note = await anyio.to_thread.run_sync(_read_note, place)
        if note is None:
            return
        await deliver_bundle(self._holder(tree, commit), commit, place / "in", check_label(label), have=note.base)

    async def diff(self, tree: str, base: str, commit: str, *, limit: int = 20_000) -> str:
        """Return the change between two commits as text, cut at `limit` bytes."""
        return await diff(self._holder(tree, commit), base, commit, limit=limit)

    async def publish(self, tree: str, repository: str, commit: str, ref: str) -> None:
        """Make the root's result a ref under refs/palmette/ in the repository (W8). Idempotent.

        Raises:
            Refused: `not_a_repository`.
            PublishError: `bad_refname`, `ref_taken`.
        """
        try:
            opened = await self._open(repository)
        except RepositoryError as error:
            raise _refusal(error) from error
        await publish(opened, self._holder(tree, commit), commit, ref)

    async def discard(self, tree: str, node: str) -> None:
        """Free a work space whose result is saved (W2). Idempotent.

        Raises:
            WorkspaceError: `workspace_unsaved`.
        """
        place = self._place(tree, node)
        note = await anyio.to_thread.run_sync(_read_note, place)
        if note is None:
            return
        store = Store(self._directory / "stores" / f"{note.base}.git", note.base)
        await remove_workspace(Workspace(place / "work", store, node), saved=note.saved)

    def checkout_source(self, tree: str, commit: str) -> Path:
        """Return the bare repository that holds a commit of the tree: for a check's own fresh clone."""
        return self._holder(tree, commit)

    async def _open(self, repository: str) -> Repository:
        return await open_repository(Path(repository))

    async def _store(self, tree: str, repository: str, base: str) -> Store:
        source = self._results.find(tree, base)
        if source is None:
            try:
                opened = await self._open(repository)
                if self._stores.find(base) is None:
                    await opened.resolve(check_commit(base))
            except RepositoryError as error:
                raise _refusal(error) from error
            source = opened.git_dir
        return await self._stores.ensure(source, base)

    def _holder(self, tree: str, commit: str) -> Path:
        found = self._results.find(tree, commit)
        if found is not None:
            return found
        store = self._stores.find(commit)
        if store is None:
            raise WorkspaceError("snapshot_failed", f"{commit[:12]} is no result of tree {tree}")
        return store.path

    def _place(self, tree: str, node: str) -> Path:
        return self._directory / "nodes" / check_label(tree) / directory_name(node)

    def _runner(self, node: str, directory: Path) -> Runner:
        async def run(argv: Sequence[str], seconds: float) -> bytes:
            return await self._run(node, argv, directory, seconds)

        return run


def _refusal(error: RepositoryError) -> Refused:
    code = error.code if error.code in _REFUSED_AS else "not_a_repository"
    return Refused(code, error.message, error.hint or None)


def _read_note(place: Path) -> _Note | None:
    try:
        raw = cast("Mapping[str, object]", json.loads((place / "workspace.json").read_text("utf-8")))
    except FileNotFoundError:
        return None
    saved = raw["saved"]
    return _Note(str(raw["node"]), str(raw["base"]), None if saved is None else str(saved))


def _write_note(place: Path, note: _Note) -> None:
    making = place / ".workspace.json"
    with making.open("w", encoding="utf-8") as file:
        json.dump({"node": note.node, "base": note.base, "saved": note.saved}, file)
        file.flush()
        os.fsync(file.fileno())
    making.replace(place / "workspace.json")
