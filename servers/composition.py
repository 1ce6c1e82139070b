"""The composition root: one supervisor process, from its data directory to its sockets (DESIGN §2)."""

import fcntl
import json
import logging
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator, Callable, Generator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import anyio
from anyio.abc import TaskGroup, TaskStatus
from mcp.server.lowlevel import Server
from starlette.routing import BaseRoute, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from palmette.coordination.errors import PalmetteError
from palmette.coordination.identity import token_digest
from palmette.coordination.operator import Operator
from palmette.coordination.ports import CheckRunner, Harnesses, Models, Prices, Store, Workspaces
from palmette.coordination.records import Tree
from palmette.coordination.store import SqliteStore
from palmette.coordination.supervisor.settings import Settings
from palmette.coordination.supervisor.supervisor import Supervisor
from palmette.coordination.timepieces import RandomIds, SystemClock
from palmette.coordination.verbs import Verbs
from palmette.servers import places
from palmette.servers.access import Access, attempt_check, installation_token
from palmette.servers.coordination import coordination_server
from palmette.servers.http import HttpService, listen, serve_application
from palmette.servers.lines import Accepted, Connection, Hello, HelloRefusedError, Peer, lowlevel, serve_lines
from palmette.servers.presence import Presence
from palmette.servers.unix_socket import listening

__all__ = ["API_SOCKET", "IDLE_EXIT_S", "Outside", "Running", "supervise", "supervisor_record"]

logger = logging.getLogger(__name__)

API_SOCKET = "api.sock"
"""The socket that speaks the operator API."""

IDLE_EXIT_S = 15 * 60.0
"""A supervisor with no tree and no client ends after this many seconds (DESIGN §2)."""

_LOOK_EVERY_S = 5.0
_FILES = 65_536


@dataclass(frozen=True, slots=True)
class Outside:
    """What the supervisor reaches the world through: the ports that other folders fill."""

    harnesses: Harnesses
    workspaces: Workspaces
    checks: CheckRunner
    prices: Prices
    models: Models


@dataclass(frozen=True, slots=True)
class Running:
    """A supervisor at work: what `supervisor.json` says of it."""

    pid: int
    version: str
    url: str
    mcp_socket: str
    api_socket: str
    data: str

    def as_dict(self) -> dict[str, Any]:
        """The form in which it is written and shown."""
        return {
            "pid": self.pid,
            "version": self.version,
            "addresses": {"http": self.url, "mcp": self.mcp_socket, "api": self.api_socket},
            "data": self.data,
        }


OpenOutside = Callable[[Settings, Store], AbstractAsyncContextManager[Outside]]
OperatorRoutes = Callable[[Operator], list[BaseRoute]]


async def supervise(
    settings: Settings,
    *,
    port: int = 0,
    idle_exit_s: float = IDLE_EXIT_S,
    open_outside: OpenOutside,
    operator_routes: OperatorRoutes,
    on_ready: Callable[[Running], None] | None = None,
) -> None:
    """Run a supervisor until SIGTERM, SIGINT, the operator's shutdown, or idleness; then park what is live.

    `settings.relay_argv` may be empty: nodes then get this installation's relay on this supervisor's socket.

    Raises:
        PalmetteError: `supervisor_running`, `port_in_use`, `bad_token_file`, JournalLocked, JournalCorrupt.
        PlaceError: a directory cannot be used.
    """
    os.umask(0o077)
    _raise_file_limit()
    data = places.ensure_data_directory(str(settings.data))
    with _owning(data):
        runtime = places.claim_runtime(data)
        mcp_socket, api_socket = (places.socket_path(runtime, name) for name in (places.MCP_SOCKET, API_SOCKET))
        if not settings.relay_argv:
            settings = replace(settings, relay_argv=_relay_argv(mcp_socket))
        token = installation_token(data)
        clock = SystemClock()
        listener = listen(data, port)
        async with SqliteStore.open(Path(data), clock) as store, open_outside(settings, store) as outside:
            supervisor = Supervisor(
                settings,
                store=store,
                clock=clock,
                ids=RandomIds(),
                harnesses=outside.harnesses,
                workspaces=outside.workspaces,
                checks=outside.checks,
                prices=outside.prices,
                models=outside.models,
            )
            house = _House(supervisor, store, token)
            routes = operator_routes(house.operator)
            with listener, listening(api_socket) as api_listener:
                http = HttpService(
                    listener,
                    house.server,
                    store=store,
                    access=house.access,
                    operator_routes=[*routes],
                    on_closed=house.presence.closed,
                )
                running = Running(os.getpid(), settings.version, http.url, mcp_socket, api_socket, data)
                async with supervisor.running(), anyio.create_task_group() as tasks:
                    await tasks.start(http.serve)
                    api = _Counted(Router(routes, redirect_slashes=False))
                    await tasks.start(serve_application, api, api_listener)
                    await tasks.start(house.serve_lines, mcp_socket)
                    with _written(data, running), anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
                        if on_ready is not None:
                            on_ready(running)
                        async with anyio.create_task_group() as ends:
                            ends.start_soon(_on_signal, signals, ends)
                            ends.start_soon(_on_event, house.operator.asked_to_end, ends)
                            ends.start_soon(_on_idleness, house, http, api, idle_exit_s, ends)
                    tasks.cancel_scope.cancel()


