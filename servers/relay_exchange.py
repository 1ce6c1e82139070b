"""What a relay remembers of the talk between a harness and its supervisor, so that a supervisor's restart is invisible.

Pure: lines in, lines out, no I/O. Standard library only. Rules R3 to R6 of the stdio-relay note are here.

Named tuples and plain classes here and beside: importing `dataclasses` would take a fifth of the relay's whole start.

Kept: the handshake (to be replayed, its answer swallowed), every request still without an answer (sent again under its
own id: session and id together are the idempotency key of a verb), and the supervisor's own open requests (withdrawn
when it dies, because the next life counts its ids from 1 again).
"""

import json
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

__all__ = ["RESEND_LIMIT", "SINCE_META", "Exchange", "Refusal", "ReplayRefusedError", "Turn"]

RESEND_LIMIT = 5
"""A request the supervisor died under this often is answered as lost, so that no request can kill it for ever."""

SINCE_META = "palmette/since"
"""`_meta` key of a request that is sent again: seconds it has waited already, so that a wait keeps its deadline."""

_PARSE_ERROR, _INVALID_REQUEST, _UNAVAILABLE = -32700, -32600, -32000
_SUBSCRIPTION_META = "io.modelcontextprotocol/subscriptionId"
_PROTOCOL_META = "io.modelcontextprotocol/protocolVersion"
_LIST_CHANGED = "notifications/tools/list_changed"

_Object = dict[str, object]


class ReplayRefusedError(Exception):
    """The restarted supervisor did not accept the handshake of this session; its message says why."""


class Refusal(NamedTuple):
    """Why requests cannot be served now: a machine code, a sentence, and the command that helps."""

    error: str
    reason: str
    hint: str


class Turn(NamedTuple):
    """What is to be sent after one event, without line ends: up to the supervisor and out to the harness."""

    up: Sequence[bytes] = ()
    out: Sequence[bytes] = ()


class _Open:
    """A request of the harness without an answer; `received` on the exchange's clock, `sent` counts its sendings."""

    __slots__ = ("acknowledged", "filter", "id", "line", "method", "modern", "received", "sent")

    def __init__(
        self, request_id: object, method: str, params: _Object, line: bytes, received: float, sent: int
    ) -> None:
        self.id = request_id
        self.method = method
        self.line = line
        self.received = received
        self.sent = sent
        self.modern = _PROTOCOL_META in _object(params.get("_meta"))
        self.filter = _object(params.get("notifications"))
        self.acknowledged = False


