"""Who began a command learns what became of it, however it was cancelled."""

import threading
from asyncio import CancelledError, Task, current_task
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from palmette.coordination.errors import Refused
from palmette.coordination.ports import Transaction
from palmette.coordination.store import SqliteStore
from tests.fakes.clock import ManualClock
from tests.support import drafts

pytestmark = pytest.mark.anyio


@pytest.fixture
async def store(tmp_path: Path) -> AsyncGenerator[SqliteStore]:
    """An empty store."""
    async with SqliteStore.open(tmp_path, ManualClock()) as opened:
        yield opened


class Held:
    """A command that tells when it has begun, and appends once it may."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.may = threading.Event()

    def __call__(self, tx: Transaction) -> int:
        seq = tx.append(drafts.opened()).seq
        self.begun.set()
        assert self.may.wait(20)
        return seq


async def test_a_scope_that_is_cancelled_already_is_met_after_the_command(store: SqliteStore) -> None:
    learned: list[int] = []
    with anyio.fail_after(20):
        with anyio.CancelScope() as scope:
            scope.cancel()
            learned.append(await store.transact(lambda tx: tx.append(drafts.opened()).seq))
            await anyio.lowlevel.checkpoint()
            learned.append(0)
        assert scope.cancelled_caught
    assert learned == [1]


async def test_a_refusal_reaches_a_caller_in_a_cancelled_scope(store: SqliteStore) -> None:
    def refuse(_: Transaction) -> None:
        raise Refused("max_live", "all slots are taken")

    with anyio.fail_after(20), anyio.CancelScope() as scope:
        scope.cancel()
        with pytest.raises(Refused):
            await store.transact(refuse)


async def test_a_scope_that_is_cancelled_in_the_middle_is_met_after_the_command(store: SqliteStore) -> None:
    held, learned = Held(), list[int]()
    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:

            async def call() -> None:
                learned.append(await store.transact(held))
                await anyio.lowlevel.checkpoint()
                learned.append(0)

            group.start_soon(call)
            await anyio.to_thread.run_sync(held.begun.wait, 20)
            group.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                # The caller meets its cancellation while the command still runs.
                await anyio.lowlevel.checkpoint()
                await anyio.lowlevel.checkpoint()
            held.may.set()
    assert learned == [1]


async def test_a_task_that_is_cancelled_itself_ends_cancelled_and_not_before_its_command(store: SqliteStore) -> None:
    held, tasks, ends = Held(), list[Task[Any]](), list[str]()
    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:

            async def call() -> None:
                task = current_task()
                assert task is not None
                tasks.append(task)
                try:
                    await store.transact(held)
                except CancelledError:
                    ends.append("cancelled" if held.may.is_set() else "too early")
                    raise

            group.start_soon(call)
            await anyio.to_thread.run_sync(held.begun.wait, 20)
            tasks[0].cancel()
            await anyio.lowlevel.checkpoint()
            await anyio.lowlevel.checkpoint()
            held.may.set()
    assert ends == ["cancelled"]
    assert len(await store.events()) == 1
