"""The two ways out for a result: a bundle for the node's parent, a ref for the person (W8)."""

import os
import shutil
from pathlib import Path
from secrets import token_hex

import anyio.to_thread

from palmette.sandbox.errors import PublishError
from palmette.sandbox.workspace.git import run_git
from palmette.sandbox.workspace.names import check_commit, check_label, check_result_ref
from palmette.sandbox.workspace.repository import Repository

__all__ = ["deliver_bundle", "publish"]


async def deliver_bundle(repository: Path, commit: str, directory: Path, label: str, *, have: str) -> Path | None:
    """Lay a result as `<directory>/<label>.bundle`, whole or not at all; a newer one replaces an older one.

    Args:
        repository: the quarantine repository that holds the result.
        commit: the result.
        directory: the parent's `in`.
        label: the child's label.
        have: a commit that the parent's work space holds; the bundle starts there.

    Returns:
        The file, to be merged with `git pull <file>` or `git fetch <file> HEAD`; None if there is nothing new in it.

    Raises:
        PublishError: `bad_delivery` when `directory` is no real directory.
    """
    check_label(label)
    if check_commit(commit) == check_commit(have):
        return None
    _real_directory(directory)
    making = repository.with_name(f".bundle-{token_hex(6)}")
    target = directory / f"{label}.bundle"
    arriving = directory / f".{label}-{token_hex(6)}"
    try:
        known = await run_git("cat-file", "-e", f"{have}^{{commit}}", git_dir=repository, accept=(0, 1, 128))
        since = [f"^{have}"] if known.code == 0 else []  # another history: all of it then
        await run_git("bundle", "create", "--quiet", os.fspath(making), "HEAD", *since, git_dir=repository)
        await anyio.to_thread.run_sync(_place, making, arriving, target)
    finally:
        making.unlink(missing_ok=True)
        arriving.unlink(missing_ok=True)
    return target


async def publish(repository: Repository, source: Path, commit: str, name: str) -> None:
    """Make a result a ref of the person's repository; doing it twice is once.

    Args:
        repository: the person's.
        source: the quarantine repository (or store) that holds the commit.
        commit: the result.
        name: `refs/palmette/<tree>/<label>`; a ref anywhere else is refused.

    Raises:
        PublishError: `bad_refname`; `ref_taken` when the ref is there and holds another commit.
    """
    check_result_ref(name)
    check_commit(commit)
    there = await run_git(
        "rev-parse", "--verify", "--quiet", "--end-of-options", name, git_dir=repository.git_dir, accept=(0, 1, 128)
    )
    if there.code == 0:
        if there.text == commit:
            return
        raise PublishError("ref_taken", f"{name} already holds {there.text[:12]}", f"`git update-ref -d {name}` first")
    await run_git(
        "fetch",
        "--quiet",
        "--no-tags",
        "--no-write-fetch-head",
        "--refmap=",
        "--end-of-options",
        os.fspath(source),
        f"{commit}:{name}",
        git_dir=repository.git_dir,
        local=True,
        timeout_s=600.0,
        config=("fetch.fsckObjects=false", "fetch.writeCommitGraph=false", "protocol.version=2"),
    )


def _real_directory(directory: Path) -> None:
    if directory.is_symlink():
        raise PublishError("bad_delivery", f"{directory} is a link", "remove it; results are laid in a real directory")
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)


def _place(making: Path, arriving: Path, target: Path) -> None:
    descriptor = os.open(arriving, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with making.open("rb") as reader, os.fdopen(descriptor, "wb") as writer:
        shutil.copyfileobj(reader, writer, 1 << 20)
        writer.flush()
        os.fsync(writer.fileno())
    os.replace(arriving, target)
