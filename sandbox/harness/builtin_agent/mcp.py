"""An MCP client on the stdio relay: handshake, tools, calls that can be cancelled. Standard library only.

Server requests are answered, none is needed (S6): elicitation is not declared and is declined if it comes all the same.
"""

import json
import os
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue

from palmette.sandbox.harness.builtin_agent.wire import Cancel, FatalError, Object, as_list, as_object, dumps

__all__ = ["Answer", "Relay"]

PROTOCOL = "2025-11-25"
ANSWER_MAX_CHARS = 100_000
"""Verbs answer within 30,000 characters (S7); what is longer is nothing of ours and is cut."""

_PAGES = 50


@dataclass(frozen=True)
class Answer:
    """What a tool gave back."""

    text: str
    error: bool = False


class Relay:
    """One relay process and the session through it."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], log: int, lost: Callable[[str], None]) -> None:
        """Start it, its standard error going to the file `log`. `lost` is called once, if it ends after `open`.

        Raises:
            FatalError: it cannot be started.
        """
        try:
            self._process = subprocess.Popen(
                list(argv), env=dict(env), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
            )
        except (OSError, ValueError) as error:
            raise FatalError("mcp", f"the relay could not be started: {error}") from None
        self.instructions = ""
        self.tools: list[Object] = []
        self._log = log
        self._lost = lost
        self._open = False
        self._ended = ""
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._waiting: dict[int, SimpleQueue[Object]] = {}
        self._last_id = 0
        self._stale = False
        threading.Thread(target=self._listen, daemon=True).start()

    def open(self, timeout_s: float, version: str) -> None:
        """Shake hands and list the tools.

        Raises:
            FatalError: the relay ended, or nothing came in time.
        """
        params: Object = {
            "protocolVersion": PROTOCOL,
            "capabilities": {},
            "clientInfo": {"name": "palmette-builtin", "version": version},
        }
        found = self._asked("initialize", params, timeout_s)
        self.instructions = str(found.get("instructions") or "")
        self._send({"method": "notifications/initialized"})
        self._list(timeout_s)
        with self._lock:
            self._open = True

    def refresh(self, timeout_s: float) -> None:
        """List the tools again if the server said that they changed.

        Raises:
            FatalError: the relay ended, or nothing came in time.
        """
        if self._stale:
            self._stale = False
            self._list(timeout_s)

    def call(self, tool: str, arguments: object, cancel: Cancel) -> Answer:
        """Call a tool and wait for its answer; cancelled, the server is told and the answer is `interrupted`."""
        number, answers = self._begin("tools/call", {"name": tool, "arguments": arguments})
        with cancel.calling(lambda: answers.put({"cancelled": True})):
            answer = answers.get()
        self._waiting.pop(number, None)
        if "cancelled" in answer:
            self._send({"method": "notifications/cancelled", "params": {"requestId": number, "reason": "interrupted"}})
            return Answer("interrupted", True)
        if "error" in answer:
            return Answer(str(as_object(answer["error"]).get("message") or "the call failed"), True)
        return _answer(as_object(answer.get("result")))

    def close(self) -> None:
        """End it: close its input, and SIGTERM if that is not enough."""
        with self._lock:
            self._open = False
        with suppress(OSError), self._writing:
            if self._process.stdin is not None:
                self._process.stdin.close()
        try:
            self._process.wait(2)
        except subprocess.TimeoutExpired:
            self._process.terminate()

    # ── requests ─────────────────────────────────────────────────────────────────────────────────

    def _list(self, timeout_s: float) -> None:
        tools: list[Object] = []
        cursor: object = None
        for _ in range(_PAGES):
            page = self._asked("tools/list", {} if cursor is None else {"cursor": cursor}, timeout_s)
            tools += map(as_object, as_list(page.get("tools")))
            cursor = page.get("nextCursor")
            if cursor is None:
                break
        self.tools = tools

    def _asked(self, method: str, params: Object, timeout_s: float) -> Object:
        number, answers = self._begin(method, params)
        timer = threading.Timer(timeout_s, lambda: answers.put({"late": True}))
        timer.daemon = True
        timer.start()
        answer = answers.get()
        timer.cancel()
        self._waiting.pop(number, None)
        if "late" in answer:
            raise FatalError("mcp", f"no answer to {method} within {timeout_s:g} s")
        if "error" in answer:
            raise FatalError("mcp", str(as_object(answer["error"]).get("message") or f"{method} failed"))
        return as_object(answer.get("result"))

    def _begin(self, method: str, params: Object) -> tuple[int, "SimpleQueue[Object]"]:
        answers: SimpleQueue[Object] = SimpleQueue()
        with self._lock:
            self._last_id += 1
            number = self._last_id
            self._waiting[number] = answers
            if self._ended:
                answers.put({"error": {"message": self._ended}})
        self._send({"id": number, "method": method, "params": params})
        return number, answers

    def _send(self, message: Object) -> None:
        data = dumps({"jsonrpc": "2.0", **message}).encode() + b"\n"
        with suppress(OSError, ValueError), self._writing:  # that a relay is gone is told by the listener
            if self._process.stdin is not None:
                self._process.stdin.write(data)
                self._process.stdin.flush()

    # ── what comes ───────────────────────────────────────────────────────────────────────────────

    def _listen(self) -> None:
        for line in self._process.stdout or ():
            message: Object = {}
            with suppress(ValueError, RecursionError):
                message = as_object(json.loads(line))
            if "method" in message:
                self._hear(message)
                continue
            number = message.get("id")
            found = self._waiting.get(number) if isinstance(number, int) else None
            if found is not None:
                found.put(message)
        reason = f"the relay ended with status {self._process.wait()}: {_last_line(self._log)}"
        with self._lock:
            self._ended = reason
            waiting = list(self._waiting.values())
            lost = self._open
        if lost:
            self._lost(reason)
        for answers in waiting:
            answers.put({"error": {"message": reason}})

    def _hear(self, message: Object) -> None:
        if "id" not in message:
            self._stale = self._stale or message["method"] == "notifications/tools/list_changed"
        elif message["method"] == "ping":
            self._send({"id": message["id"], "result": {}})
        elif message["method"] == "elicitation/create":
            self._send({"id": message["id"], "result": {"action": "decline"}})
        else:
            self._send({"id": message["id"], "error": {"code": -32601, "message": "this client has no such method"}})


def _answer(result: Object) -> Answer:
    parts: list[str] = []
    for block in map(as_object, as_list(result.get("content"))):
        kind = block.get("type")
        parts.append(str(block.get("text", "")) if kind == "text" else f"[{kind} left out]")
    text = "\n".join(parts)
    if not text and result.get("structuredContent") is not None:
        text = dumps(result["structuredContent"])
    if len(text) > ANSWER_MAX_CHARS:
        text = text[:ANSWER_MAX_CHARS] + "\n[cut here]"
    return Answer(text, result.get("isError") is True)


def _last_line(log: int) -> str:
    """The last line of the log file: a relay says in one line why it ends."""
    size = os.fstat(log).st_size
    tail = os.pread(log, 2000, max(0, size - 2000)).decode(errors="replace").strip()
    return tail.rpartition("\n")[2]
