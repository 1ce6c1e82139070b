"""One model call over HTTP: sent, streamed, cut off where it must be; and what each failure means for the books."""

import contextlib
import http.client
import socket
import threading
from collections.abc import Generator, Iterator
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from palmette.sandbox.harness.agent.inbox import Cancellation
from palmette.sandbox.harness.agent.lines import parse_object
from palmette.sandbox.harness.agent.reply import Assembly, Reply, StreamFault

__all__ = ["Endpoint", "ModelFault"]

_REPLY_LIMIT = 64 * 1024 * 1024
_LINE_LIMIT = 16 * 1024 * 1024
_ERROR_LIMIT = 64 * 1024
_TRANSIENT_STATUS = frozenset({408, 409, 429, 500, 502, 503, 504, 529})
_BUDGET_WORDS = frozenset({"billing_error", "budget_exhausted"})


class ModelFault(Exception):
    """A call that gave no reply.

    Attributes:
        sent: it may have cost something; without it the hold is released (the gateway note, §1.5).
        transient: trying again may help, after `retry_after` seconds if the endpoint says so.
        budget: it was refused for budget; harnesses end their turn then (the gateway note, §2.1).
        cut: the reply broke off or never came, which costs a whole hold each time.
    """

    def __init__(
        self,
        reason: str,
        *,
        sent: bool,
        transient: bool,
        budget: bool = False,
        cut: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(reason)
        self.sent = sent
        self.transient = transient
        self.budget = budget
        self.cut = cut
        self.retry_after = retry_after


class Endpoint(NamedTuple):
    """Where model calls go.

    Attributes:
        url: the base URL, http or https, without `/v1`.
        silence_s: seconds of silence after which a call is given up; a gateway may hold one back for 240 s.
    """

    url: str
    model: str
    silence_s: float

    def send(self, body: bytes, tries: int, round_: Cancellation) -> Reply:
        """Make the call; a cancelled round lets it go on for as long as the cancellation says, then cuts it.

        Raises:
            ModelFault: no reply.
        """
        connection, path = self._connection()
        with contextlib.closing(connection):
            try:
                connection.connect()
            except (OSError, UnicodeError) as error:
                raise ModelFault(f"the model cannot be reached: {error}", sent=False, transient=True) from None
            with _cut_after_cancellation(connection.sock, round_):
                return self._converse(connection, path, body, tries)

    def _connection(self) -> tuple[http.client.HTTPConnection, str]:
        try:
            parts = urlsplit(self.url)
            kind = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}[parts.scheme]
            connection = kind(parts.hostname or "", parts.port, timeout=self.silence_s)
        except (KeyError, ValueError, http.client.HTTPException):
            raise ModelFault(f"{self.url!r} is no http URL of a model", sent=False, transient=False) from None
        return connection, parts.path.rstrip("/") + "/v1/messages"

    def _converse(self, connection: http.client.HTTPConnection, path: str, body: bytes, tries: int) -> Reply:
        headers = {
            "content-type": "application/json",
            "accept": "text/event-stream",
            "accept-encoding": "identity",
            "anthropic-version": "2023-06-01",
            "x-stainless-retry-count": str(tries),  # what the vendor's own SDKs send
        }
        try:
            connection.request("POST", path, body, headers)
            response = connection.getresponse()
            if response.status != 200:
                raise _refusal(response)
            return self._stream(response)
        except TimeoutError:
            reason = f"the model was silent for {self.silence_s:g} s"
            raise ModelFault(reason, sent=True, transient=True, cut=True) from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise ModelFault(f"the model's reply broke off: {error!r}", sent=True, transient=True, cut=True) from None

    def _stream(self, response: http.client.HTTPResponse) -> Reply:
        assembly = Assembly(self.model)
        try:
            for event in _events(response):
                assembly.feed(event)
                if assembly.ended:
                    break
        except StreamFault as fault:
            raise ModelFault(str(fault), sent=True, transient=fault.transient, cut=True) from None
        except (OSError, http.client.HTTPException):
            if not assembly.whole:
                raise
        if not assembly.whole:
            raise ModelFault("the model's reply broke off", sent=True, transient=True, cut=True)
        return assembly.reply()


@contextlib.contextmanager
def _cut_after_cancellation(sock: socket.socket, round_: Cancellation) -> Generator[None]:
    timers: list[threading.Timer] = []

    def cut() -> None:
        with contextlib.suppress(OSError):  # it has ended by itself
            sock.shutdown(socket.SHUT_RDWR)

    def cut_later(drain_s: float) -> None:
        timer = threading.Timer(drain_s, cut)
        timer.daemon = True
        timers.append(timer)
        timer.start()

    try:
        with round_.hooked(cut_later):
            yield
    finally:
        for timer in timers:
            timer.cancel()


def _events(response: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
    """The JSON objects of a stream of server-sent events, each as soon as it is whole."""
    data: list[bytes] = []
    read = 0
    while line := response.readline(_LINE_LIMIT + 1):
        read += len(line)
        if len(line) > _LINE_LIMIT or read > _REPLY_LIMIT:
            raise StreamFault(f"the model's reply is over {_REPLY_LIMIT} bytes", transient=False)
        name, _, value = line.rstrip(b"\r\n").partition(b":")
        if name == b"data":
            data.append(value.removeprefix(b" "))
        elif not line.strip() and data:
            event = parse_object(b"\n".join(data))
            if event is None:
                raise StreamFault("the model's stream holds an event that is no JSON object", transient=True)
            yield event
            data = []


def _refusal(response: http.client.HTTPResponse) -> ModelFault:
    body = response.read(_ERROR_LIMIT)
    error = (parse_object(body) or {}).get("error")
    kind, code, message = "", "", ""
    if isinstance(error, dict):
        kind, code, message = (str(error.get(name) or "") for name in ("type", "code", "message"))  # pyright: ignore[reportUnknownMemberType,reportUnknownArgumentType]
    budget = response.status == 402 or (response.status == 400 and bool(_BUDGET_WORDS & {kind, code}))
    transient = response.status in _TRANSIENT_STATUS
    wish = (response.headers.get("x-should-retry") or "").lower()
    if wish in ("true", "false"):
        transient = wish == "true"
    said = message or body[:300].decode("utf-8", "replace").strip() or response.reason
    return ModelFault(
        f"{response.status} {kind}: {said}" if kind else f"{response.status}: {said}",
        sent=False,
        transient=transient and not budget,
        budget=budget,
        retry_after=_seconds(response.headers.get("retry-after")),
    )


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 10 else None
