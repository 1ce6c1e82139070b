"""Run by test_full_disk.py in a mount namespace of its own: what a store does on a small disk that fills up."""

import json
import sys
from collections import Counter
from pathlib import Path

import anyio

from palmette.coordination.errors import JournalUnwritable
from palmette.coordination.store import SqliteStore, verify
from palmette.coordination.timepieces import SystemClock
from tests.support import drafts


async def main(disk: Path) -> None:
    """Print what happened, as JSON."""
    ballast = disk / "ballast"
    ballast.write_bytes(b"x" * 300_000)
    acknowledged: list[int] = []
    failed: Counter[str] = Counter()

    async def write(store: SqliteStore, size: int = 6_000) -> None:
        try:
            event = await store.transact(lambda tx: tx.append(drafts.note("t1/0", "x" * size)))
            acknowledged.append(event.seq)
        except JournalUnwritable as error:
            failed[error.message.rpartition(": ")[2]] += 1

    async with SqliteStore.open(disk / "data", SystemClock()) as store:
        await store.transact(lambda tx: (tx.append(drafts.opened()), tx.append(drafts.spawned("t1/0"))))
        with anyio.fail_after(60):
            while not failed:
                await write(store)
        before = len(acknowledged)
        # Many at once, so that they share a commit: all of them are told.
        async with anyio.create_task_group() as group:
            for _ in range(40):
                group.start_soon(write, store)
        together = sum(failed.values()) - 1
        try:
            await store.keep("y" * 300_000)
            kept = True
        except JournalUnwritable:
            kept = False
        left = [path.name for path in (disk / "data" / "blobs").rglob("*") if path.is_file()]
        full = [event.seq for event in await store.events(after=2, limit=10_000)]
        while_full = full == acknowledged
        ballast.unlink()
        for _ in range(10):
            await write(store)
    report = verify(disk / "data")
    seqs = list(range(3, 3 + len(acknowledged)))
    print(
        json.dumps(
            {
                "before": before,
                "together": together,
                "kept": kept,
                "left": left,
                "while_full": while_full,
                "after": len(acknowledged) - before,
                "in_order": acknowledged == seqs,
                "events": report.events - 2,
                "acknowledged": len(acknowledged),
                "verified": report.ok,
                "said": list(failed),
            }
        )
    )


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1]))
