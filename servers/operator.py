"""The operator API: what a person may do with every tree, as JSON over HTTP, and the journal as a stream (E11).

Every route lies under /api. On the operator socket whoever can open it is the person (its directory is 0700); over TCP
`palmette.servers.http` lets only the installation's token in. Errors are `{"error": {kind, message, hint}}`.
"""

import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial, wraps
from typing import Any, TypeVar

import anyio.to_thread
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from palmette.coordination.codec import dumps, encode
from palmette.coordination.errors import PalmetteError, Refused
from palmette.coordination.events import EVENT_TYPES
from palmette.coordination.operator import Operator
from palmette.coordination.values import Channel
from palmette.coordination.verbs import RunOrder
from palmette.servers.stream import EventStream, Filter

__all__ = ["BODY_LIMIT", "RunRequest", "operator_routes"]

logger = logging.getLogger(__name__)

BODY_LIMIT = 8 * 1024 * 1024
"""Bytes of a request's body: a text of 1 MiB, every character of it escaped, fits."""

_WORKER_FROM = 64 * 1024
"""Bytes from which a body is parsed on a worker thread (nothing takes 20 ms on the event loop, DESIGN §2)."""

_NOT_FOUND = frozenset({"unknown_node", "unknown_question", "unknown_profile", "unknown_harness", "not_found"})
_STATUS = {
    "not_permitted": 403,
    "too_large": 413,
    "supervisor_stopping": 503,
    "supervisor_down": 503,
    "journal_unwritable": 507,
}

Handler = Callable[[Request], Awaitable[Response]]
M = TypeVar("M", bound=BaseModel)


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Answer(_Body):
    text: str


class _Steer(_Body):
    text: str
    interrupt: bool = False


class _Stop(_Body):
    reason: str = ""
    grace_s: float | None = Field(None, ge=0, le=3600, allow_inf_nan=False)


class _Shutdown(_Body):
    stop: bool = False


class _Nothing(_Body):
    pass