def supervisor_record(data: str) -> str:
    """The file that tells pid, addresses and version of the running (or last) supervisor; 0600."""
    return os.path.join(data, "supervisor.json")


class _EndingOperator(Operator):
    """The operator, whose shutdown ends this process."""

    def __init__(self, supervisor: Supervisor) -> None:
        super().__init__(supervisor)
        self.asked_to_end = anyio.Event()

    async def shutdown(self, stop: bool) -> dict[str, Any]:
        """See Operator; the process ends after the answer."""
        answer = await super().shutdown(stop)
        self.asked_to_end.set()
        return answer


class _House:
    """The servers over one supervisor, and who may come in."""

    def __init__(self, supervisor: Supervisor, store: Store, token: str) -> None:
        self._store = store
        self._verbs = Verbs(supervisor)
        self._is_live_attempt = attempt_check(store)
        self.presence = Presence(self._verbs.bye)
        self.operator = _EndingOperator(supervisor)
        self.server: Server[Any] = lowlevel(coordination_server(self._verbs, identify=self.presence.identify))
        self.access = Access(token, self._is_live_attempt)

    async def serve_lines(self, path: str, *, task_status: TaskStatus[None]) -> None:
        """Serve relays until cancelled."""
        await serve_lines(path, self._accept, on_bye=self._left, task_status=task_status)

    async def open_trees(self) -> int:
        """How many trees are open."""
        return await self._store.read(lambda reading: len(reading.find(Tree, state="open")))

    async def _accept(self, hello: Hello, peer: Peer) -> Accepted:
        if hello.only not in (None, "coordination"):
            raise HelloRefusedError("unknown_server", f"this supervisor has no {hello.only} server", "leave --only out")
        if hello.token is not None and not await self._is_live_attempt(token_digest(hello.token)):
            raise HelloRefusedError("attempt_over", "this token belongs to no live attempt", "palmette tree")
        self.presence.came(hello.session)
        return Accepted(self.server)

    async def _left(self, connection: Connection) -> None:
        await self.presence.left(connection.session)


class _Counted:
    """An application that knows how many requests it is answering."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.open += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self.open -= 1


async def _on_signal(signals: AsyncIterator[signal.Signals], ends: TaskGroup) -> None:
    async for name in signals:
        logger.info("%s: going down", name.name)
        ends.cancel_scope.cancel()


async def _on_event(event: anyio.Event, ends: TaskGroup) -> None:
    await event.wait()
    ends.cancel_scope.cancel()


async def _on_idleness(house: _House, http: HttpService, api: _Counted, idle_exit_s: float, ends: TaskGroup) -> None:
    """End when there has been no tree and no client for that long."""
    busy_at = anyio.current_time()
    while anyio.current_time() - busy_at < idle_exit_s:
        await anyio.sleep(min(_LOOK_EVERY_S, idle_exit_s))
        if house.presence.lines or http.clients or api.open or await house.open_trees():
            busy_at = anyio.current_time()
    logger.info("no tree and no client for %d seconds: going down", idle_exit_s)
    ends.cancel_scope.cancel()


@contextmanager
def _owning(data: str) -> Generator[None]:
    """Hold the data directory for this life (R2)."""
    lock = os.open(places.supervisor_lock(data), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = _recorded(data).get("pid")
            who = "another supervisor" if pid is None else f"another supervisor (pid {pid})"
            hint = f"palmette up --status --data {data}"
            raise PalmetteError(f"{who} owns {data}", hint, code="supervisor_running") from None
        with suppress(FileNotFoundError):
            os.unlink(supervisor_record(data))  # a killed life's: nobody may take it for ours
        yield
    finally:
        os.close(lock)


@contextmanager
def _written(data: str, running: Running) -> Generator[None]:
    """`supervisor.json` while it holds."""
    path = supervisor_record(data)
    places.write_file(path, json.dumps(running.as_dict()).encode() + b"\n")
    try:
        yield
    finally:
        with suppress(OSError):
            os.unlink(path)


def _recorded(data: str) -> Mapping[str, Any]:
    with suppress(OSError, ValueError), open(supervisor_record(data), encoding="utf-8") as file:
        found: object = json.load(file)
        if isinstance(found, dict):
            return cast(Mapping[str, Any], found)
    return {}


def _relay_argv(socket_path: str) -> tuple[str, ...]:
    """The relay for nodes: the standard library alone, on this supervisor's socket (R10, R12)."""
    return (sys.executable, "-I", "-S", str(Path(__file__).with_name("relay.py")), "--socket", socket_path)


def _raise_file_limit() -> None:
    """A thousand waiting calls are a thousand descriptors, and the soft limit is often 1,024 (the MCP note, §5)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
