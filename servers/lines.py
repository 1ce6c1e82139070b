"""MCP as JSON lines on a unix socket: the supervisor's end of `palmette mcp`.

Each connection says hello, is accepted or refused by the composition root, and is then served by the SDK's own stdio
loop, so both protocol eras pass because the bytes are those of a stdio server. Who calls is known by the connection
alone (S1): `CONNECTION` holds it in every tool, resolver and middleware. Source: the stdio-relay note, section 1, R7 to
R11.
"""

import json
import logging
import os
from collections import deque
from collections.abc import Awaitable, Callable, Set
from contextvars import ContextVar
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Annotated, Any, Literal, cast

import anyio
import anyio.to_thread
import mcp_types as types
from anyio.abc import TaskStatus
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.server import MCPServer
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.server.mcpserver import Context
from mcp.server.models import InitializationOptions
from mcp.server.runner import serve_dual_era_loop
from mcp.shared.message import SessionMessage
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from palmette import __version__
from palmette.servers.relay_exchange import SINCE_META
from palmette.servers.relay_wire import HELLO_LIMIT, WIRE, LineCutter, root_environment
from palmette.servers.unix_socket import Peer, UnixSocket, accept_all, listening

__all__ = [
    "CONNECTION",
    "Accepted",
    "Connection",
    "Hello",
    "HelloRefusedError",
    "Peer",
    "lowlevel",
    "request_key",
    "seconds_waited",
    "serve_lines",
]

logger = logging.getLogger(__name__)

_HELLO_SECONDS = 10.0
_BYE_SECONDS = 5.0
_LAST_WORDS_SECONDS = 2.0
_INLINE_PARSE = 128 * 1024
"""Bytes above which a line is parsed in a worker thread, off the event loop (DESIGN §2: at most 20 ms on it)."""
_CHUNK = 256 * 1024


class HelloRefusedError(Exception):
    """The composition root does not serve this relay: a machine code, a sentence, and what to do next."""

    def __init__(self, code: str, message: str, hint: str = "palmette doctor") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint


class Hello(BaseModel):
    """The first line of a relay. What it claims is no identity, save `token`, which the composition root checks."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    version: Annotated[str, StringConstraints(max_length=100)]
    session: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{8,128}$")]
    token: Annotated[str, StringConstraints(max_length=1000)] | None = Field(default=None, repr=False)
    pid: int
    ppid: int
    cwd: Annotated[str, StringConstraints(max_length=8192)]
    only: Literal["coordination", "checks", "corpus"] | None = None
    env: dict[str, str] = {}


@dataclass(frozen=True)
class Connection:
    """One accepted connection. `session` outlives it: a relay that reconnects brings the same one.

    `context` is what the composition root made of the hello (a principal, say). `env` holds the R11 names only.
    """

    connection_id: str
    session: str
    token: str | None = field(repr=False)
    pid: int
    uid: int
    cwd: str
    env: dict[str, str]
    only: str | None
    version: str
    context: object = None


@dataclass(frozen=True)
class Accepted:
    """The composition root's yes: the server this connection gets.

    Its tools find `context` in `CONNECTION.get().context`, and `lifespan` where the SDK keeps the lifespan's context.
    """

    server: Server[Any]
    context: object = None
    lifespan: object = field(default_factory=dict[str, object])


CONNECTION: ContextVar[Connection] = ContextVar("palmette_connection")
"""The connection a request came by; set in everything the SDK runs for it."""

Connect = Callable[[Hello, Peer], Awaitable[Accepted]]
Bye = Callable[[Connection], Awaitable[None]]


async def serve_lines(
    path: str,
    connect: Connect,
    *,
    on_bye: Bye | None = None,
    uids: Set[int] = frozenset(),
    version: str = __version__,
    wire: int = WIRE,
    task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Listen on the unix socket `path` (0600; its directory is the caller's, 0700) until cancelled.

    `connect` decides on each hello (raise HelloRefusedError to refuse). `on_bye` hears of each end of an accepted
    connection: the caller is detached then, nothing is settled (R8); one that reconnects may be back before its bye.
    Peers of our own user are served, and of `uids`. Raises what `unix_socket.listening` raises.
    """
    service = _Service(connect, on_bye, frozenset({os.getuid(), *uids}), version, wire)
    with listening(path) as listener:
        task_status.started()
        await accept_all(listener, service.connection)


