"""What differs between two commits, read from a bare repository: paths to be judged, counts and text to be shown."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread

from palmette.sandbox.errors import QuarantineError
from palmette.sandbox.workspace.collector import escapes
from palmette.sandbox.workspace.git import run_git
from palmette.sandbox.workspace.names import check_commit

__all__ = ["Change", "check_changes", "check_path", "diff", "diffstat", "parse_changes", "parse_targets"]

_HASH = re.compile(rb"^:(\d{6}) (\d{6}) ([0-9a-f]+) ([0-9a-f]+) ([A-Z])$")
# Zero-width characters that HFS+ drops when it compares names; `.g<ZWNJ>it` is `.git` there.
_IGNORED_BY_HFS = re.compile("[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]")
_LONGEST_PATH = 4000
_LONGEST_PART = 255


@dataclass(frozen=True)
class Change:
    """One changed path between two commits; `mode` is the new git mode, `000000` for a deletion."""

    path: bytes
    mode: str
    blob: str


async def check_changes(repository: Path, base: str, commit: str, *, most: int, seconds: float) -> None:
    """Refuse a result with names that lie, links out of the tree, or more than `most` changed files.

    Raises:
        QuarantineError: `unusual_name`, `link_outside`, `result_too_big`.
    """
    raw = await run_git(
        "diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-abbrev", "--end-of-options",
        check_commit(base), check_commit(commit),
        git_dir=repository, max_output=most * 256, truncate=True, timeout_s=seconds,
    )  # fmt: skip
    if raw.truncated:
        raise _too_many(most)
    links = await anyio.to_thread.run_sync(_check_paths, raw.stdout, most)
    if not links:
        return
    targets = await run_git(
        "cat-file", "--batch", git_dir=repository, stdin="".join(f"{link.blob}\n" for link in links).encode(),
        max_output=len(links) * (_LONGEST_PATH + 64), truncate=True, timeout_s=seconds,
    )  # fmt: skip
    await anyio.to_thread.run_sync(_check_links, links, targets.stdout)


def _check_paths(raw: bytes, most: int) -> list[Change]:
    changes = parse_changes(raw)
    if len(changes) > most:
        raise _too_many(most)
    present = [change for change in changes if change.mode != "000000"]
    for change in present:
        check_path(change.path)
    return [change for change in present if change.mode == "120000"]


def _too_many(most: int) -> QuarantineError:
    return QuarantineError("result_too_big", f"more than {most} files were changed", "ignore what is generated")


def _check_links(links: list[Change], batch: bytes) -> None:
    targets = parse_targets(batch)
    for number, link in enumerate(links):
        target = targets[number] if number < len(targets) else b"/"  # what was cut off is too long to be a link
        directory = os.path.dirname(os.fsdecode(link.path))
        if b"\0" in target or len(target) > _LONGEST_PATH or escapes(directory, os.fsdecode(target)):
            raise QuarantineError(
                "link_outside", f"{link.path!r} is a link out of the tree", "remove the link and commit again"
            )


def parse_targets(batch: bytes) -> list[bytes]:
    """Parse the output of `git cat-file --batch`, one content per object; it ends where the output was cut."""
    targets: list[bytes] = []
    place = 0
    while (end := batch.find(b"\n", place)) >= 0:
        size = batch[place:end].rpartition(b" ")[2]
        if not size.isdigit() or end + 1 + int(size) >= len(batch):
            break
        targets.append(batch[end + 1 : end + 1 + int(size)])
        place = end + 2 + int(size)
    return targets


def parse_changes(raw: bytes) -> list[Change]:
    """Parse `git diff-tree --raw -z --no-renames`; a record cut short at the end is dropped."""
    fields = raw.split(b"\0")[:-1]
    changes: list[Change] = []
    for head, path in zip(fields[::2], fields[1::2], strict=False):
        match = _HASH.match(head)
        if match is None:
            raise QuarantineError("bundle_invalid", f"git named a change that we cannot read: {head[:80]!r}")
        changes.append(Change(path, match[2].decode(), match[4].decode()))
    return changes


def check_path(path: bytes) -> None:
    """Refuse names that another file system, a terminal or git itself would take for something else.

    fsck refuses the worst of them; this also holds if its rules change, and covers control characters.

    Raises:
        QuarantineError: `unusual_name`.
    """
    text = path.decode("utf-8", "surrogateescape")
    parts = text.split("/")
    for part in parts:
        plain = _IGNORED_BY_HFS.sub("", part).rstrip(". ").split(":")[0].rstrip(". ").casefold()
        if (
            part in ("", ".", "..")
            or plain in (".git", "git~1")
            or len(os.fsencode(part)) > _LONGEST_PART
            or any(ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in part)
        ):
            raise QuarantineError("unusual_name", f"the name {path[:200]!r} is refused", "rename it and commit again")
    if len(path) > _LONGEST_PATH or ".." in text.replace("\\", "/").split("/"):
        raise QuarantineError("unusual_name", f"the name {path[:200]!r} is refused", "rename it and commit again")


async def diffstat(repository: Path, base: str, commit: str) -> tuple[int, int, int]:
    """Return (files changed, lines inserted, lines deleted); binary files count as files only."""
    result = await run_git(
        "diff", "--numstat", "-z", "--no-renames", "--no-ext-diff", "--no-textconv", "--end-of-options",
        check_commit(base), check_commit(commit), git_dir=repository, max_output=128 << 20,
    )  # fmt: skip
    return await anyio.to_thread.run_sync(_count_lines, result.stdout)


def _count_lines(numstat: bytes) -> tuple[int, int, int]:
    files = insertions = deletions = 0
    for row in numstat.split(b"\0"):
        added, _, rest = row.partition(b"\t")
        removed, _, path = rest.partition(b"\t")
        if path:
            files += 1
            insertions += int(added) if added.isdigit() else 0
            deletions += int(removed) if removed.isdigit() else 0
    return files, insertions, deletions


async def diff(repository: Path, base: str, commit: str, *, limit: int = 20_000) -> str:
    """Return the change as a unified diff, cut at `limit` bytes with a last line that says so.

    Control characters that a terminal would obey are escaped: the text was written by agents.
    """
    result = await run_git(
        "diff", "--no-color", "--no-ext-diff", "--no-textconv", "--end-of-options",
        check_commit(base), check_commit(commit), git_dir=repository, max_output=limit, truncate=True,
    )  # fmt: skip
    text = result.stdout.decode("utf-8", "backslashreplace")
    shown = "".join(
        letter if letter in "\n\t" or letter.isprintable() else letter.encode("unicode_escape").decode("ascii")
        for letter in text
    )
    return f"{shown}\n[cut at {limit} bytes]\n" if result.truncated else shown
