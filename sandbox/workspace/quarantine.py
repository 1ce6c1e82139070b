"""Where a node's result is looked at before anything of ours touches it.

A fresh bare repository borrows the base's objects, takes the bundle's pack with fsck, and is judged: descent, sizes,
names, links. Only then is it renamed to its place. It never enters an existing store (W1).

The pack is taken by `git index-pack --strict`, not by `git fetch`: measured with git 2.39, fetching from a bundle does
not obey `fetch.fsckObjects`: a tree that holds `.git` came through.
"""

import os
import shutil
import stat
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from secrets import token_hex

import anyio
import anyio.to_thread

from palmette.sandbox.errors import GitError, QuarantineError
from palmette.sandbox.workspace.changes import check_changes, diffstat
from palmette.sandbox.workspace.collector import RESULT_REF
from palmette.sandbox.workspace.git import run_git
from palmette.sandbox.workspace.names import check_commit, check_label
from palmette.sandbox.workspace.stores import Store

__all__ = ["Collected", "Quarantine", "QuarantineCaps"]

_UNTRUSTED_MEMORY = 4 << 30
_UNTRUSTED = ("core.bigFileThreshold=32m", "pack.threads=1")
_HEADER_CAP = 65536
_SIGNATURES = (b"# v2 git bundle", b"# v3 git bundle")


@dataclass(frozen=True)
class QuarantineCaps:
    """Bounds of one result; over any of them it is refused.

    Attributes:
        bundle_bytes: the file as it arrives.
        objects: new objects.
        object_bytes: one new object, unpacked.
        total_bytes: all new objects, unpacked.
        files: changed files.
        seconds: for unpacking and checking it.
    """

    bundle_bytes: int = 256 << 20
    objects: int = 500_000
    object_bytes: int = 100 << 20
    total_bytes: int = 4 << 30
    files: int = 200_000
    seconds: float = 120.0


@dataclass(frozen=True)
class Collected:
    """A result that passed the quarantine.

    Attributes:
        repository: the bare repository that holds it, under `refs/palmette/result`.
        commit: the result; equal to `base` if nothing was changed.
        base: the commit it began at.
        files_changed: paths that differ; `insertions` and `deletions` count lines of text files.
    """

    repository: Path
    commit: str
    base: str
    files_changed: int
    insertions: int
    deletions: int