def lowlevel(server: MCPServer[Any]) -> Server[Any]:
    """The SDK's low-level server inside an MCPServer, which has no public name for it."""
    return server._lowlevel_server  # pyright: ignore[reportPrivateUsage]


def request_key(ctx: Context[Any]) -> str:
    """The JSON-RPC id under which the harness sent this request, unchanged over restarts; 1 and "1" are two keys.

    With the connection's session it is the idempotency key of a verb. (`ctx.request_id` makes both of them "1".)
    """
    return json.dumps(ctx.request_context.request_id)


def seconds_waited(ctx: Context[Any]) -> float:
    """Seconds this request had waited already when it was sent again after a restart; 0.0 for a first sending."""
    waited = cast(dict[str, object], ctx.request_context.meta or {}).get(SINCE_META)
    return float(waited) if isinstance(waited, int | float) and not isinstance(waited, bool) and waited > 0 else 0.0


class _Service:
    """What all connections of one socket share."""

    def __init__(self, connect: Connect, on_bye: Bye | None, uids: frozenset[int], version: str, wire: int) -> None:
        self._connect = connect
        self._on_bye = on_bye
        self._uids = uids
        self._version = version
        self._wire = wire

    async def connection(self, stream: UnixSocket) -> None:
        """Serve one connection to its end; its faults are its own."""
        try:
            await self._serve(stream)
        except (anyio.BrokenResourceError, anyio.EndOfStream):
            logger.debug("a relay went away")
        except Exception:
            logger.exception("a relay's connection failed")

    async def _serve(self, stream: UnixSocket) -> None:
        peer = stream.peer()
        try:
            with anyio.fail_after(_HELLO_SECONDS):
                hello, rest = await self._hello(stream, peer)
                accepted = await self._connect(hello, peer)
        except TimeoutError:
            return
        except HelloRefusedError as refusal:
            await _say(stream, self._greeting(error=refusal.code, message=refusal.message, hint=refusal.hint))
            return
        connection = Connection(
            connection_id=token_hex(8),
            session=hello.session,
            token=hello.token,
            pid=peer.pid,
            uid=peer.uid,
            cwd=hello.cwd,
            env=root_environment(hello.env),
            only=hello.only,
            version=hello.version,
            context=accepted.context,
        )
        CONNECTION.set(connection)
        try:
            await _say(stream, self._greeting(pid=os.getpid()))
            await _converse(stream, rest, accepted, self._options(accepted.server, hello), hello.session)
        finally:
            if self._on_bye is not None:
                with anyio.move_on_after(_BYE_SECONDS, shield=True):
                    await self._on_bye(connection)

    async def _hello(self, stream: UnixSocket, peer: Peer) -> tuple[Hello, bytes]:
        head = b""
        while b"\n" not in head:
            if len(head) > HELLO_LIMIT:
                raise HelloRefusedError("bad_hello", f"the hello is over {HELLO_LIMIT} bytes")
            head += await stream.receive(HELLO_LIMIT)
        line, _, rest = head.partition(b"\n")
        if peer.uid not in self._uids:
            raise HelloRefusedError("foreign_user", f"this supervisor does not serve uid {peer.uid}", "palmette up")
        try:
            said: object = json.loads(line)
        except (ValueError, RecursionError):
            said = None
        wire = cast(dict[str, object], said).pop("palmette", None) if isinstance(said, dict) else None
        if wire is None:
            raise HelloRefusedError("bad_hello", "the first line is no palmette hello", "connect with palmette mcp")
        if wire != self._wire or isinstance(wire, bool):
            theirs = cast(dict[str, object], said).get("version")
            raise HelloRefusedError(
                "wire_version",
                f"the relay (palmette {theirs!s:.100}) speaks wire version {wire!s:.20}, this supervisor (palmette "
                f"{self._version}) speaks {self._wire}",
                "palmette down && palmette up, then start the session again",
            )
        try:
            return Hello.model_validate(said), rest
        except ValidationError as error:
            names = ", ".join(sorted({str(problem["loc"][0]) for problem in error.errors() if problem["loc"]}))
            raise HelloRefusedError("bad_hello", f"the hello's {names} cannot be read", "palmette doctor") from error

    def _greeting(self, **words: object) -> dict[str, object]:
        return {"palmette": self._wire, "version": self._version, **words}

    def _options(self, server: Server[Any], hello: Hello) -> InitializationOptions:
        """The tool list may change (a granted role), so legacy clients are told that it can (the note, section 5)."""
        options = server.create_initialization_options(NotificationOptions(tools_changed=True))
        if hello.version == self._version:
            return options
        note = (
            f"(palmette {self._version} serves this session through a relay of palmette {hello.version}; "
            "restarting the session brings the two together.)"
        )
        return options.model_copy(update={"instructions": "\n\n".join(filter(None, (options.instructions, note)))})


