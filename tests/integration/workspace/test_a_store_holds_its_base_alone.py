"""W1: what a node can read of the person's repository."""

import os
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from palmette.sandbox.errors import WorkspaceError
from palmette.sandbox.workspace.stores import Stores
from palmette.sandbox.workspace.workspaces import GitWorkspaces
from tests.support.bounded import bounded

pytestmark = pytest.mark.anyio

Git = Callable[..., str]


@pytest.mark.rule("W1")
@bounded(60)
async def test_no_object_beyond_the_base_can_be_read_from_a_work_space(
    workspaces: GitWorkspaces, repository: Path, head: str, git: Git
) -> None:
    unreachable = git(repository, "hash-object", "-w", "--stdin", stdin="SECRETBLOB")
    git(repository, "checkout", "--quiet", "-b", "private")
    (repository / "key.txt").write_text("PRIVATE KEY\n")
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "-m", "private")
    private = git(repository, "rev-parse", "HEAD")
    git(repository, "tag", "secret-tag")
    git(repository, "checkout", "--quiet", "main")

    work = await workspaces.create("t1", "t1/0", str(repository), head)

    readable = git(work, "cat-file", "--batch-all-objects", "--batch-check=%(objectname)").split()
    reached = git(repository, "rev-list", "--objects", "--no-object-names", head).split()
    assert sorted(readable) == sorted(reached)
    assert not {unreachable, private, git(repository, "rev-parse", "private:key.txt")} & set(readable)
    assert git(work, "remote") == ""
    assert git(work, "for-each-ref", "--format=%(refname)").split() == ["refs/heads/work", "refs/palmette/base"]
    assert str(repository) not in (work / ".git/config").read_text()
    assert str(repository) not in (work / ".git/objects/info/alternates").read_text()


@pytest.mark.rule("W1")
@bounded(60)
async def test_a_base_survives_what_the_person_does_to_his_repository(
    workspaces: GitWorkspaces, repository: Path, head: str, git: Git
) -> None:
    work = await workspaces.create("t1", "t1/0", str(repository), head)
    git(repository, "checkout", "--quiet", "--orphan", "fresh")
    git(repository, "commit", "--quiet", "-m", "all new")
    git(repository, "branch", "-D", "main")
    git(repository, "reflog", "expire", "--expire=now", "--all")
    git(repository, "gc", "--quiet", "--prune=now")
    assert git(work, "log", "--format=%s").split() == ["second", "first"]
    (work / "new.txt").write_text("new\n")
    assert (await workspaces.collect("t1", "t1/0")).files == 1


@bounded(60)
async def test_a_store_is_made_once_and_half_a_store_never_used(
    repository: Path, head: str, git: Git, tmp_path: Path
) -> None:
    stores = Stores(tmp_path / "stores")
    made: list[Path] = []

    async def one(source: Stores) -> None:
        made.append((await source.ensure(repository / ".git", head)).path)

    other = Stores(tmp_path / "stores")  # as another process would: no lock in common
    async with anyio.create_task_group() as tasks:
        for source in (stores, stores, other, other):
            tasks.start_soon(one, source)
    (path,) = set(made)
    inode = path.stat().st_ino
    assert (await stores.ensure(repository / ".git", head)).path.stat().st_ino == inode
    assert sorted(entry.name for entry in (tmp_path / "stores").iterdir()) == [path.name]

    (path / "refs/heads/work").unlink()
    (tmp_path / "stores/.making-1-abc").mkdir()
    await stores.sweep()
    again = await stores.ensure(repository / ".git", head)
    assert git(again.path, "rev-parse", "HEAD") == head
    assert again.path.stat().st_ino != inode
    kept = [entry.name for entry in (tmp_path / "stores").iterdir() if entry.name.startswith(".")]
    assert [name.startswith(".unsound-") for name in kept] == [True], "living clones may still read from it"


@bounded(60)
async def test_a_source_without_the_commit_gives_no_store_and_leaves_nothing(repository: Path, tmp_path: Path) -> None:
    stores = Stores(tmp_path / "stores")
    with pytest.raises(WorkspaceError) as caught:
        await stores.ensure(repository / ".git", "0123456789" * 4)
    assert caught.value.code == "store_failed"
    assert os.listdir(tmp_path / "stores") == []


@bounded(60)
async def test_no_hook_or_program_named_in_the_persons_config_is_run(
    workspaces: GitWorkspaces, repository: Path, head: str, git: Git, tmp_path: Path
) -> None:
    trap, sprung = tmp_path / "trap", tmp_path / "sprung"
    trap.write_text(f"#!/bin/sh\ntouch {sprung}\n")
    trap.chmod(0o755)
    for hook in ("post-checkout", "pre-commit", "reference-transaction", "post-index-change"):
        (repository / ".git/hooks" / hook).symlink_to(trap)
    git(repository, "config", "core.fsmonitor", str(trap))
    git(repository, "config", "uploadpack.packObjectsHook", str(trap))
    git(repository, "config", "core.alternateRefsCommand", str(trap))
    await workspaces.resolve(str(repository), None)
    work = await workspaces.create("t1", "t1/0", str(repository), head)
    (work / "new.txt").write_text("new\n")
    collected = await workspaces.collect("t1", "t1/0")
    await workspaces.working_tree("t1", "t1/1", str(repository))
    await workspaces.publish("t1", str(repository), collected.commit, "refs/palmette/t1/r")
    assert not sprung.exists()
    git(repository, "-c", "core.fsmonitor=", "commit", "--quiet", "--allow-empty", "-m", "the trap works")
    assert sprung.exists()
