"""The whole way: base, store, clone, work, snapshot, quarantine, bundle for the parent, ref for the person."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from palmette.coordination.errors import Refused
from palmette.sandbox.errors import PublishError, WorkspaceError
from palmette.sandbox.workspace.workspaces import GitWorkspaces
from tests.support.bounded import bounded

pytestmark = pytest.mark.anyio

Git = Callable[..., str]


@pytest.mark.rule("W8")
@bounded(120)
async def test_a_change_becomes_a_ref_of_the_person_and_nothing_else_of_his_is_touched(
    workspaces: GitWorkspaces, repository: Path, head: str, git: Git
) -> None:
    refs, index = git(repository, "for-each-ref"), (repository / ".git/index").read_bytes()
    work = await workspaces.create("t1", "t1/0", str(repository), head)
    (work / "greet.py").write_text("def greet():\n    return 'bonjour'\n")
    (work / "new.txt").write_text("new\n")
    (work / "noise.log").write_text("ignored\n")
    collected = await workspaces.collect("t1", "t1/0")
    assert (collected.base, collected.files, collected.insertions, collected.deletions) == (head, 2, 2, 1)

    await workspaces.publish("t1", str(repository), collected.commit, "refs/palmette/t1/result")
    await workspaces.publish("t1", str(repository), collected.commit, "refs/palmette/t1/result")

    assert git(repository, "for-each-ref") == f"{refs}\n{collected.commit} commit\trefs/palmette/t1/result"
    assert (repository / ".git/index").read_bytes() == index
    assert git(repository, "status", "--porcelain") == ""
    assert git(repository, "ls-tree", "-r", "--name-only", collected.commit).split() == [
        ".gitignore", "data/table.csv", "greet.py", "latest", "new.txt",
    ]  # fmt: skip
    assert git(repository, "log", "-1", "--format=%an|%(trailers:key=Palmette-Node,valueonly)", collected.commit) == (
        "palmette t1/0|t1/0"
    )
    assert not (repository / ".git/FETCH_HEAD").exists()


@pytest.mark.rule("W8")
@pytest.mark.parametrize(
    "ref", ["refs/heads/main", "refs/palmette/t1/../../heads/main", "main", "refs/palmette/t1", "--upload-pack=x"]
)
@bounded(120)
async def test_no_other_ref_can_be_made(workspaces: GitWorkspaces, repository: Path, head: str, ref: str) -> None:
    await workspaces.create("t1", "t1/0", str(repository), head)
    with pytest.raises(PublishError) as caught:
        await workspaces.publish("t1", str(repository), head, ref)
    assert caught.value.code == "bad_refname"


@pytest.mark.rule("W8")
@bounded(120)
async def test_a_published_result_is_never_replaced_by_another(
    workspaces: GitWorkspaces, repository: Path, head: str, git: Git
) -> None:
    work = await workspaces.create("t1", "t1/0", str(repository), head)
    (work / "new.txt").write_text("new\n")
    collected = await workspaces.collect("t1", "t1/0")
    await workspaces.publish("t1", str(repository), head, "refs/palmette/t1/result")
    with pytest.raises(PublishError) as caught:
        await workspaces.publish("t1", str(repository), collected.commit, "refs/palmette/t1/result")
    assert caught.value.code == "ref_taken"
    assert git(repository, "rev-parse", "refs/palmette/t1/result") == head


@pytest.mark.rule("W8")
@bounded(120)
async def test_a_parent_merges_what_its_child_delivered_with_git_alone(
    workspaces: GitWorkspaces, repository: Path, head: str, git: Git
) -> None:
    parent = await workspaces.create("t1", "t1/0", str(repository), head)
    child = await workspaces.create("t1", "t1/0.1", str(repository), head)
    (child / "greet.py").write_text("def greet():\n    return 'bonjour'\n")
    collected = await workspaces.collect("t1", "t1/0.1")
    await workspaces.deliver("t1", "t1/0.1", collected.commit, "t1/0", "fix")
    bundle = parent.parent / "in/fix.bundle"
    git(parent, "pull", "--quiet", "--ff-only", str(bundle))
    assert "bonjour" in (parent / "greet.py").read_text()
    assert [path.name for path in bundle.parent.iterdir()] == ["fix.bundle"]

    merged = await workspaces.collect("t1", "t1/0")
    again = await workspaces.create("t1", "t1/0.2", str(repository), merged.commit)
    assert "bonjour" in (again / "greet.py").read_text(), "a result is a base, with a store of its own"
    assert not (again / ".git/objects/info/alternates").read_text().startswith(str(parent))


@pytest.mark.rule("C2")
@bounded(120)
async def test_the_work_tree_is_taken_as_it_stands_and_the_nodes_own_commits_stay(
    workspaces: GitWorkspaces, repository: Path, head: str, git: Git
) -> None:
    work = await workspaces.create("t1", "t1/0", str(repository), head)
    (work / "one.txt").write_text("one\n")
    git(work, "add", "one.txt")
    git(work, "commit", "--quiet", "-m", "mine")
    own = git(work, "rev-parse", "HEAD")
    (work / "two.txt").write_text("two\n")
    (work / "data/table.csv").unlink()
    git(work, "update-index", "--assume-unchanged", "greet.py")
    (work / "greet.py").write_text("hidden from the node's own git status\n")
    before = git(work, "status", "--porcelain"), (work / ".git/index").read_bytes()

    collected = await workspaces.collect("t1", "t1/0")

    await workspaces.publish("t1", str(repository), collected.commit, "refs/palmette/t1/r")
    assert git(repository, "rev-parse", f"{collected.commit}^") == own
    assert git(repository, "show", f"{collected.commit}:greet.py").startswith("hidden")
    names = git(repository, "ls-tree", "-r", "--name-only", collected.commit).split()
    assert {"one.txt", "two.txt"} <= set(names)
    assert "data/table.csv" not in names
    assert (git(work, "status", "--porcelain"), (work / ".git/index").read_bytes()) == before
    assert git(work, "rev-parse", "HEAD") == own


@bounded(120)
async def test_a_node_that_changed_nothing_yields_its_base(
    workspaces: GitWorkspaces, repository: Path, head: str
) -> None:
    await workspaces.create("t1", "t1/0", str(repository), head)
    collected = await workspaces.collect("t1", "t1/0")
    assert (collected.commit, collected.files) == (head, 0)
    assert await workspaces.diff("t1", head, head) == ""


@bounded(120)
async def test_a_work_tree_that_stands_still_gives_one_commit_however_often_it_is_taken(
    workspaces: GitWorkspaces, repository: Path, head: str
) -> None:
    work = await workspaces.create("t1", "t1/0", str(repository), head)
    (work / "new.txt").write_text("new\n")
    first = await workspaces.collect("t1", "t1/0")
    os.utime(work / "new.txt", (1, 1))
    found: list[str] = []

    async def once() -> None:
        found.append((await workspaces.collect("t1", "t1/0")).commit)

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(once)
    assert found == [first.commit] * 3
    (work / "new.txt").write_text("newer\n")
    assert (await workspaces.collect("t1", "t1/0")).commit != first.commit


@bounded(120)
async def test_a_node_that_left_its_history_loses_no_work(
    workspaces: GitWorkspaces, repository: Path, head: str, git: Git
) -> None:
    work = await workspaces.create("t1", "t1/0", str(repository), head)
    git(work, "checkout", "--quiet", "--orphan", "fresh")
    (work / "new.txt").write_text("new\n")
    git(work, "add", "--all")
    git(work, "commit", "--quiet", "-m", "unrelated")
    collected = await workspaces.collect("t1", "t1/0")
    assert collected.files == 1
    assert "+new" in await workspaces.diff("t1", head, collected.commit)


@pytest.mark.rule("W3")
@bounded(120)
async def test_uncommitted_changes_are_named_and_taken_only_when_asked_for(
    workspaces: GitWorkspaces, repository: Path, head: str, git: Git
) -> None:
    (repository / "greet.py").write_text("changed\n")
    (repository / "draft.txt").write_text("draft\n")
    (repository / "noise.log").write_text("ignored\n")
    state = git(repository, "status", "--porcelain"), git(repository, "count-objects")

    commit, uncommitted = await workspaces.resolve(str(repository), None)
    assert (commit, sorted(uncommitted)) == (head, ["draft.txt", "greet.py"])
    plain = await workspaces.create("t1", "t1/0.1", str(repository), commit)
    assert not (plain / "draft.txt").exists()

    taken = await workspaces.working_tree("t1", "t1/0", str(repository))
    work = await workspaces.create("t1", "t1/0.2", str(repository), taken)
    assert (work / "draft.txt").read_text() == "draft\n"
    assert (work / "greet.py").read_text() == "changed\n"
    assert not (work / "noise.log").exists()
    assert (git(repository, "status", "--porcelain"), git(repository, "count-objects")) == state


@pytest.mark.rule("W2")
@bounded(120)
async def test_a_work_space_is_freed_only_after_it_was_saved(
    workspaces: GitWorkspaces, repository: Path, head: str
) -> None:
    work = await workspaces.create("t1", "t1/0", str(repository), head)
    (work / "new.txt").write_text("new\n")
    with pytest.raises(WorkspaceError) as caught:
        await workspaces.discard("t1", "t1/0")
    assert caught.value.code == "workspace_unsaved"
    assert (work / "new.txt").exists()
    collected = await workspaces.collect("t1", "t1/0")
    await workspaces.discard("t1", "t1/0")
    await workspaces.discard("t1", "t1/0")
    assert not work.exists()
    await workspaces.publish("t1", str(repository), collected.commit, "refs/palmette/t1/saved")


@bounded(120)
async def test_a_shallow_clone_of_the_person_can_be_worked_on(
    workspaces: GitWorkspaces, repository: Path, head: str, git: Git, tmp_path: Path
) -> None:
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{repository}", str(shallow))
    work = await workspaces.create("t1", "t1/0", str(shallow), head)
    (work / "new.txt").write_text("new\n")
    collected = await workspaces.collect("t1", "t1/0")
    await workspaces.publish("t1", str(shallow), collected.commit, "refs/palmette/t1/r")
    assert git(shallow, "rev-parse", f"{collected.commit}^") == head
    assert git(shallow, "rev-parse", "--is-shallow-repository") == "true"


@bounded(120)
@pytest.mark.parametrize("shape", ["bare", "linked", "below"])
async def test_every_shape_of_repository_is_served(
    workspaces: GitWorkspaces, repository: Path, head: str, git: Git, tmp_path: Path, shape: str
) -> None:
    given = repository / "data"
    if shape == "bare":
        given = tmp_path / "bare.git"
        git(tmp_path, "clone", "--quiet", "--bare", str(repository), str(given))
    elif shape == "linked":
        given = tmp_path / "linked"
        git(repository, "worktree", "add", "--quiet", str(given))
        (given / "draft.txt").write_text("draft\n")
    commit, uncommitted = await workspaces.resolve(str(given), None)
    assert (commit, uncommitted) == (head, ["draft.txt"] if shape == "linked" else [])
    base = await workspaces.working_tree("t1", "t1/0", str(given))
    work = await workspaces.create("t1", "t1/0.1", str(given), base)
    assert (work / "draft.txt").exists() == (shape == "linked")
    (work / "new.txt").write_text("new\n")
    collected = await workspaces.collect("t1", "t1/0.1")
    await workspaces.publish("t1", str(given), collected.commit, "refs/palmette/t1/r")
    assert git(given, "rev-parse", "refs/palmette/t1/r") == collected.commit


@bounded(120)
async def test_creating_twice_returns_the_same_work_space_with_its_work(
    workspaces: GitWorkspaces, repository: Path, head: str
) -> None:
    first = await workspaces.create("t1", "t1/0", str(repository), head)
    (first / "new.txt").write_text("new\n")
    assert await workspaces.create("t1", "t1/0", str(repository), head) == first
    assert (first / "new.txt").exists()


@bounded(120)
async def test_sixteen_work_spaces_of_one_base_at_once(workspaces: GitWorkspaces, repository: Path, head: str) -> None:
    made: list[Path] = []

    async def one(number: int) -> None:
        made.append(await workspaces.create("t1", f"t1/0.{number}", str(repository), head))

    async with anyio.create_task_group() as tasks:
        for number in range(16):
            tasks.start_soon(one, number)
    assert len(set(made)) == 16
    assert all((path / "greet.py").exists() for path in made)


@bounded(120)
async def test_bad_repositories_are_refused_by_name(
    workspaces: GitWorkspaces, repository: Path, git: Git, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    plain = tmp_path / "plain"
    plain.mkdir()
    git(empty, "init", "--quiet")
    for path, ref, code in (
        (plain, None, "not_a_repository"),
        (tmp_path / "nowhere", None, "not_a_repository"),
        (repository / "greet.py", None, "not_a_repository"),
        (empty, None, "repository_empty"),
        (repository, "no-such-branch", "bad_base"),
        (repository, "--all", "bad_base"),
        (repository, "HEAD:greet.py", "bad_base"),
        (repository, "a\nb", "bad_base"),
    ):
        with pytest.raises(Refused) as caught:
            await workspaces.resolve(str(path), ref)
        assert (path, ref, caught.value.code) == (path, ref, code)
    assert (await workspaces.resolve(str(repository / "data"), "main~1"))[0] == git(repository, "rev-parse", "main~1")


@bounded(120)
@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a directory away")
async def test_a_repository_of_another_user_is_not_trusted(workspaces: GitWorkspaces, repository: Path) -> None:
    os.chown(repository, 12345, 12345)
    os.chown(repository / ".git", 12345, 12345)
    with pytest.raises(Refused) as caught:
        await workspaces.resolve(str(repository), None)
    assert "another user" in caught.value.message
    assert "owner" in caught.value.hint


@bounded(120)
async def test_a_commit_the_person_does_not_have_is_no_base(workspaces: GitWorkspaces, repository: Path) -> None:
    with pytest.raises(Refused) as caught:
        await workspaces.create("t1", "t1/0", str(repository), "0123456789" * 4)
    assert caught.value.code == "bad_base"


def test_the_collector_runs_on_a_bare_interpreter() -> None:
    """It runs inside cages: stdlib only, no site-packages."""
    from palmette.sandbox.workspace.snapshot import COLLECTOR

    done = subprocess.run(
        ["python3", "-I", "-S", str(COLLECTOR), "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert "--max-bundle-bytes" in done.stdout