async def _converse(
    stream: UnixSocket, rest: bytes, accepted: Accepted, options: InitializationOptions, session: str
) -> None:
    """Run the SDK's loop between the stream's lines until the peer has no more to say.

    When we are cancelled instead, the writer ends with us, so that the SDK's farewell to open requests (an error,
    "Connection closed") is never sent: the relay would take it for the answer to a request that it must send to the
    next supervisor.
    """
    to_server, from_peer = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    to_peer, from_server = anyio.create_memory_object_stream[SessionMessage](0)
    written = anyio.Event()

    async def write() -> None:
        try:
            await _write(stream, from_server)
        finally:
            written.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_read, stream, rest, to_server, to_peer.clone())
        tasks.start_soon(write)
        await serve_dual_era_loop(
            accepted.server,
            from_peer,
            to_peer,
            lifespan_state=accepted.lifespan,
            session_id=session,
            init_options=options,
        )
        with anyio.move_on_after(_LAST_WORDS_SECONDS):
            await written.wait()
        tasks.cancel_scope.cancel()


async def _read(
    stream: UnixSocket,
    rest: bytes,
    to_server: MemoryObjectSendStream[SessionMessage | Exception],
    to_peer: MemoryObjectSendStream[SessionMessage],
) -> None:
    cutter = LineCutter()
    lines = deque(cutter.feed(rest))
    async with to_server, to_peer:
        try:
            while True:
                while lines:
                    message = await _parse(lines.popleft())
                    if isinstance(message, _Unreadable):
                        await to_peer.send(SessionMessage(message.answer))
                    else:
                        await to_server.send(SessionMessage(message))
                lines.extend(cutter.feed(await stream.receive(_CHUNK)))
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return


async def _write(stream: UnixSocket, from_server: MemoryObjectReceiveStream[SessionMessage]) -> None:
    """Send what the server says as fast as the peer reads; a slow one makes its own handlers wait, nothing piles up."""
    async with from_server:
        async for item in from_server:
            try:
                await stream.send(item.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n")
            except anyio.BrokenResourceError:
                return


@dataclass(frozen=True)
class _Unreadable:
    """Our answer to a line that is no message."""

    answer: types.JSONRPCError


async def _parse(line: bytes | None) -> types.JSONRPCMessage | _Unreadable:
    if line is None:
        return _refusal(None, types.INVALID_REQUEST, "the line is over 16 MiB and was dropped")
    if len(line) > _INLINE_PARSE:
        return await anyio.to_thread.run_sync(_parse_now, line)
    return _parse_now(line)


def _parse_now(line: bytes) -> types.JSONRPCMessage | _Unreadable:
    try:
        return types.jsonrpc_message_adapter.validate_json(line, by_name=False)
    except ValidationError:
        pass
    try:
        found: object = json.loads(line)
    except (ValueError, RecursionError):
        return _refusal(None, types.PARSE_ERROR, "Parse error: the line is not JSON")
    request_id = cast(dict[str, object], found).get("id") if isinstance(found, dict) else None
    known = request_id if isinstance(request_id, str | int) and not isinstance(request_id, bool) else None
    return _refusal(known, types.INVALID_REQUEST, "the line is no JSON-RPC message")


def _refusal(request_id: str | int | None, code: int, message: str) -> _Unreadable:
    error = types.ErrorData(code=code, message=message)
    return _Unreadable(types.JSONRPCError(jsonrpc="2.0", id=request_id, error=error))


async def _say(stream: UnixSocket, words: dict[str, object]) -> None:
    await stream.send(json.dumps(words, separators=(",", ":")).encode() + b"\n")
