"""MCP sessions over HTTP that outlive the supervisor (S5), kept in the journal.

The SDK holds a session in a dictionary of its process: after a restart the client gets 404, which some mishandle (the
MCP note, finding 2). Here the handshake is recorded before it is answered, and a session that is asked for by a client
with the same credential is made again from its record. What a call in flight loses is S4's business, not a session's.
"""

import logging
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any, cast

import anyio
from anyio.abc import TaskGroup, TaskStatus
from mcp.server.auth.middleware.bearer_auth import AuthorizationContext
from mcp.server.connection import Connection
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.runner import serve_connection
from mcp.server.streamable_http import MCP_SESSION_ID_HEADER, StreamableHTTPServerTransport
from mcp.server.streamable_http_manager import DEFAULT_SESSION_IDLE_TIMEOUT, StreamableHTTPSessionManager
from mcp.shared.jsonrpc_dispatcher import JSONRPCDispatcher
from mcp_types import InitializeRequestParams
from pydantic import ValidationError
from starlette.types import Receive, Scope, Send

from palmette.coordination.events import Draft, HttpSessionClosed, HttpSessionOpened
from palmette.coordination.ports import Store, Transaction
from palmette.coordination.records import HttpSession
from palmette.servers.access import HttpCaller
from palmette.servers.callers import CALLER_SCOPE

__all__ = ["Closed", "DurableSessions", "SessionBook"]

logger = logging.getLogger(__name__)

BODY_LIMIT = 8 * 1024 * 1024
"""Bytes of a request: a text of 1 MiB still passes when its client escapes every character of it."""

_OPENING: ContextVar["tuple[SessionBook, str, str]"] = ContextVar("palmette_opening_session")
"""The book, session id and credential of the handshake that is being answered."""


Closed = Callable[[str], Awaitable[None]]
"""Called with the name of a session that has ended."""


class SessionBook:
    """The sessions of one endpoint, as the journal has them."""

    def __init__(self, store: Store, endpoint: str) -> None:
        self._store = store
        self._endpoint = endpoint

    async def opened(self, session: str, credential: str, version: str, params: Mapping[str, Any]) -> None:
        """Record a handshake; durable when this returns."""
        data = HttpSessionOpened(session, self._endpoint, credential, version, dict(params))
        await self._store.transact(lambda tx: tx.append(Draft(data)) and None)

    async def closed(self, sessions: Iterable[str]) -> None:
        """Forget sessions; those that are not on record are passed over."""
        names = list(sessions)

        def command(tx: Transaction) -> None:
            for name in names:
                if tx.get(HttpSession, name) is not None:
                    tx.append(Draft(HttpSessionClosed(name)))

        await self._store.transact(command)

    async def find(self, session: str) -> HttpSession | None:
        """The session's record, if it was opened at this endpoint."""
        found = await self._store.read(lambda reading: reading.get(HttpSession, session))
        return found if found is not None and found.endpoint == self._endpoint else None

    async def known(self) -> list[str]:
        """Every session on record."""
        records = await self._store.read(lambda reading: list(reading.all(HttpSession)))
        return [record.id for record in records if record.endpoint == self._endpoint]


