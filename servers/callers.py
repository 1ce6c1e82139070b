"""From a request to who makes it: read off the connection alone, never off an argument (S1)."""

import json
import os
from collections.abc import Mapping
from typing import Any, cast

from mcp.server.context import ServerRequestContext

from palmette.coordination.identity import CallKey, Visitor
from palmette.servers.access import HttpCaller
from palmette.servers.lines import CONNECTION, Connection

__all__ = ["CALLER_SCOPE", "HTTP_UNBOUND", "call_key", "visitor_of"]

CALLER_SCOPE = "palmette.caller"
"""Where the ASGI scope holds the HttpCaller."""

HTTP_UNBOUND = "http:"
"""How the connection of a visitor begins that came over HTTP without a session; nothing tells when it has gone."""

_CODEX_META = "x-codex-turn-metadata"
_NAME_LIMIT = 60
_SESSION_LIMIT = 200

Request = ServerRequestContext[Any, Any]


def visitor_of(ctx: Request) -> Visitor:
    """Who calls: by the socket the request came through, or by its bearer token and MCP session.

    Raises:
        LookupError: the request came by neither road, which is a fault of the composition.
    """
    http = _http_scope(ctx)
    if http is None:
        return _by_lines(ctx, CONNECTION.get())
    return _by_http(ctx, cast(HttpCaller, http[CALLER_SCOPE]), _session_header(http))


def call_key(ctx: Request, visitor: Visitor) -> CallKey | None:
    """The request's idempotency key (DESIGN §2); None over HTTP without a session.

    There ids are counted anew by every process of the client, so the same id does not mean the same request.
    """
    http = _http_scope(ctx)
    if http is not None and _session_header(http) is None:
        return None
    return CallKey(visitor.connection, json.dumps(ctx.request_id))  # 1 and "1" are two requests


def _by_lines(ctx: Request, connection: Connection) -> Visitor:
    if connection.token is not None:
        return Visitor(connection.session, connection.token, _client_name(ctx))
    entrypoint = connection.env.get("CLAUDE_CODE_ENTRYPOINT", "")
    return Visitor(
        connection=connection.session,
        harness=_client_name(ctx),
        session=_clean(connection.env.get("CLAUDE_CODE_SESSION_ID"), _SESSION_LIMIT) or _codex_session(ctx),
        directory=_directory(connection),
        person=_elicits(ctx) and not entrypoint.startswith("sdk"),
    )


def _by_http(ctx: Request, caller: HttpCaller, session: str | None) -> Visitor:
    name = _client_name(ctx)
    # Without a session (2026-07-28) nothing tells two processes of one client apart: they share a root.
    connection = session or f"{HTTP_UNBOUND}{caller.credential[:16]}:{name}"
    if caller.token is not None:
        return Visitor(connection, caller.token, name)
    return Visitor(connection=connection, harness=name, session=_codex_session(ctx), person=_elicits(ctx))


def _http_scope(ctx: Request) -> Mapping[str, Any] | None:
    return getattr(ctx.request, "scope", None)


def _session_header(scope: Mapping[str, Any]) -> str | None:
    for name, value in scope["headers"]:
        if name == b"mcp-session-id":
            return cast(bytes, value).decode("latin-1")
    return None


def _client_name(ctx: Request) -> str:
    params = ctx.session.client_params
    return (_clean(params.client_info.name, _NAME_LIMIT) if params is not None else None) or "unknown"


def _elicits(ctx: Request) -> bool:
    capabilities = ctx.session.client_capabilities
    return capabilities is not None and capabilities.elicitation is not None


def _codex_session(ctx: Request) -> str | None:
    """Codex names its session on each call, and nowhere else (R11)."""
    told = cast(Mapping[str, object], ctx.meta or {}).get(_CODEX_META)
    session = cast(Mapping[str, object], told).get("session_id") if isinstance(told, Mapping) else None
    return _clean(session, _SESSION_LIMIT)


def _directory(connection: Connection) -> str:
    project = connection.env.get("CLAUDE_PROJECT_DIR", "")
    return project if os.path.isabs(project) and "\0" not in project else connection.cwd


def _clean(value: object, limit: int) -> str | None:
    """A name that a client gives itself, fit for a key and a record; None if it is no text or longer than `limit`."""
    if not isinstance(value, str) or not 0 < len(value) <= limit or not value.isprintable():
        return None
    return value
