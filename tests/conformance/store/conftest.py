"""Every store there is, under one name."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from palmette.coordination.store import MemoryStore, SqliteStore
from tests.fakes.clock import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    """Time that stands still."""
    return ManualClock()


@pytest.fixture(params=["memory", "sqlite"])
async def store(
    request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock
) -> AsyncGenerator[MemoryStore | SqliteStore]:
    """An empty store."""
    if request.param == "memory":
        yield MemoryStore(clock)
    else:
        async with SqliteStore.open(tmp_path / "data", clock) as opened:
            yield opened
