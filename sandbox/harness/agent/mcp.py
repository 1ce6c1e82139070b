"""An MCP client that speaks JSON lines to a relay process (revision 2025-11-25)."""

import os
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import IO, Any, NamedTuple, cast

from palmette.sandbox.harness.agent.inbox import Cancellation
from palmette.sandbox.harness.agent.lines import LineCutter, encode, parse_object

__all__ = ["McpClient", "McpError", "Tool"]

PROTOCOL = "2025-11-25"
_PAGES = 100
_LAST_S = 1.0
"""Seconds for a relay that ends."""
_METHOD_NOT_FOUND = -32601


class McpError(Exception):
    """The server cannot be reached, or refuses; the text says why."""


class Tool(NamedTuple):
    """A tool as the server lists it."""

    name: str
    description: str
    input_schema: dict[str, Any]


class _Slot:
    """An open request."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.answer: dict[str, Any] | None = None


class McpClient:
    """One relay process and the requests that are open on it.

    Args:
        argv: starts the relay.
        token_file: where the relay finds who we are (W4); the token itself is in no environment.
        on_lost: called once if the connection ends before `close`.
    """

    def __init__(self, argv: Sequence[str], token_file: str, on_lost: Callable[[str], None]) -> None:
        self._on_lost = on_lost
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._open: dict[int, _Slot] = {}
        self._last = 0
        self._closed = False
        self._lost = False
        self.instructions = ""
        try:
            self._relay = subprocess.Popen(
                list(argv),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "PALMETTE_TOKEN_FILE": token_file},
            )
        except OSError as error:
            raise McpError(f"the relay cannot be started: {error}") from None
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def connect(self, version: str, seconds: float) -> list[Tool]:
        """Initialize and list the tools; each answer must come within `seconds`.

        Raises:
            McpError: it does not answer, or refuses.
        """
        client = {"name": "palmette-builtin", "version": version}
        # Elicitation is not declared: nobody sits here who could be asked.
        hello = {"protocolVersion": PROTOCOL, "capabilities": dict[str, Any](), "clientInfo": client}
        answer = self._request("initialize", hello, seconds)
        self.instructions = str(answer.get("instructions") or "")
        self._send({"method": "notifications/initialized"})
        tools: list[Tool] = []
        cursor: object = None
        for _ in range(_PAGES):
            page = self._request("tools/list", {"cursor": cursor} if cursor else {}, seconds)
            tools += _tools(page)
            cursor = page.get("nextCursor")
            if not cursor:
                break
        return tools

    def call(self, name: str, arguments: Mapping[str, Any], use: str, round_: Cancellation) -> tuple[str, bool]:
        """Call a tool; returns the text for the model, and whether it is an error. `use` is the model's id of the call.

        It waits as long as the server lets it (an await_event sleeps for minutes): the round's cancellation, or the
        end of the connection, ends it.
        """
        identifier, slot = self._begin()

        def cancel(_: float) -> None:
            with self._lock:
                if self._open.pop(identifier, None) is None:
                    return
            self._notify("notifications/cancelled", {"requestId": identifier, "reason": "interrupted"})
            slot.done.set()

        params = {"name": name, "arguments": dict(arguments), "_meta": {"palmette/toolUse": use}}
        with round_.hooked(cancel):
            if not slot.done.is_set():
                self._deliver(identifier, "tools/call", params)
            slot.done.wait()
        if slot.answer is None:
            return ("interrupted" if round_.cancelled else "the connection to the supervisor ended"), True
        return _result_text(slot.answer)

    def close(self) -> None:
        """End the relay by closing its input, as a harness does that ends (R7)."""
        self._closed = True
        if self._relay.stdin is not None:
            with self._writing, suppress(OSError):
                self._relay.stdin.close()
        if self._status() is None:
            self._relay.kill()
            self._relay.wait(_LAST_S)
        self._reader.join(_LAST_S)

    def _begin(self) -> tuple[int, _Slot]:
        slot = _Slot()
        with self._lock:
            self._last += 1
            self._open[self._last] = slot
            if self._lost:
                self._open.pop(self._last)
                slot.done.set()
            return self._last, slot

    def _request(self, method: str, params: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        identifier, slot = self._begin()
        self._deliver(identifier, method, params)
        if not slot.done.wait(seconds):
            raise McpError(f"no answer to {method} within {seconds:g} s")
        if slot.answer is None:
            raise McpError(f"the relay ended with status {self._status()}")
        match slot.answer:
            case {"result": dict()}:
                return cast("dict[str, Any]", slot.answer["result"])
            case {"error": {"message": message}}:
                raise McpError(f"{method} was refused: {message}")
            case _:
                raise McpError(f"{method} was answered by no result")

    def _status(self) -> int | None:
        try:
            return self._relay.wait(_LAST_S)
        except subprocess.TimeoutExpired:
            return None

    def _deliver(self, identifier: int, method: str, params: Mapping[str, Any]) -> None:
        self._send({"id": identifier, "method": method, "params": params})

    def _notify(self, method: str, params: Mapping[str, Any]) -> None:
        self._send({"method": method, "params": params})

    def _send(self, message: Mapping[str, Any]) -> None:
        line = encode({"jsonrpc": "2.0", **message}) + b"\n"
        stdin = self._relay.stdin
        if stdin is None or stdin.closed:
            return
        try:
            with self._writing:
                stdin.write(line)
                stdin.flush()
        except (OSError, ValueError):
            pass  # the reader sees the end of the relay and ends what is open

    def _read(self) -> None:
        cutter = LineCutter()
        with cast("IO[bytes]", self._relay.stdout) as stdout:
            while chunk := os.read(stdout.fileno(), 1 << 18):
                for line in cutter.feed(chunk):
                    message = None if line is None else parse_object(line)
                    if message is not None:
                        self._take(message)
        with self._lock:
            self._lost = True
            slots = list(self._open.values())
            self._open.clear()
        for slot in slots:
            slot.done.set()
        if not self._closed:
            self._on_lost(f"the relay ended with status {self._status()}")

    def _take(self, message: dict[str, Any]) -> None:
        identifier = message.get("id")
        if "method" in message:
            if identifier is not None:
                self._answer(identifier, str(message["method"]))
            return  # progress, list_changed: nothing here waits for them
        with self._lock:
            slot = self._open.pop(identifier, None) if isinstance(identifier, int) else None
        if slot is not None:
            slot.answer = message
            slot.done.set()

    def _answer(self, identifier: object, method: str) -> None:
        match method:
            case "ping":
                self._send({"id": identifier, "result": {}})
            case "elicitation/create":
                self._send({"id": identifier, "result": {"action": "decline"}})
            case _:
                error = {"code": _METHOD_NOT_FOUND, "message": f"{method} is not offered by this client"}
                self._send({"id": identifier, "error": error})


def _tools(page: Mapping[str, Any]) -> list[Tool]:
    tools: list[Tool] = []
    for item in cast("list[Any]", page.get("tools") or []):
        match item:
            case {"name": str(name), "inputSchema": dict()}:
                fields = cast("dict[str, Any]", item)
                tools.append(Tool(name, str(fields.get("description") or ""), fields["inputSchema"]))
            case _:
                pass
    return tools


def _result_text(answer: Mapping[str, Any]) -> tuple[str, bool]:
    """What the model sees: the structured content if there is any, as the other harnesses do, else the texts."""
    match answer:
        case {"error": {"code": code, "message": message}}:
            return f"the call was refused: {message} ({code})", True
        case {"result": dict()}:
            result = cast("dict[str, Any]", answer["result"])
            is_error = result.get("isError") is True
            structured = result.get("structuredContent")
            if isinstance(structured, dict):
                return encode(cast("dict[str, Any]", structured)).decode(), is_error
            blocks = cast("list[Any]", result.get("content") or [])
            return "\n".join(_block_text(block) for block in blocks), is_error
        case _:
            return "the call was answered by no result", True


def _block_text(block: Any) -> str:
    match block:
        case {"type": "text", "text": str(text)}:
            return text
        case {"type": str(kind)}:
            return f"[{kind} left out]"
        case _:
            return ""