class Exchange:
    """The memory of one relay process. `clock` gives monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._open: dict[str, _Open] = {}
        self._asked: dict[str, object] = {}
        self._initialize: _Open | None = None
        self._initialized: bytes | None = None
        self._handshaken = False
        self._swallow: str | None = None
        self._epoch = 0
        self._version: str | None = None
        self._held = 0
        self._live = False

    @property
    def waiting(self) -> bool:
        """Whether the harness waits for an answer."""
        return bool(self._open)

    @property
    def held(self) -> int:
        """Bytes of requests that are kept to be sent again."""
        return self._held

    def from_harness(self, line: bytes | None) -> Turn:
        """Take one line of the harness (None: one that was too long) and say what is to be sent.

        Between two connections nothing goes up: what matters is kept for `resume`, the rest is of the old life.
        """
        if line is None:
            return Turn(out=[_error(None, _INVALID_REQUEST, "the line is over 16 MiB and was dropped")])
        try:
            message = _parse(line)
        except ValueError:
            return Turn(out=[_error(None, _PARSE_ERROR, "Parse error: the line is not JSON")])
        if message is None:
            return Turn(out=[_error(None, _INVALID_REQUEST, "the line is not one JSON-RPC message")])
        method = message.get("method")
        if not isinstance(method, str):
            return self._answer_up(message, line)
        if message.get("id") is not None:
            self._remember(message, method, line)
        elif method == "notifications/initialized":
            self._initialized = line
        elif method == "notifications/cancelled":
            self._forget(_key(_object(message.get("params")).get("requestId")))
        return Turn(up=[line] if self._live else [])

    def from_supervisor(self, line: bytes) -> list[bytes]:
        """Take one line of the supervisor and return what the harness is to see of it.

        Raises ReplayRefusedError if the answer to the replayed handshake is an error.
        """
        try:
            message = _parse(line)
        except ValueError:
            return []
        if message is None:
            return []
        method, request_id = message.get("method"), message.get("id")
        if isinstance(method, str):
            if request_id is not None:
                return [self._ask(message, request_id)]
            return self._notify(message, method, line)
        if request_id is None:
            return [line]
        key = _key(request_id)
        if key == self._swallow:
            self._swallow = None
            if "error" in message:
                raise ReplayRefusedError(str(_object(message["error"]).get("message")))
            return []
        if self._initialize is not None and key == _key(self._initialize.id) and key in self._open:
            self._handshaken = "error" not in message
        # An answer nobody waits for is one too many: the request was cancelled, or answered by an earlier life.
        return [line] if self._forget(key) else []

    def lost(self) -> list[bytes]:
        """The connection is gone: withdraw what the dead supervisor had asked (R4). Returns lines for the harness."""
        withdrawn = [
            _dump(
                {
                    "jsonrpc": "2.0",
                    "method": "notifications/cancelled",
                    "params": {"requestId": asked, "reason": "the supervisor restarted"},
                }
            )
            for asked in self._asked
        ]
        self._asked.clear()
        self._swallow = None
        self._live = False
        return withdrawn

    def resume(self, version: str) -> Turn:
        """A supervisor of package version `version` has answered: all it must hear, and what the harness must.

        The handshake comes first, then every open request in the order it came. If the version changed, the tool list
        may have: a legacy client is told by a plain notification, a modern one on each listen stream that asked for it
        (R5).
        """
        self._live = True
        self._epoch += 1
        changed = self._version is not None and version != self._version
        self._version = version
        up: list[bytes] = []
        out: list[bytes] = []
        rest = list(self._open.values())
        if self._initialize in rest:
            rest.remove(self._initialize)
            rest.insert(0, self._initialize)
        elif self._initialize is not None and self._handshaken:
            self._swallow = _key(self._initialize.id)
            up.append(self._initialize.line)
            if changed and self._initialized is not None:
                out.append(_dump({"jsonrpc": "2.0", "method": _LIST_CHANGED}))
        for pending in rest:
            if pending.sent >= RESEND_LIMIT:
                self._forget(_key(pending.id))
                out.append(_refused(pending, _CRASHING))
                continue
            if pending.acknowledged and changed and pending.filter.get("toolsListChanged") is True:
                meta = {"_meta": {_SUBSCRIPTION_META: pending.id}}
                out.append(_dump({"jsonrpc": "2.0", "method": _LIST_CHANGED, "params": meta}))
            up.append(_aged(pending, self._clock()) if pending.sent else pending.line)
            pending.sent += 1
        if self._initialized is not None:
            up.insert(1, self._initialized)  # right behind initialize, before all that needs the handshake
        return Turn(up, out)

    def refuse(self, refusal: Refusal) -> list[bytes]:
        """Answer every open request ourselves (R3): a tool call with a normal result, the rest with an error."""
        answers = [_refused(pending, refusal) for pending in self._open.values()]
        if self._initialize is not None and _key(self._initialize.id) in self._open:
            self._initialize = None
            self._initialized = None
        self._open.clear()
        self._held = 0
        return answers

    def _remember(self, message: _Object, method: str, line: bytes) -> None:
        key = _key(message["id"])
        self._forget(key)
        params = _object(message.get("params"))
        pending = _Open(message["id"], method, params, line, self._clock(), int(self._live))
        self._open[key] = pending
        self._held += len(line)
        if method == "initialize":
            self._initialize, self._initialized, self._handshaken = pending, None, False

    def _forget(self, key: str) -> bool:
        pending = self._open.pop(key, None)
        if pending is None:
            return False
        self._held -= len(pending.line)
        return True

    def _answer_up(self, message: _Object, line: bytes) -> Turn:
        """An answer to a question of the supervisor: under the supervisor's own id, or nothing if that life is over."""
        request_id = message.get("id")
        if not isinstance(request_id, str) or request_id not in self._asked:
            return Turn()
        message["id"] = self._asked.pop(request_id)
        return Turn(up=[_dump(message)])

    def _ask(self, message: _Object, request_id: object) -> bytes:
        asked = f"s{self._epoch}.{request_id}"
        self._asked[asked] = request_id
        message["id"] = asked
        return _dump(message)

    def _notify(self, message: _Object, method: str, line: bytes) -> list[bytes]:
        params = _object(message.get("params"))
        if method == "notifications/cancelled":
            asked = f"s{self._epoch}.{params.get('requestId')}"
            if self._asked.pop(asked, None) is None:
                return [line]
            return [_dump({**message, "params": {**params, "requestId": asked}})]
        if method == "notifications/subscriptions/acknowledged":
            pending = self._open.get(_key(_object(params.get("_meta")).get(_SUBSCRIPTION_META)))
            if pending is not None:
                again, pending.acknowledged = pending.acknowledged, True
                return [] if again else [line]
        return [line]


_CRASHING = Refusal(
    "supervisor_crashing",
    f"the supervisor ended {RESEND_LIMIT} times while it held this request; whether it took effect is not known",
    "palmette doctor",
)


def _refused(pending: _Open, refusal: Refusal) -> bytes:
    body = {"ok": False, "error": refusal.error, "reason": refusal.reason, "hint": refusal.hint}
    if pending.method != "tools/call":
        return _error(pending.id, _UNAVAILABLE, f"{refusal.reason}: {refusal.hint}", body)
    result: _Object = {
        "content": [{"type": "text", "text": json.dumps(body, separators=(",", ":"))}],
        "structuredContent": body,
        "isError": False,
    }
    if pending.modern:
        result["resultType"] = "complete"  # required of a result since 2026-07-28, unknown before
    return _dump({"jsonrpc": "2.0", "id": pending.id, "result": result})


def _aged(pending: _Open, now: float) -> bytes:
    """The request with the seconds it has waited, for the one method whose calls wait."""
    if pending.method != "tools/call":
        return pending.line
    message = cast(_Object, json.loads(pending.line))
    params = _object(message.get("params"))
    meta = {**_object(params.get("_meta")), SINCE_META: round(now - pending.received, 3)}
    return _dump({**message, "params": {**params, "_meta": meta}})


def _error(request_id: object, code: int, message: str, data: object = None) -> bytes:
    error: _Object = {"code": code, "message": message}
    if data is not None:
        error["data"] = data
    return _dump({"jsonrpc": "2.0", "id": request_id, "error": error})


def _key(request_id: object) -> str:
    """1 and "1" are two ids."""
    return json.dumps(request_id)


def _object(value: object) -> _Object:
    return cast(_Object, value) if isinstance(value, dict) else {}


def _parse(line: bytes) -> _Object | None:
    """The message, None if it is JSON but no object. Raises ValueError for all else, endless nesting included."""
    try:
        value: object = json.loads(line)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return cast(_Object, value) if isinstance(value, dict) else None


def _dump(message: object) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode()
