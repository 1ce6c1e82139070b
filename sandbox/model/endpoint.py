"""The HTTP application: three dialects, their model lists and token counts, one script."""

import json
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from palmette.sandbox.model.delivery import Delivery, planned
from palmette.sandbox.model.dialects import CHAT, MESSAGES, RESPONSES, Dialect
from palmette.sandbox.model.dialects.anthropic import parse_to_count
from palmette.sandbox.model.errors import PlayError, RequestError
from palmette.sandbox.model.player import Failure, play
from palmette.sandbox.model.script import Script
from palmette.sandbox.model.values import as_object

__all__ = ["BODY_MAX_BYTES", "create_app"]

BODY_MAX_BYTES = 32 << 20
"""The largest request body, as at the real APIs."""

Handler = Callable[[HttpRequest], Awaitable[Response]]


def create_app(script: Script) -> Starlette:
    """The endpoint of a script, as an ASGI application without any state."""

    def speaking(dialect: Dialect) -> Handler:
        async def answer(request: HttpRequest) -> Response:
            try:
                body, size = await _body(request)
                parsed = dialect.parse(body, size, _retries(request), int(time.time()))
                reply = play(script, parsed.conversation)
            except RequestError as error:
                return _refusal(dialect, error.status, error.kind, None, error.message)
            except PlayError as error:
                message = f"{error.message} ({error.hint})" if error.hint else error.message
                # A mistake in the script does not mend itself: clients that ask are told not to try again.
                return _refusal(dialect, error.status, None, error.code, message, {"x-should-retry": "false"})
            except ClientDisconnect:
                return Response(status_code=400)
            if isinstance(reply, Failure):
                return _failure(dialect, reply)
            return Delivery(planned(reply, parsed, dialect), _marks(f"req_{reply.id}", reply.step))

        return answer

    async def count(request: HttpRequest) -> Response:
        try:
            body, size = await _body(request)
            parse_to_count(body, size)
        except RequestError as error:
            return _refusal(MESSAGES, error.status, error.kind, None, error.message)
        except ClientDisconnect:
            return Response(status_code=400)
        return JSONResponse({"input_tokens": math.ceil(size / 4)})

    async def models(request: HttpRequest) -> Response:
        entries = [_model(name, request) for name in script.models]
        if not _is_anthropic(request):
            return JSONResponse({"object": "list", "data": entries})
        ends = {"first_id": script.models[0], "last_id": script.models[-1]}
        return JSONResponse({"data": entries, "has_more": False, **ends})

    async def model(request: HttpRequest) -> Response:
        name = request.path_params["name"]
        if name in script.models:
            return JSONResponse(_model(name, request))
        return _refusal(_dialect_of(request), 404, None, "model_not_found", f"model {name!r} is not listed here")

    async def root(request: HttpRequest) -> Response:
        return JSONResponse({"scenarios": [scenario.name for scenario in script.scenarios], "models": script.models})

    async def refuse(request: HttpRequest, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        paths = "/v1/messages, /v1/messages/count_tokens, /v1/responses, /v1/chat/completions, /v1/models"
        message = f"{request.method} {request.url.path} is not answered here; there are: {paths}"
        headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
        return _refusal(_dialect_of(request), status, None, None, message, headers)

    return Starlette(
        routes=[
            Route("/", root),
            Route("/v1/messages", speaking(MESSAGES), methods=["POST"]),
            Route("/v1/messages/count_tokens", count, methods=["POST"]),
            Route("/v1/responses", speaking(RESPONSES), methods=["POST"]),
            Route("/v1/chat/completions", speaking(CHAT), methods=["POST"]),
            Route("/v1/models", models),
            Route("/v1/models/{name:path}", model),
        ],
        exception_handlers={HTTPException: refuse},
    )


async def _body(request: HttpRequest) -> tuple[dict[str, Any], int]:
    """The request's JSON object and its size in bytes.

    Raises:
        RequestError: too large, encoded, or no JSON object.
    """
    if request.headers.get("content-encoding", "identity") != "identity":
        raise RequestError("an encoded request body is not taken: send it plain", 415)
    body = bytearray()
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= BODY_MAX_BYTES:
            body += chunk
        elif size > 2 * BODY_MAX_BYTES:
            break  # so far it was read and dropped, so that the client hears the refusal
    if size > BODY_MAX_BYTES:
        raise RequestError(f"the body is larger than {BODY_MAX_BYTES} bytes", 413)
    try:
        value = as_object(json.loads(body))
    except (ValueError, RecursionError) as error:
        raise RequestError(f"the body is no JSON: {error}") from None
    if value is None:
        raise RequestError("the body must be a JSON object")
    return value, size


def _retries(request: HttpRequest) -> int:
    """How often the client says it sent this request before; the SDKs of both vendors say so in this header."""
    text = request.headers.get("x-stainless-retry-count", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


def _marks(identifier: str, step: str) -> dict[str, str]:
    return {"request-id": identifier, "x-request-id": identifier, "x-palmette-step": step.encode().decode("latin-1")}


def _failure(dialect: Dialect, failure: Failure) -> Response:
    error = failure.error
    headers = {"x-palmette-step": failure.step.encode().decode("latin-1")}
    if error.retry_after_s is not None:
        headers["retry-after"] = str(error.retry_after_s)
    if error.retry is not None:
        headers["x-should-retry"] = str(error.retry).lower()
    return _refusal(dialect, error.status, error.type, error.code, error.message, headers)


def _refusal(
    dialect: Dialect,
    status: int,
    kind: str | None,
    code: str | None,
    message: str,
    headers: dict[str, str] | None = None,
) -> Response:
    return JSONResponse(dialect.error(status, kind, code, message), status, headers)


def _is_anthropic(request: HttpRequest) -> bool:
    return "anthropic-version" in request.headers or request.url.path.startswith("/v1/messages")


def _dialect_of(request: HttpRequest) -> Dialect:
    return MESSAGES if _is_anthropic(request) else RESPONSES


def _model(name: str, request: HttpRequest) -> dict[str, Any]:
    if _is_anthropic(request):
        return {"type": "model", "id": name, "display_name": name, "created_at": "1970-01-01T00:00:00Z"}
    return {"id": name, "object": "model", "created": 0, "owned_by": "palmette"}
