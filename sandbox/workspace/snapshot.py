"""C2: the work tree as it stands, committed and bundled by a program that runs where the node runs, never here.

The work space's config is the node's: `git status` in a hostile clone runs what it names (measured). So the collector
is handed to the node's isolation as any other command, and what it writes is believed only after the quarantine.
"""

import json
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from palmette.sandbox.errors import WorkspaceError
from palmette.sandbox.workspace.names import check_commit, mailbox

__all__ = ["COLLECTOR", "Runner", "Snapshot", "SnapshotCaps", "collector_command", "read_report", "take_snapshot"]

COLLECTOR = Path(__file__).resolve().with_name("collector.py")
"""Stdlib only; a cage binds it read-only."""

_MARGIN_S = 10.0
_CODES = frozenset({"snapshot_failed", "snapshot_too_big", "snapshot_timeout"})

Runner = Callable[[Sequence[str], float], Awaitable[bytes]]
"""Runs a command in the node's isolation for at most so many seconds; returns its standard output, whatever it exits
with."""


@dataclass(frozen=True)
class SnapshotCaps:
    """Bounds of one snapshot; over the first two something is left out and named, over the others it is refused."""

    file_bytes: int = 100 << 20
    named: int = 100
    files: int = 200_000
    tree_bytes: int = 4 << 30
    bundle_bytes: int = 256 << 20
    seconds: float = 120.0


@dataclass(frozen=True)
class Snapshot:
    """What the collector says it made; claims, until the quarantine has checked them.

    Attributes:
        commit: the snapshot; equal to the base if nothing was changed.
        head: the node's own last commit, its parent.
        tree: the tree it holds.
        bundle: the file that holds it; None if nothing was changed.
        skipped: (path, why) of what was left out: pipes, sockets, devices, links out of the tree, huge files.
        skipped_total: how many; `skipped` names the first.
    """

    commit: str
    head: str
    tree: str
    bundle: Path | None
    skipped: tuple[tuple[str, str], ...] = ()
    skipped_total: int = 0


def collector_command(
    work: str, base: str, node: str, out: str, caps: SnapshotCaps, *, program: str = str(COLLECTOR)
) -> list[str]:
    """Return the command that snapshots `work`; all paths as the node's isolation sees them."""
    return [
        sys.executable,
        "-I",
        "-S",
        program,
        f"--work={work}",
        f"--base={check_commit(base)}",
        f"--node={node}",
        f"--email={mailbox(node)}",
        f"--out={out}",
        f"--max-files={caps.files}",
        f"--max-file-bytes={caps.file_bytes}",
        f"--max-tree-bytes={caps.tree_bytes}",
        f"--max-bundle-bytes={caps.bundle_bytes}",
        f"--seconds={caps.seconds}",
    ]


def read_report(output: bytes, bundle: Path) -> Snapshot:
    """Parse what the collector printed. It comes from the node's side: every field is checked.

    Raises:
        WorkspaceError: `snapshot_failed`, `snapshot_too_big`, `snapshot_timeout`.
    """
    try:
        raw: object = json.loads(output)
    except ValueError:
        raise WorkspaceError(
            "snapshot_failed", f"the collector printed no report: {output[-200:]!r}", "try again; nothing was lost"
        ) from None
    if not isinstance(raw, dict):
        raise WorkspaceError("snapshot_failed", "the collector's report is no object")
    report = cast("Mapping[str, object]", raw)
    if "error" in report:
        code = str(report["error"])
        raise WorkspaceError(
            code if code in _CODES else "snapshot_failed",
            str(report.get("message", "the collector failed"))[:600],
            "remove or ignore what is too big" if code == "snapshot_too_big" else "try again; nothing was lost",
        )
    commit, head = str(report.get("commit")), str(report.get("head"))
    rows = report.get("skipped")
    skipped: list[tuple[str, str]] = []
    for row in cast("list[object]", rows)[: SnapshotCaps.named] if isinstance(rows, list) else []:
        if isinstance(row, dict):
            fields = cast("Mapping[str, object]", row)
            skipped.append((str(fields.get("path"))[:1000], str(fields.get("why"))[:200]))
    total = report.get("skipped_total")
    return Snapshot(
        commit=check_commit(commit),
        head=check_commit(head),
        tree=check_commit(str(report.get("tree"))),
        bundle=bundle if report.get("bundle") is True else None,
        skipped=tuple(skipped),
        skipped_total=total if isinstance(total, int) else len(skipped),
    )


async def take_snapshot(
    run: Runner,
    *,
    work: Path,
    base: str,
    node: str,
    out: Path,
    caps: SnapshotCaps | None = None,
) -> Snapshot:
    """Snapshot a work space into the bundle `out`, by running the collector through `run`.

    Raises:
        WorkspaceError: `snapshot_failed`, `snapshot_too_big`, `snapshot_timeout`.
    """
    bounds = caps or SnapshotCaps()
    command = collector_command(str(work), base, node, str(out), bounds)
    return read_report(await run(command, bounds.seconds + _MARGIN_S), out)
