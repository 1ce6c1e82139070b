"""A world in memory."""

import pytest

from palmette.coordination.store import MemoryStore
from tests.fakes.clock import CountingIds, ManualClock
from tests.support.trees import World


@pytest.fixture
def world() -> World:
    """A store in memory, and a clock that the test owns."""
    clock = ManualClock()
    return World(MemoryStore(clock), clock, CountingIds())
