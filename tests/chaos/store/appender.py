"""Run by test_kill.py: sixteen producers that append until they are killed, and tell what was acknowledged."""

import os
import sys
from pathlib import Path

import anyio

from palmette.coordination.ports import Transaction
from palmette.coordination.store import SqliteStore
from palmette.coordination.timepieces import SystemClock
from palmette.coordination.values import Amounts
from tests.support import drafts

PRODUCERS = 16


async def main(directory: Path) -> None:
    """One line on standard output per acknowledged command: its seq, and how often its producer has been told."""
    async with SqliteStore.open(directory, SystemClock()) as store:
        newest = len(await store.events(limit=1_000_000))

        def begin(tx: Transaction) -> None:
            if newest == 0:
                tx.append(drafts.opened())
                tx.append(drafts.spawned("t1/0", Amounts(10**12, 10**12, 10**12, 10**12)))
                tx.append(drafts.attempt("t1/0"))

        async def produce() -> None:
            while True:
                seq = await store.transact(spend)
                # One write each, so that a line is whole or not there.
                os.write(1, f"{seq}\n".encode())

        await store.transact(begin)
        async with anyio.create_task_group() as group:
            for _ in range(PRODUCERS):
                group.start_soon(produce)


def spend(tx: Transaction) -> int:
    """Hold and book in one command: two events and four rows, which belong together."""
    hold = f"h{tx.next_seq()}"
    tx.append(drafts.held("t1/0", hold, Amounts(7, 100, 1, 0)))
    return tx.append(drafts.booked("t1/0", hold, Amounts(5, 80, 1, 0))).seq


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1]))
