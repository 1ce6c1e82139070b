"""A recording tree, and a journal in memory that outlives the service."""

import pytest

from palmette.coordination.store import MemoryStore
from tests.fakes.clock import ManualClock
from tests.fakes.verbs import RecordingVerbs


@pytest.fixture
def verbs() -> RecordingVerbs:
    """The tree that records."""
    return RecordingVerbs()


@pytest.fixture
def store() -> MemoryStore:
    """The journal."""
    return MemoryStore(ManualClock())
