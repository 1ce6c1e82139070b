"""The coordination server over a recording tree, in memory, in each protocol era."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from mcp import Client

from palmette.coordination.identity import Visitor
from palmette.servers.coordination import coordination_server
from tests.fakes.verbs import RecordingVerbs

Connect = Callable[[], AbstractAsyncContextManager[Client]]


@pytest.fixture
def verbs() -> RecordingVerbs:
    """The tree that records."""
    return RecordingVerbs()


@pytest.fixture(params=["legacy", "auto"])
def connect(verbs: RecordingVerbs, request: pytest.FixtureRequest) -> Connect:
    """Opens a client in the parametrized era."""

    @asynccontextmanager
    async def open_client() -> AsyncGenerator[Client]:
        server = coordination_server(verbs, identify=lambda ctx: Visitor("here"))
        async with Client(server, mode=request.param) as client:
            yield client

    return open_client
