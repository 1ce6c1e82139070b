"""What a node may put in its work space, and what of it comes out (sandbox note §4, §7)."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from palmette.sandbox.errors import QuarantineError, WorkspaceError
from palmette.sandbox.isolation.unsafe_none import UnsafeNone
from palmette.sandbox.workspace.quarantine import Quarantine, QuarantineCaps
from palmette.sandbox.workspace.snapshot import SnapshotCaps
from palmette.sandbox.workspace.stores import Stores
from palmette.sandbox.workspace.workspaces import GitWorkspaces
from tests.support.bounded import bounded

pytestmark = pytest.mark.anyio

Git = Callable[..., str]


@bounded(60)
async def test_what_is_no_plain_file_stays_out_and_is_named(
    workspaces: GitWorkspaces, repository: Path, head: str, git: Git, tmp_path: Path
) -> None:
    work = await workspaces.create("t1", "t1/0", str(repository), head)
    (tmp_path / "outside").write_text("SECRET\n")
    os.mkfifo(work / "pipe")
    (work / "deep").mkdir()
    (work / "deep/up").symlink_to("../../../../outside")
    (work / "absolute").symlink_to("/etc/passwd")
    (work / "inside").symlink_to("data/table.csv")
    (work / "deep/folder").symlink_to(tmp_path)
    with (work / "sparse").open("wb") as file:
        file.truncate(200 << 20)
    nested = work / "vendor"
    nested.mkdir()
    git(nested, "init", "--quiet")
    (work / "greet.py").write_text("changed\n")
    os.chdir(work)  # a unix socket's path is short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("sock")
        collected, taken = await workspaces.collect_snapshot("t1", "t1/0")
    os.chdir(tmp_path)

    assert dict(taken.skipped) == {
        "pipe": "fifo",
        "sock": "socket",
        "absolute": "link out of the tree",
        "deep/up": "link out of the tree",
        "deep/folder": "link out of the tree",
        "sparse": "bigger than 104857600 bytes",
        "vendor": "nested repository",
    }
    assert taken.skipped_total == 7
    assert collected.files == 2
    shown = await workspaces.diff("t1", head, collected.commit)
    assert "inside" in shown
    assert "SECRET" not in shown


@bounded(60)
async def test_unusual_things_of_the_base_are_no_news(
    workspaces: GitWorkspaces, repository: Path, git: Git, tmp_path: Path
) -> None:
    (repository / "far").symlink_to("/usr/share")
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "-m", "a link out")
    base = git(repository, "rev-parse", "HEAD")
    work = await workspaces.create("t1", "t1/0", str(repository), base)
    (work / "new.txt").write_text("new\n")
    collected, taken = await workspaces.collect_snapshot("t1", "t1/0")
    assert (taken.skipped, collected.files) == ((), 1)


@pytest.mark.rule("W1")
@bounded(60)
async def test_the_config_and_hooks_of_a_work_space_run_nothing_when_it_is_collected(
    workspaces: GitWorkspaces, repository: Path, head: str, git: Git, tmp_path: Path
) -> None:
    work = await workspaces.create("t1", "t1/0", str(repository), head)
    trap, sprung = tmp_path / "trap", tmp_path / "sprung"
    trap.write_text(f"#!/bin/sh\ntouch {sprung}\ncat\n")
    trap.chmod(0o755)
    hooks = work / ".git/hooks"
    hooks.mkdir(exist_ok=True)
    for hook in ("pre-commit", "post-commit", "reference-transaction", "post-index-change", "commit-msg"):
        (hooks / hook).symlink_to(trap)
    git(work, "-c", "core.hooksPath=/dev/null", "config", "core.fsmonitor", str(trap))
    git(work, "config", "filter.trap.clean", str(trap))
    git(work, "config", "core.sshCommand", str(trap))
    git(work, "config", "commit.gpgSign", "true")
    git(work, "config", "gpg.program", str(trap))
    (work / ".gitattributes").write_text("* filter=trap\n")
    sprung.unlink(missing_ok=True)
    collected = await workspaces.collect("t1", "t1/0")
    assert collected.files == 1
    assert not sprung.exists()


@bounded(60)
async def test_strange_names_come_out_unharmed_and_names_that_lie_are_refused(
    workspaces: GitWorkspaces, repository: Path, head: str, git: Git
) -> None:
    work = await workspaces.create("t1", "t1/0", str(repository), head)
    for name in ("--upload-pack=x", ":(exclude)greet.py", "*", "ünïcödé", "with space", "-"):
        (work / name).write_text("x\n")
    (work / os.fsdecode(b"latin\xe9")).write_text("x\n")
    collected = await workspaces.collect("t1", "t1/0")
    assert collected.files == 7
    for name in ("a\nb", "a\x1b[31mred", "a\x7f"):
        (work / name).write_text("x\n")
        with pytest.raises(QuarantineError) as caught:
            await workspaces.collect("t1", "t1/0")
        assert caught.value.code == "unusual_name"
        assert "\x1b" not in str(caught.value)
        (work / name).unlink()
    assert (await workspaces.collect("t1", "t1/0")).files == 7, "mended, it is accepted"


@bounded(60)
async def test_a_diff_obeys_no_terminal_escape_and_its_cap(
    workspaces: GitWorkspaces, repository: Path, head: str
) -> None:
    work = await workspaces.create("t1", "t1/0", str(repository), head)
    (work / "loud.txt").write_text("\x1b]0;title\x07 \x9b31m\n" + "line\n" * 10_000)
    collected = await workspaces.collect("t1", "t1/0")
    shown = await workspaces.diff("t1", head, collected.commit, limit=2000)
    assert "+\\x1b]0;title\\x07" in shown
    assert not any(ord(letter) < 32 and letter not in "\n\t" for letter in shown)
    assert shown.endswith("[cut at 2000 bytes]\n")
    assert len(shown) < 2200


@bounded(60)
async def test_a_link_out_that_the_node_committed_itself_is_refused(
    workspaces: GitWorkspaces, repository: Path, head: str, git: Git
) -> None:
    work = await workspaces.create("t1", "t1/0", str(repository), head)
    (work / "leak").symlink_to("../../outside")
    git(work, "add", "leak")
    git(work, "commit", "--quiet", "-m", "leak")
    with pytest.raises(QuarantineError) as caught:
        await workspaces.collect("t1", "t1/0")
    assert caught.value.code == "link_outside"
    assert (work / "leak").is_symlink(), "and nothing was lost (W2)"


@pytest.mark.parametrize(
    ("snapshot", "quarantine", "code"),
    [
        (SnapshotCaps(files=10), None, "snapshot_too_big"),
        (SnapshotCaps(tree_bytes=100_000), None, "snapshot_too_big"),
        (SnapshotCaps(bundle_bytes=100_000), None, "snapshot_too_big"),
        (SnapshotCaps(seconds=0.0), None, "snapshot_timeout"),
        (None, QuarantineCaps(bundle_bytes=100_000), "bundle_too_big"),
        (None, QuarantineCaps(object_bytes=100_000), "result_too_big"),
        (None, QuarantineCaps(total_bytes=100_000), "result_too_big"),
        (None, QuarantineCaps(objects=5), "result_too_big"),
        (None, QuarantineCaps(files=5), "result_too_big"),
    ],
)
@bounded(60)
async def test_every_cap_of_snapshot_and_quarantine_refuses_and_keeps_the_work(
    repository: Path,
    head: str,
    tmp_path: Path,
    isolation: UnsafeNone,
    snapshot: SnapshotCaps | None,
    quarantine: QuarantineCaps | None,
    code: str,
) -> None:
    bounded_ones = GitWorkspaces(
        tmp_path / "data", isolation.command, snapshot_caps=snapshot, quarantine_caps=quarantine
    )
    work = await bounded_ones.create("t1", "t1/0", str(repository), head)
    (work / "noise.bin").write_bytes(os.urandom(300_000))
    for number in range(10):
        (work / f"{number}.txt").write_text(f"{number}\n")
    with pytest.raises((WorkspaceError, QuarantineError)) as caught:
        await bounded_ones.collect("t1", "t1/0")
    assert caught.value.code == code
    assert (work / "noise.bin").stat().st_size == 300_000
    assert not list((tmp_path / "data/results").glob("**/*.git"))
    assert not list((tmp_path / "data").glob("**/.collect-*"))


@bounded(60)
async def test_bundles_that_were_tampered_with_are_refused(
    repository: Path, head: str, git: Git, tmp_path: Path
) -> None:
    store = await Stores(tmp_path / "stores").ensure(repository / ".git", head)
    quarantine = Quarantine(tmp_path / "results")
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(repository), str(clone))

    def bundle(name: str, tip: str, *without: str) -> Path:
        git(clone, "update-ref", "refs/palmette/result", tip)
        git(clone, "bundle", "create", "--quiet", str(tmp_path / name), "refs/palmette/result", *without)
        return tmp_path / name

    def tree_with(entry: str, mode: str, blob: str) -> str:
        # mktree itself refuses a slash, so the odd tree is written as an object of its own
        raw = f"{mode} {entry}".encode() + b"\0" + bytes.fromhex(blob)
        odd = tmp_path / "odd"
        odd.write_bytes(raw)
        tree = git(clone, "hash-object", "-t", "tree", "-w", "--literally", str(odd))
        return git(clone, "commit-tree", "-p", head, "-m", "odd", tree)

    blob = git(clone, "rev-parse", f"{head}:greet.py")
    orphan = git(clone, "commit-tree", "-m", "orphan", f"{head}^{{tree}}")
    good = git(clone, "commit-tree", "-p", head, "-m", "good", f"{head}^{{tree}}")
    link = git(clone, "hash-object", "-w", "--stdin", stdin="/etc/passwd")
    cases = [
        (bundle("orphan", orphan), orphan, "not_a_descendant"),
        (bundle("good", good, f"^{head}"), orphan, "result_mismatch"),
        (bundle("dotgit", dotgit := tree_with(".git", "100644", blob)), dotgit, "bundle_invalid"),
        (bundle("ntfs", ntfs := tree_with("git~1", "100644", blob)), ntfs, "bundle_invalid"),
        (bundle("up", up := tree_with("..", "100644", blob)), up, "bundle_invalid"),
        (bundle("slash", slash := tree_with("a/b", "100644", blob)), slash, "bundle_invalid"),
        (bundle("link", linked := tree_with("x", "120000", link)), linked, "link_outside"),
        (bundle("modules", modules := tree_with(".gitmodules", "120000", link)), modules, "bundle_invalid"),
    ]
    torn = tmp_path / "torn"
    torn.write_bytes(cases[1][0].read_bytes()[:-30])
    cases.append((torn, good, "bundle_invalid"))
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    cases.append((fifo, good, "bundle_missing"))
    (tmp_path / "to-good").symlink_to(cases[1][0])
    cases.append((tmp_path / "to-good", good, "bundle_missing"))
    cases.append((tmp_path / "nowhere", good, "bundle_missing"))
    for path, commit, code in cases:
        with pytest.raises(QuarantineError) as caught:
            await quarantine.collect("t1", path, commit, store)
        assert (path.name, caught.value.code) == (path.name, code)
    assert list((tmp_path / "results/t1").iterdir()) == []

    kept = await quarantine.collect("t1", cases[1][0], good, store)
    again = await quarantine.collect("t1", cases[1][0], good, store)
    assert kept == again
    assert git(store.path, "for-each-ref", "--format=%(objectname)").split() == [head], "no store took it in (W1)"
    assert good not in git(store.path, "cat-file", "--batch-all-objects", "--batch-check=%(objectname)").split()


@bounded(60)
async def test_a_result_never_points_into_what_the_node_named_as_its_alternate(
    workspaces: GitWorkspaces, repository: Path, head: str, git: Git, tmp_path: Path
) -> None:
    """A rewritten alternates file reads with the node's rights only: here the node's own, so nothing is gained."""
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "--quiet")
    secret = git(other, "hash-object", "-w", "--stdin", stdin="SECRETBLOB")
    work = await workspaces.create("t1", "t1/0", str(repository), head)
    alternates = work / ".git/objects/info/alternates"
    alternates.write_text(alternates.read_text() + f"{other}/.git/objects\n")
    (work / "new.txt").write_text("new\n")
    collected = await workspaces.collect("t1", "t1/0")
    holder = workspaces.checkout_source("t1", collected.commit)
    assert secret not in git(holder, "cat-file", "--batch-all-objects", "--batch-check=%(objectname)").split()
    assert "other" not in (holder / "objects/info/alternates").read_text()
