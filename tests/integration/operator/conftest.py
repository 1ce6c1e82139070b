"""The operator API of a running supervisor, served on a unix socket."""

from collections.abc import AsyncGenerator
from pathlib import Path

import anyio
import httpx2
import pytest
from starlette.routing import Router

from palmette.servers.http import serve_application
from palmette.servers.operator import operator_routes
from palmette.servers.unix_socket import listening
from tests.support.house import House


@pytest.fixture
async def house(tmp_path: Path) -> AsyncGenerator[House]:
    async with House(tmp_path).running() as running:
        yield running


@pytest.fixture
async def api(house: House, tmp_path: Path) -> AsyncGenerator[httpx2.AsyncClient]:
    path = str(tmp_path / "api.sock")
    with listening(path) as listener:
        async with anyio.create_task_group() as tasks:
            await tasks.start(serve_application, Router(operator_routes(house.operator)), listener)
            transport = httpx2.AsyncHTTPTransport(uds=path)
            async with httpx2.AsyncClient(transport=transport, base_url="http://palmette", timeout=20) as client:
                yield client
            tasks.cancel_scope.cancel()