class Quarantine:
    """The results of one data directory: `<directory>/<tree>/<commit>.git`."""

    def __init__(self, directory: Path, caps: QuarantineCaps | None = None) -> None:
        self._directory = directory.absolute()
        self._caps = caps or QuarantineCaps()

    def find(self, tree: str, commit: str) -> Path | None:
        """Return the repository that holds a result of that tree, if it was collected."""
        path = self._directory / check_label(tree) / f"{check_commit(commit)}.git"
        return path if path.is_dir() else None

    async def collect(self, tree: str, bundle: Path | None, commit: str, store: Store) -> Collected:
        """Take a result in; the same one twice is taken once.

        Args:
            tree: id of the tree; a directory of its own.
            bundle: the file the collector wrote; None if it claims that nothing was changed.
            commit: the commit it claims to hold.
            store: the store of its base.

        Raises:
            QuarantineError: why it was refused; nothing of it is kept, the bundle stays where it is.
        """
        check_commit(commit)
        if bundle is None:
            if commit != store.commit:
                raise QuarantineError("result_mismatch", "a changed commit was claimed, but no bundle was made")
            return Collected(store.path, commit, commit, 0, 0, 0)
        place = self._directory / check_label(tree) / f"{commit}.git"
        if not place.is_dir():
            making = place.with_name(f".taking-{os.getpid()}-{token_hex(6)}")
            making.mkdir(mode=0o700, parents=True)
            try:
                await self._take(making, bundle, commit, store)
                if not place.is_dir():
                    (making / "repository.git").rename(place)
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(lambda: shutil.rmtree(making, ignore_errors=True))
        await self._check_descent(place, commit, store.commit)
        files, insertions, deletions = await diffstat(place, store.commit, commit)
        return Collected(place, commit, store.commit, files, insertions, deletions)

    async def sweep(self) -> None:
        """Remove what a crash left half taken. Only for the process that owns the data directory, at its start."""
        for path in self._directory.glob("*/.taking-*"):
            await anyio.to_thread.run_sync(lambda path=path: shutil.rmtree(path, ignore_errors=True))

    async def _take(self, making: Path, bundle: Path, commit: str, store: Store) -> None:
        pack = making / "result.pack"
        # A copy, so that what is checked is what is unpacked: the node may still hold the file open.
        tip = await anyio.to_thread.run_sync(_copy_pack, bundle, pack, self._caps.bundle_bytes)
        if tip != commit:
            raise QuarantineError("result_mismatch", f"the bundle holds {tip[:12]}, not {commit[:12]}")
        repository = making / "repository.git"
        await run_git("init", "--quiet", "--bare", "--template=", "--end-of-options", os.fspath(repository))
        info = repository / "objects/info"
        info.mkdir(parents=True, exist_ok=True)
        info.joinpath("alternates").write_bytes(os.fsencode(store.path / "objects") + b"\n")
        if (store.path / "shallow").is_file():
            shutil.copyfile(store.path / "shallow", repository / "shallow")
        try:
            await run_git(
                "index-pack", "--stdin", "--fix-thin", "--strict", f"--max-input-size={self._caps.bundle_bytes}",
                git_dir=repository, stdin=pack, config=_UNTRUSTED,
                timeout_s=self._caps.seconds, memory_bytes=_UNTRUSTED_MEMORY,
            )  # fmt: skip
            await run_git("cat-file", "-e", f"{commit}^{{commit}}", git_dir=repository)
        except GitError as error:
            raise QuarantineError("bundle_invalid", f"the result was refused: {error.message[:600]}") from error
        await self._check_descent(repository, commit, store.commit)
        await self._check_sizes(repository, commit, store.commit)
        await check_changes(repository, store.commit, commit, most=self._caps.files, seconds=self._caps.seconds)
        await run_git("update-ref", RESULT_REF, commit, git_dir=repository)
        # HEAD, so that `git pull /in/<label>.bundle` works with no ref named.
        await run_git("update-ref", "--no-deref", "HEAD", commit, git_dir=repository)

    async def _check_descent(self, repository: Path, commit: str, base: str) -> None:
        answer = await run_git("merge-base", "--is-ancestor", base, commit, git_dir=repository, accept=(0, 1, 128))
        if answer.code != 0:
            raise QuarantineError("not_a_descendant", f"{commit[:12]} does not descend from its base {base[:12]}")

    async def _check_sizes(self, repository: Path, commit: str, base: str) -> None:
        caps = self._caps
        listed = await run_git(
            "rev-list", "--objects", "--no-object-names", commit, f"^{base}", git_dir=repository,
            max_output=caps.objects * 65, truncate=True, timeout_s=caps.seconds,
        )  # fmt: skip
        if listed.truncated:
            raise QuarantineError("result_too_big", f"the result has more than {caps.objects} new objects")
        sized = await run_git(
            "cat-file", "--batch-check=%(objectsize)", git_dir=repository,
            stdin=listed.stdout, max_output=caps.objects * 24, timeout_s=caps.seconds,
        )  # fmt: skip
        total, biggest = await anyio.to_thread.run_sync(_sizes, sized.stdout)
        if total > caps.total_bytes or biggest > caps.object_bytes:
            raise QuarantineError(
                "result_too_big", f"the result is {total} bytes, its biggest file {biggest}", "commit less"
            )


def _sizes(listing: bytes) -> tuple[int, int]:
    try:
        sizes = [int(line) for line in listing.splitlines()]
    except ValueError:  # "<object> missing"
        raise QuarantineError("bundle_invalid", "the result refers to objects that it does not hold") from None
    return sum(sizes), max(sizes, default=0)


def _copy_pack(source: Path, target: Path, cap: int) -> str:
    """Copy the pack out of a bundle file and return the commit that its only ref names."""
    try:
        descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise QuarantineError("bundle_missing", f"no bundle to collect: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as reader:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise QuarantineError("bundle_missing", "what lies in the bundle's place is no regular file")
        tip = _read_header(reader)
        with target.open("xb") as writer:
            left = cap + 1 - reader.tell()
            while left > 0 and (chunk := reader.read(min(left, 1 << 20))):
                writer.write(chunk)
                left -= len(chunk)
    if left <= 0:
        raise QuarantineError("bundle_too_big", f"the bundle is bigger than {cap} bytes", "commit less")
    return tip


def _read_header(reader: BufferedReader) -> str:
    """Read up to the pack (gitformat-bundle): signature, `@capability`s, `-prerequisite`s, refs, an empty line."""
    tips: list[str] = []
    signature = reader.readline(_HEADER_CAP).rstrip(b"\n")
    while signature in _SIGNATURES and reader.tell() < _HEADER_CAP:
        line = reader.readline(_HEADER_CAP).rstrip(b"\n")
        if not line:
            if len(tips) == 1:
                return tips[0]
            break
        if line.startswith(b"@"):
            if line != b"@object-format=sha1":  # `@filter` would be a bundle that lacks objects
                break
        elif not line.startswith(b"-"):
            name, _, ref = line.partition(b" ")
            if ref != RESULT_REF.encode():
                break
            tips.append(name.decode("ascii", "replace"))
    raise QuarantineError("bundle_invalid", "the bundle's header is not what the collector writes")
