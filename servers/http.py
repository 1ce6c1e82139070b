"""MCP and the operator API over TCP on loopback: one application behind one gate (DESIGN "Platforms", §4)."""

import errno
import logging
import os
import socket
from collections.abc import Generator, Sequence
from contextlib import AsyncExitStack, contextmanager, suppress

import anyio
import uvicorn
from anyio.abc import TaskStatus
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import DEFAULT_SESSION_IDLE_TIMEOUT, StreamableHTTPASGIApp
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from palmette.coordination.errors import PalmetteError
from palmette.coordination.ports import Store
from palmette.servers import places
from palmette.servers.access import Access, bearer_token
from palmette.servers.callers import CALLER_SCOPE
from palmette.servers.sessions import Closed, DurableSessions, SessionBook

__all__ = ["ENDPOINTS", "HttpService", "listen", "serve_application"]

logger = logging.getLogger(__name__)

ENDPOINTS = ("/mcp", "/mcp/coordination")
"""Where MCP is spoken: all servers together, and each by itself."""

_HOST = "127.0.0.1"
_OPERATOR = "/api"
_LAST_WORDS_S = 2
"""Seconds that open requests get when the service ends."""


def listen(data: str, port: int) -> socket.socket:
    """A listening socket on loopback. With port 0 the port taken last is taken again if it is free, else any.

    Raises:
        PalmetteError: `port_in_use` for a given port that somebody has.
        PlaceError: the data directory cannot be written.
    """
    remembered = os.path.join(data, "port")
    for wanted in (port,) if port else (_read_port(remembered), 0):
        # With IPPROTO_TCP asyncio switches Nagle's algorithm off; without, each answer takes 40 ms (the gateway note).
        taken = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind((_HOST, wanted))
            taken.listen(2048)
        except OSError as error:
            taken.close()
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            if port or not wanted:
                hint = "give another with --port, or --port 0 for any that is free"
                reason = "is in use" if error.errno == errno.EADDRINUSE else "may not be used by you"
                raise PalmetteError(f"port {port} {reason}", hint, code="port_in_use") from error
            continue
        if not port:
            try:
                places.write_file(remembered, b"%d\n" % taken.getsockname()[1])
            except places.PlaceError:
                taken.close()
                raise
        return taken
    raise AssertionError("port 0 is always tried")


class HttpService:
    """The application on one listening socket."""

    def __init__(
        self,
        listener: socket.socket,
        server: Server[object],
        *,
        store: Store,
        access: Access,
        operator_routes: Sequence[BaseRoute] = (),
        idle_timeout: float = DEFAULT_SESSION_IDLE_TIMEOUT,
        on_closed: Closed | None = None,
    ) -> None:
        """`operator_routes` lie under /api and are for the person's token alone; the rest: see DurableSessions."""
        self._listener = listener
        self.port: int = listener.getsockname()[1]
        self._managers = [
            DurableSessions(server, SessionBook(store, endpoint), idle_timeout=idle_timeout, on_closed=on_closed)
            for endpoint in ENDPOINTS
        ]
        endpoints = zip(ENDPOINTS, self._managers, strict=True)
        routes: list[BaseRoute] = [Route(path, StreamableHTTPASGIApp(manager)) for path, manager in endpoints]
        router = Router([*routes, *operator_routes], redirect_slashes=False)
        self.app: ASGIApp = _Gate(router, access, self.port)

    @property
    def url(self) -> str:
        """The address, without a path."""
        return f"http://{_HOST}:{self.port}"

    @property
    def clients(self) -> int:
        """How many MCP sessions are open."""
        return sum(manager.open_sessions for manager in self._managers)

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; sessions that are open then stay on record."""
        async with anyio.create_task_group() as tasks, AsyncExitStack() as managers:
            for manager in self._managers:
                await managers.enter_async_context(manager.run())
            await tasks.start(serve_application, self.app, self._listener)
            task_status.started()
            await anyio.sleep_forever()


async def serve_application(
    app: ASGIApp, listener: socket.socket, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
) -> None:
    """Serve an ASGI application on a listening socket until cancelled; open requests then get two seconds."""
    # h11: httptools does not strip the white space that ends a header's value (the MCP note, finding 4).
    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_LAST_WORDS_S,
    )
    server = _Server(config, task_status)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve_shielded, listener)
        try:
            await anyio.sleep_forever()
        finally:
            server.should_exit = True


class _Server(uvicorn.Server):
    """uvicorn as one task among others: no signal handlers of its own, and it ends in its own good order."""

    def __init__(self, config: uvicorn.Config, up: TaskStatus[None]) -> None:
        super().__init__(config)
        self._up = up

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield

    async def serve_shielded(self, listener: socket.socket) -> None:
        """Serve until `should_exit`."""
        with anyio.CancelScope(shield=True):
            await self.serve([listener])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._up.started()


class _Gate:
    """What every request passes: the address it was meant for, the page it came from, the path, the token."""

    def __init__(self, app: ASGIApp, access: Access, port: int) -> None:
        self._app = app
        self._access = access
        self._hosts = frozenset({f"{_HOST}:{port}", f"localhost:{port}"})
        self._origins = frozenset(f"http://{host}" for host in self._hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        answer = await self._refusal(scope)
        await (self._app if answer is None else answer)(scope, receive, send)

    async def _refusal(self, scope: Scope) -> JSONResponse | None:
        """Why the request is not served; None if it is, and then the scope says who makes it."""
        headers = Headers(scope=scope)
        path: str = scope["path"]
        operator = path == _OPERATOR or path.startswith(f"{_OPERATOR}/")
        # A page of another site that reaches us by a name of its own, or from a browser at all (DNS rebinding).
        if len(headers.getlist("host")) != 1 or headers["host"].lower() not in self._hosts:
            return _error(421, "wrong_host", "this address does not serve that host", "use the address palmette shows")
        if any(origin.lower() not in self._origins for origin in headers.getlist("origin")):
            return _error(403, "wrong_origin", "a page of another site may not call this", "")
        if not operator and path not in ENDPOINTS:
            return _error(404, "not_found", "there is nothing here", f"MCP is at {' and '.join(ENDPOINTS)}")
        token = bearer_token(headers.get("authorization", ""))
        caller = None if token is None else await self._access.caller(token)
        if caller is None:
            what = "no bearer token came with the request" if token is None else "this token is not known here"
            return _error(401, "unauthorized", what, "send the token of the data directory's `token` file")
        if operator and caller.token is not None:
            return _error(403, "not_permitted", "this is the person's, not an agent's", "")
        scope[CALLER_SCOPE] = caller
        # The SDK compares this user with a session's owner.
        scope["user"] = AuthenticatedUser(AccessToken(token="", client_id=caller.credential, scopes=[]))
        return None


def _error(status: int, kind: str, message: str, hint: str) -> JSONResponse:
    headers = {"WWW-Authenticate": 'Bearer realm="palmette"'} if status == 401 else None
    return JSONResponse({"error": {"kind": kind, "message": message, "hint": hint}}, status, headers)


def _read_port(path: str) -> int:
    with suppress(OSError, ValueError), open(path, encoding="ascii") as file:
        port = int(file.read(6))
        if 1024 <= port < 65536:
            return port
    return 0
