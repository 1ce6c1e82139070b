"""One model call: Anthropic Messages, streamed, over http.client. Standard library only."""

import http.client
import json
import socket
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from palmette.sandbox.harness.builtin_agent.wire import Cancel, Object, as_list, as_object

__all__ = ["BudgetRefusedError", "ModelError", "Reply", "call_model"]

ABANDON_S = 15.0
"""How long an interrupted call may go on to say what it used, before its connection is closed."""

_ERROR_BODY = 64 * 1024
_LINE = 16 * 1024 * 1024


@dataclass
class Reply:
    """What the model said.

    Attributes:
        content: text and tool_use blocks; a tool_use whose arguments are no JSON object has `input` None.
        usage: input, cache_read, cache_write, output; None where it was never told.
        stop: the API's stop_reason.
    """

    model: str
    content: list[Object] = field(default_factory=list[Object])
    usage: dict[str, int] | None = None
    stop: str = ""


class ModelError(Exception):
    """The call failed.

    Attributes:
        transient: the same call may succeed later.
        sent: the model may have worked on it, so its cost is unknown.
        retry_after_s: what the endpoint asked for.
    """

    def __init__(self, reason: str, *, transient: bool, sent: bool, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.transient = transient
        self.sent = sent
        self.retry_after_s = retry_after_s


class BudgetRefusedError(Exception):
    """The endpoint refuses to spend (402, or a 400 that says so: the gateway note, §2.1)."""


def call_model(
    base_url: str,
    body: bytes,
    model: str,
    *,
    silence_s: float,
    attempt: int,
    cancel: Cancel,
    on_sent: Callable[[], None],
) -> Reply:
    """Make one call.

    Args:
        base_url: without `/v1`.
        silence_s: the longest wait for the next byte; above the 240 s that a gateway may hold a request silently.
        attempt: how often this request was sent before; told in the header that the vendors' clients use.
        cancel: when it is set, the call has ABANDON_S to end.
        on_sent: called when the request is out.

    Raises:
        ModelError, BudgetRefusedError.
    """
    connection, prefix = _connection(base_url, silence_s)
    headers = {
        "content-type": "application/json",
        "accept": "text/event-stream",
        "accept-encoding": "identity",
        "anthropic-version": "2023-06-01",
        "x-stainless-retry-count": str(attempt),
    }
    with closing(connection):
        try:
            connection.connect()
        except OSError as error:
            reason = f"the model endpoint cannot be reached: {error}"
            raise ModelError(reason, transient=True, sent=False) from None
        with _abandoning(cancel, connection):
            try:
                connection.request("POST", f"{prefix}/v1/messages", body, headers)
                on_sent()
                response = connection.getresponse()
                if response.status != 200:
                    _refuse(response)
                return _read(response, model)
            except (OSError, http.client.HTTPException, ValueError, TypeError, KeyError) as error:
                # Cut, silent or garbled: nobody knows what the model did before that.
                what = "went silent" if isinstance(error, TimeoutError) else "broke off"
                raise ModelError(f"the model's reply {what}: {error}", transient=True, sent=True) from None


def _connection(base_url: str, timeout: float) -> tuple[http.client.HTTPConnection, str]:
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or parts.hostname is None:
        raise ModelError(f"{base_url} is no http address of a model endpoint", transient=False, sent=False)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    return kind(parts.hostname, parts.port, timeout=timeout), parts.path.rstrip("/")


@contextmanager
def _abandoning(cancel: Cancel, connection: http.client.HTTPConnection) -> Generator[None]:
    """Close the connection some time after `cancel` is set."""
    sock: socket.socket | None = connection.sock

    def close() -> None:
        with suppress(OSError):
            if sock is not None:
                sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(ABANDON_S, close)
    timer.daemon = True
    with cancel.calling(timer.start):
        try:
            yield
        finally:
            timer.cancel()


def _refuse(response: http.client.HTTPResponse) -> None:
    text = response.read(_ERROR_BODY).decode(errors="replace")
    error: Object = {}
    with suppress(ValueError):
        error = as_object(as_object(json.loads(text)).get("error"))
    message = str(error.get("message") or text[:500] or response.reason)
    marks = {str(error.get("type")), str(error.get("code"))}
    if response.status == 402 or (response.status == 400 and marks & {"billing_error", "budget_exhausted"}):
        raise BudgetRefusedError(message)
    should = response.headers.get("x-should-retry")
    transient = response.status in (408, 409, 429) or response.status >= 500
    raise ModelError(
        f"the model endpoint answered {response.status}: {message}",
        transient=transient if should is None else should == "true",
        sent=False,
        retry_after_s=_seconds(response.headers.get("retry-after")),
    )


def _seconds(text: str | None) -> float | None:
    with suppress(TypeError, ValueError):
        value = float(text)  # pyright: ignore[reportArgumentType]
        if value >= 0:  # not a NaN either
            return value
    return None


def _read(response: http.client.HTTPResponse, model: str) -> Reply:
    if response.headers.get_content_type() == "application/json":
        message = as_object(json.loads(response.read()))
        reply = Reply(str(message.get("model") or model), stop=str(message.get("stop_reason") or ""))
        reply.content = [as_object(block) for block in as_list(message.get("content"))]
        reply.usage = _usage(as_object(message.get("usage")))
        return reply
    stream = _Stream(model)
    for event in _events(response):
        if stream.take(event):
            return stream.reply
    raise ValueError("the stream ended too early")


def _events(response: http.client.HTTPResponse) -> Iterator[Object]:
    while line := response.readline(_LINE):
        if line.startswith(b"data:"):
            yield as_object(json.loads(line[5:]))


class _Stream:
    """A reply from its events."""

    def __init__(self, model: str) -> None:
        self.reply = Reply(model)
        self._told: Object = {}
        self._parts: dict[int, list[str]] = {}
        self._blocks: dict[int, Object] = {}

    def take(self, event: Object) -> bool:
        """Take one; true when it was the last."""
        kind = event.get("type")
        if kind == "message_start":
            message = as_object(event.get("message"))
            self.reply.model = str(message.get("model") or self.reply.model)
            self._told |= {**as_object(message.get("usage"))}
            self._told.pop("output_tokens", None)  # it says 1 there; the true figure comes with message_delta
        elif kind == "content_block_start":
            index = int(event["index"])
            self._blocks[index] = {**as_object(event.get("content_block"))}
            self._parts[index] = []
        elif kind == "content_block_delta":
            delta = as_object(event.get("delta"))
            self._parts[int(event["index"])].append(str(delta.get("text") or delta.get("partial_json") or ""))
        elif kind == "message_delta":
            self.reply.stop = str(as_object(event.get("delta")).get("stop_reason") or self.reply.stop)
            self._told |= as_object(event.get("usage"))  # cumulative: replaces, never adds (the gateway note, §3)
        elif kind == "error":
            raise ValueError(str(as_object(event.get("error")).get("message")))
        elif kind == "message_stop":
            self.reply.usage = _usage(self._told)
            self.reply.content = [self._block(index) for index in sorted(self._blocks)]
            return True
        return False

    def _block(self, index: int) -> Object:
        block, text = self._blocks[index], "".join(self._parts[index])
        if block.get("type") == "text":
            return {**block, "text": str(block.get("text", "")) + text}
        if block.get("type") == "tool_use":
            return {**block, "input": _arguments(text) if text else block.get("input", {})}
        return block


def _arguments(text: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        return None  # cut at the output limit
    return value if isinstance(value, dict) else None  # pyright: ignore[reportUnknownVariableType]


def _usage(told: Object) -> dict[str, int] | None:
    names = {
        "input": "input_tokens",
        "cache_read": "cache_read_input_tokens",
        "cache_write": "cache_creation_input_tokens",
        "output": "output_tokens",
    }
    if "output_tokens" not in told or "input_tokens" not in told:
        return None
    return {ours: int(told.get(theirs) or 0) for ours, theirs in names.items()}
