"""The conversation as a session file holds it: appended line by line, on disk before anything follows from it."""

import fcntl
import os
import re
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

from palmette.sandbox.harness.agent.inbox import Said
from palmette.sandbox.harness.agent.lines import clean, encode, parse_object

__all__ = ["INTERRUPTED_BY_RESTART", "Conversation", "SessionError", "ToolResult"]

INTERRUPTED_BY_RESTART = "interrupted by a restart: it is not known whether this was done"
"""The result of a tool call whose turn was cut off by the end of the process."""

_FORMAT = 1
_SESSION = re.compile(r"[0-9a-f]{32}")
Block = dict[str, Any]


class SessionError(Exception):
    """The session cannot be opened; the text says why."""


class ToolResult(NamedTuple):
    """What a tool call came to."""

    call: str
    text: str
    is_error: bool = False


class Conversation:
    """One session: its messages, its file, and which of the driver's messages no request has carried yet."""

    def __init__(self, descriptor: int, session: str) -> None:
        self.session = session
        self._descriptor = descriptor
        self._messages: list[dict[str, Any]] = []
        self._known: set[str] = set()
        self._undelivered: list[str] = []

    @classmethod
    def open(cls, directory: str, session: str | None) -> "Conversation":
        """Begin a session in `directory`, or go on with one.

        A line that a crash tore is dropped; calls without results are answered, so that the API takes the history.

        Raises:
            SessionError: there is no such session, it is open elsewhere, or its file is damaged.
            OSError: the file cannot be written.
        """
        fresh = session is None
        name = os.urandom(16).hex() if session is None else session
        if not _SESSION.fullmatch(name):
            raise SessionError(f"{name[:80]!r} is no session of this harness")
        path = os.path.join(directory, f"{name}.jsonl")
        flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_CREAT | os.O_EXCL if fresh else 0)
        try:
            descriptor = os.open(path, flags, 0o600)
        except FileNotFoundError:
            raise SessionError(f"there is no session {name} in {directory}") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise SessionError(f"session {name} is open in another process") from None
        self = cls(descriptor, name)
        if fresh:
            self._write({"kind": "session", "session": name, "format": _FORMAT})
            _sync_directory(directory)
        else:
            self._load()
            self._mend()
        return self

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)

    def say(self, said: Said) -> None:
        """Add a text of the driver; one that the file already holds (sent again after a crash) is not added twice."""
        if said.message not in self._known:
            self._add("user", [{"type": "text", "text": clean(said.text) or " "}], said.message)
            self._known.add(said.message)
        if said.message not in self._undelivered:
            self._undelivered.append(said.message)

    def reply(self, content: Sequence[Block]) -> None:
        """Add the model's reply; an empty one is none (the API takes no empty message)."""
        if content:
            self._add("assistant", list(content))

    def results(self, results: Sequence[ToolResult]) -> None:
        """Add the results of the last reply's calls."""
        self._add("user", [_result(result) for result in results])

    def messages(self) -> list[dict[str, Any]]:
        """The history as the API takes it, neighbours of one role joined."""
        joined: list[dict[str, Any]] = []
        for message in self._messages:
            if joined and joined[-1]["role"] == message["role"]:
                joined[-1] = {"role": message["role"], "content": [*joined[-1]["content"], *message["content"]]}
            else:
                joined.append(message)
        return joined

    def take_undelivered(self) -> list[str]:
        """The messages that the request now sent is the first to carry."""
        taken, self._undelivered = self._undelivered, []
        return taken

    def _add(self, role: str, content: list[Block], message: str | None = None) -> None:
        line: dict[str, Any] = {"kind": "message", "role": role, "content": content}
        if message is not None:
            line["message"] = message
        self._write(line)
        self._messages.append({"role": role, "content": content})

    def _write(self, value: dict[str, Any]) -> None:
        line = memoryview(encode(value) + b"\n")
        end = os.fstat(self._descriptor).st_size
        try:
            while line:
                line = line[os.write(self._descriptor, line) :]
            os.fsync(self._descriptor)
        except OSError:
            os.ftruncate(self._descriptor, end)  # half a line would stand in the way of the next one
            raise

    def _load(self) -> None:
        with open(os.dup(self._descriptor), "rb") as file:
            file.seek(0)
            data = file.read()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            os.ftruncate(self._descriptor, whole)
        for number, line in enumerate(data[:whole].split(b"\n")[:-1]):
            self._take(number, parse_object(line))
        if not whole:
            raise SessionError(f"the file of session {self.session} is empty")

    def _take(self, number: int, line: dict[str, Any] | None) -> None:
        match line:
            case {"kind": "session", "session": self.session, "format": int(version)} if number == 0:
                if version != _FORMAT:
                    raise SessionError(f"session {self.session} has format {version}; this agent reads {_FORMAT}")
            case {"kind": "message", "role": "user" | "assistant" as role, "content": list()} if number > 0:
                content = cast("list[Block]", line["content"])
                self._messages.append({"role": role, "content": content})
                if isinstance(message := line.get("message"), str):
                    self._known.add(message)
                    self._undelivered.append(message)
                elif role == "assistant":
                    self._undelivered.clear()  # the reply shows that a request carried them
            case _:
                raise SessionError(f"the file of session {self.session} is damaged at line {number + 1}")

    def _mend(self) -> None:
        last = self._messages[-1] if self._messages else None
        if last is None or last["role"] != "assistant":
            return
        open_calls = [str(block["id"]) for block in last["content"] if block.get("type") == "tool_use"]
        if open_calls:
            self.results([ToolResult(call, INTERRUPTED_BY_RESTART, is_error=True) for call in open_calls])


def _result(result: ToolResult) -> Block:
    block: Block = {"type": "tool_result", "tool_use_id": result.call, "content": clean(result.text) or "(nothing)"}
    return {**block, "is_error": True} if result.is_error else block


def _sync_directory(directory: str) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
