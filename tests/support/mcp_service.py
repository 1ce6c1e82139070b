"""The coordination server over a tree that only records, on a real loopback port and on a real unix socket."""

import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import httpx2
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.server import MCPServer
from starlette.routing import BaseRoute

from palmette.coordination.ports import Store
from palmette.servers import relay
from palmette.servers.access import Access, attempt_check, installation_token
from palmette.servers.coordination import VerbService, coordination_server
from palmette.servers.http import HttpService, listen
from palmette.servers.lines import Accepted, Connection, Hello, Peer, lowlevel, serve_lines

__all__ = ["ERAS", "bearer", "client_over_http", "client_over_lines", "http_service", "line_service", "serving"]

ERAS = ("legacy", "auto", "2026-07-28")
"""The SDK client's ways to open a connection: the handshake, what the server offers, and the modern one."""


@asynccontextmanager
async def http_service(
    data: Path,
    verbs: VerbService,
    store: Store,
    *,
    port: int = 0,
    server: MCPServer[Any] | None = None,
    routes: Sequence[BaseRoute] = (),
    idle_timeout: float = 1800.0,
    on_closed: Callable[[str], Awaitable[None]] | None = None,
) -> AsyncGenerator[HttpService]:
    """One life of the service; entering again with the same store and data directory is a restart."""
    access = Access(installation_token(str(data)), attempt_check(store))
    with listen(str(data), port) as listener:
        service = HttpService(
            listener,
            lowlevel(server or coordination_server(verbs)),
            store=store,
            access=access,
            operator_routes=routes,
            idle_timeout=idle_timeout,
            on_closed=on_closed,
        )
        async with serving(service):
            yield service


@asynccontextmanager
async def serving(service: HttpService) -> AsyncGenerator[None]:
    """Serve until the block ends."""
    async with anyio.create_task_group() as tasks:
        await tasks.start(service.serve)
        yield
        tasks.cancel_scope.cancel()


def bearer(data: Path) -> dict[str, str]:
    """The header that a client of the person sends."""
    return {"Authorization": f"Bearer {installation_token(str(data))}"}


@asynccontextmanager
async def client_over_http(
    service: HttpService, headers: Mapping[str, str], era: str, *, path: str = "/mcp/coordination"
) -> AsyncGenerator[Client]:
    """The SDK's client on the service."""
    async with (
        httpx2.AsyncClient(headers=dict(headers), timeout=30) as http,
        Client(streamable_http_client(service.url + path, http_client=http), mode=era) as client,
    ):
        yield client


@asynccontextmanager
async def line_service(
    path: Path,
    verbs: VerbService,
    *,
    server: MCPServer[Any] | None = None,
    on_bye: Callable[[Connection], Awaitable[None]] | None = None,
) -> AsyncGenerator[str]:
    """The server as JSON lines on a unix socket; yields the socket's path."""
    low = lowlevel(server or coordination_server(verbs))

    async def connect(hello: Hello, peer: Peer) -> Accepted:
        return Accepted(low)

    async with anyio.create_task_group() as tasks:
        await tasks.start(partial(serve_lines, on_bye=on_bye), str(path), connect)
        yield str(path)
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def client_over_lines(
    socket_path: str, era: str, *, environment: Mapping[str, str] | None = None
) -> AsyncGenerator[Client]:
    """The SDK's client on a real relay process that dials the socket."""
    argv = ["-I", "-S", str(Path(relay.__file__)), "--socket", socket_path]
    parameters = StdioServerParameters(command=sys.executable, args=argv, env=dict(environment or {}))
    async with Client(parameters, mode=era) as client:
        yield client