class RunRequest(_Body):
    """The body of POST /api/runs; the fields are those of `RunOrder`, paths are absolute."""

    task: str
    repository: str | None = None
    base: str | None = None
    profile: str = "driver"
    harness: str = ""
    model: str = ""
    model_source: str = ""
    label: str = Field("root", pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")
    pool: dict[Channel, int] = {}
    deadline_s: int | None = Field(None, gt=0, le=31_536_000)
    max_depth: int | None = Field(None, ge=0, le=64)
    evaluation: bool = False
    person: bool = True
    checks: list[dict[str, Any]] = []


def operator_routes(operator: Operator) -> list[BaseRoute]:
    """The routes over one operator."""

    async def status(_: Request) -> Response:
        return _json(await operator.status())

    async def trees(_: Request) -> Response:
        found = await operator.trees()
        return await anyio.to_thread.run_sync(lambda: _json([encode(view) for view in found]))

    async def tree(request: Request) -> Response:
        view = await operator.tree(_named(request, "tree"))
        return await anyio.to_thread.run_sync(lambda: _json(encode(view)))

    async def adopt(request: Request) -> Response:
        await _body(request, _Nothing)
        return _json(await operator.adopt(_named(request, "tree")))

    async def node(request: Request) -> Response:
        after = _number(request, "after", None)
        limit = _number(request, "limit", 50, least=1, most=500)
        return _json(await operator.node(_named(request, "node"), after=after, limit=limit or 50))

    async def diff(request: Request) -> Response:
        return _json(await operator.diff(_named(request, "node")))

    async def steer(request: Request) -> Response:
        body = await _body(request, _Steer)
        return _json(await operator.steer(_named(request, "node"), body.text, interrupt=body.interrupt))

    async def stop(request: Request) -> Response:
        body = await _body(request, _Stop)
        return _json(await operator.stop(_named(request, "node"), reason=body.reason, grace_s=body.grace_s))

    async def pause(request: Request) -> Response:
        await _body(request, _Nothing)
        return _json(await operator.pause(_named(request, "node")))

    async def resume(request: Request) -> Response:
        await _body(request, _Nothing)
        return _json(await operator.resume(_named(request, "node")))

    async def inbox(_: Request) -> Response:
        return _json(await operator.inbox())

    async def answer(request: Request) -> Response:
        body = await _body(request, _Answer)
        return _json(await operator.answer(_named(request, "question"), body.text))

    async def run(request: Request) -> Response:
        body = await _body(request, RunRequest)
        return _json(await operator.run(RunOrder(**body.model_dump())), 201)

    async def shutdown(request: Request) -> Response:
        body = await _body(request, _Shutdown)
        return _json(await operator.shutdown(body.stop))

    async def events(request: Request) -> Response:
        wanted = _filter(request)
        if "text/event-stream" in request.headers.get("accept", ""):
            after = _number(request, "after", 0) or 0
            last = request.headers.get("last-event-id", "")
            if last.isascii() and last.isdigit() and len(last) < 19:
                after = int(last)  # a client that comes again knows better than its first address
            return EventStream(operator, wanted, after)
        limit = _number(request, "limit", 500, least=1, most=1000) or 500
        after = _number(request, "after", 0) or 0
        page = await operator.events(after, limit, wanted.tree, wanted.node, wanted.kinds)
        return await anyio.to_thread.run_sync(partial(_json, page))

    def get(path: str, handler: Handler) -> Route:
        return Route(f"/api/{path}", _guarded(handler), methods=["GET"])

    def post(path: str, handler: Handler) -> Route:
        return Route(f"/api/{path}", _guarded(handler), methods=["POST"])

    return [
        get("status", status),
        get("trees", trees),
        get("trees/{tree}", tree),
        post("trees/{tree}/adopt", adopt),
        # A node's id has one slash of its own; what is done to it comes behind a second.
        get("nodes/{node:path}/diff", diff),
        post("nodes/{node:path}/steer", steer),
        post("nodes/{node:path}/stop", stop),
        post("nodes/{node:path}/pause", pause),
        post("nodes/{node:path}/resume", resume),
        get("nodes/{node:path}", node),
        get("events", events),
        get("inbox", inbox),
        post("questions/{question}/answer", answer),
        post("runs", run),
        post("shutdown", shutdown),
        Route("/api/{rest:path}", _guarded(_nowhere), methods=["GET", "POST", "PUT", "PATCH", "DELETE"]),
    ]


async def _nowhere(request: Request) -> Response:
    raise PalmetteError(f"there is no {request.method} {request.url.path}", "palmette --help", code="not_found")


def _guarded(handler: Handler) -> Handler:
    """Errors as JSON with the status that says what they are."""

    @wraps(handler)
    async def guarded(request: Request) -> Response:
        try:
            return await handler(request)
        except PalmetteError as error:
            shown: dict[str, Any] = error.as_dict()
            if isinstance(error, Refused) and error.details:
                shown["details"] = error.details
            return _json({"error": shown}, _status(error))
        except ClientDisconnect:
            return Response(status_code=499)
        except Exception:
            logger.exception("%s %s failed", request.method, request.url.path)
            told = {"kind": "internal", "message": "the supervisor failed to answer", "hint": "see its log, then retry"}
            return _json({"error": told}, 500)

    return guarded


def _status(error: PalmetteError) -> int:
    if error.code in _NOT_FOUND:
        return 404
    if error.code in _STATUS:
        return _STATUS[error.code]
    if error.code.startswith("bad_"):
        return 400
    return 409 if isinstance(error, Refused) else 500


def _json(value: Any, status: int = 200) -> Response:
    # A lone surrogate (from a request that is being refused for it) has no UTF-8; JSON has an escape for it.
    body = dumps(value).encode("utf-8", "backslashreplace")
    return Response(body, status, media_type="application/json")


async def _body(request: Request, model: type[M]) -> M:
    """The body, checked; an empty one is `{}`.

    Raises:
        Refused: too_large, bad_text (NUL).
        PalmetteError: `bad_request`, with every problem in one message.
    """
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > BODY_LIMIT:
            raise Refused("too_large", f"the request's body is larger than {BODY_LIMIT} bytes")
    parse = partial(_parsed, bytes(raw) or b"{}", model)
    return parse() if len(raw) < _WORKER_FROM else await anyio.to_thread.run_sync(parse)


def _parsed(raw: bytes, model: type[M]) -> M:
    try:
        value: object = json.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError):
        raise PalmetteError("the request's body is no JSON in UTF-8", code="bad_request") from None
    try:
        return model.model_validate(value)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, p['loc'])) or 'body'}: {p['msg']}" for p in error.errors(include_url=False)]
        raise PalmetteError("; ".join(problems[:20]), code="bad_request") from None


def _named(request: Request, what: str) -> str:
    value: str = request.path_params[what]
    if "\0" in value or len(value) > 500:
        raise Refused("bad_text", f"{what} is no id")
    return value


def _number(request: Request, name: str, default: int | None, *, least: int = 0, most: int = 2**62) -> int | None:
    raw = request.query_params.get(name)
    if raw is None:
        return default
    if not (raw.isascii() and raw.isdigit() and len(raw) < 20 and least <= int(raw) <= most):
        raise PalmetteError(f"{name} must be a whole number from {least} to {most}", code="bad_request")
    return int(raw)


def _filter(request: Request) -> Filter:
    query: Mapping[str, str] = request.query_params
    unknown = sorted(set(query) - {"after", "limit", "tree", "node", "kinds"})
    if unknown:
        raise PalmetteError(f"unknown parameters: {', '.join(unknown)}", code="bad_request")
    kinds = tuple(kind for kind in query.get("kinds", "").split(",") if kind)
    known = {kind for kind, _ in EVENT_TYPES}
    if wrong := sorted(set(kinds) - known):
        raise PalmetteError(
            f"no such kinds of events: {', '.join(wrong)}",
            f"the kinds are {', '.join(sorted(known))}",
            code="bad_kinds",
        )
    return Filter(query.get("tree") or None, query.get("node") or None, kinds)