class DurableSessions(StreamableHTTPSessionManager):
    """The SDK's session manager, whose sessions survive it.

    It reaches into the manager's private parts, which has no other seam: the SDK's minor version is pinned.
    """

    def __init__(
        self,
        server: Server[Any],
        book: SessionBook,
        *,
        idle_timeout: float = DEFAULT_SESSION_IDLE_TIMEOUT,
        on_closed: Closed | None = None,
    ) -> None:
        """`idle_timeout`: seconds without a request after which a session is closed, also across a restart.

        `on_closed` hears of every session that its client ended or that was idle for too long.
        """
        super().__init__(server, session_idle_timeout=idle_timeout, max_request_body_size=BODY_LIMIT)
        server.middleware.append(self._record)
        self._book = book
        self._idle_timeout = idle_timeout
        self._on_closed = on_closed
        self._making = anyio.Lock()

    @property
    def open_sessions(self) -> int:
        """How many sessions have a client, or had one within the idle timeout."""
        return len(self._server_instances)

    @asynccontextmanager
    async def run(self) -> AsyncGenerator[None]:
        """Serve until the block ends; sessions that are open then stay on record."""
        async with anyio.create_task_group() as tasks, super().run():
            tasks.start_soon(self._forget_the_absent, await self._book.known())
            yield
            tasks.cancel_scope.cancel()

    async def _forget_the_absent(self, known: list[str]) -> None:
        """Close the sessions of an earlier life whose clients have not come back within the idle timeout."""
        await anyio.sleep(self._idle_timeout)
        await self._book.closed(name for name in known if name not in self._server_instances)

    async def _record(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Middleware: a handshake is on record before the client learns its session (E1)."""
        result = await call_next(ctx)
        opening = _OPENING.get(None) if ctx.method == "initialize" else None
        if opening is not None and opening[0] is self._book and isinstance(result, dict):
            _, session, credential = opening
            await self._book.opened(session, credential, str(result["protocolVersion"]), ctx.params or {})
        return result

    async def _serve_opening_request(
        self, http_transport: StreamableHTTPServerTransport, scope: Scope, receive: Receive, send: Send
    ) -> None:
        session = cast(str, http_transport.mcp_session_id)
        _OPENING.set((self._book, session, cast(HttpCaller, scope[CALLER_SCOPE]).credential))
        await super()._serve_opening_request(http_transport, scope, receive, send)

    async def _handle_stateful_request(self, scope: Scope, receive: Receive, send: Send) -> None:
        session = _session_of(scope)
        if session is not None and session not in self._server_instances:
            async with self._making:
                if session not in self._server_instances:
                    await self._make_again(session, cast(HttpCaller, scope[CALLER_SCOPE]))
        await super()._handle_stateful_request(scope, receive, send)

    async def _make_again(self, session: str, caller: HttpCaller) -> None:
        """Bring a recorded session back, if it was this credential's; the manager answers 404 if it is not there."""
        record = await self._book.find(session)
        if record is None or record.credential != caller.credential:
            return
        try:
            params = InitializeRequestParams.model_validate(record.params)
        except ValidationError:
            logger.exception("the record of session %s cannot be read", session)
            return
        transport = StreamableHTTPServerTransport(
            mcp_session_id=session,
            security_settings=self.security_settings,
            idle_timeout=self.session_idle_timeout,
        )
        await cast(TaskGroup, self._task_group).start(self._serve_again, session, transport, record, params)

    async def _serve_again(
        self,
        session: str,
        transport: StreamableHTTPServerTransport,
        record: HttpSession,
        params: InitializeRequestParams,
        *,
        task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        async with transport.connect() as (read, write):
            dispatcher: JSONRPCDispatcher[Any] = JSONRPCDispatcher(
                read, write, inline_methods=frozenset({"initialize"})
            )
            connection = Connection.for_loop(dispatcher, session_id=session)
            connection.client_params = params
            connection.protocol_version = record.protocol_version
            connection.initialized.set()
            self._server_instances[session] = transport
            self._session_owners[session] = session_owner(record.credential)
            task_status.started()
            try:
                with transport.idle_scope or anyio.CancelScope():
                    await serve_connection(
                        self.app, dispatcher, connection=connection, lifespan_state=self._lifespan_state
                    )
            except Exception:
                logger.exception("session %s crashed", session)
            finally:
                await self._discard_session(session, transport)

    async def _discard_session(self, session_id: str, transport: StreamableHTTPServerTransport) -> None:
        was_open = session_id in self._server_instances
        await super()._discard_session(session_id, transport)
        if was_open and not _being_cancelled():
            with anyio.CancelScope(shield=True):
                await self._book.closed([session_id])
                if self._on_closed is not None:
                    await self._on_closed(session_id)


def _being_cancelled() -> bool:
    """Whether this is the service's end, and no session's own: that leaves its record alone."""
    return anyio.current_effective_deadline() == -math.inf


def session_owner(credential: str) -> AuthorizationContext:
    """Whose a session is, in the SDK's terms: only requests with the same credential reach it."""
    return AuthorizationContext(client_id=credential, issuer=None, subject=None)


def _session_of(scope: Scope) -> str | None:
    wanted = MCP_SESSION_ID_HEADER.encode()
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == wanted), None)
