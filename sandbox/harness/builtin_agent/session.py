"""The conversation as a file: append-only JSON lines, on disk before anything is built on them.

The first line names the session; each other one is a message as the Messages API takes it.
"""

import json
import os
from pathlib import Path
from typing import Any

from palmette.sandbox.harness.builtin_agent.wire import FatalError, Object, as_list, as_object, dumps

__all__ = ["INTERRUPTED_BY_RESTART", "Session", "tool_result"]

INTERRUPTED_BY_RESTART = "interrupted by a restart"
"""The result of a call whose answer a dead process never wrote down."""


def tool_result(call: str, text: str, *, error: bool = False) -> Object:
    """The content block that answers a tool call."""
    block: Object = {"type": "tool_result", "tool_use_id": call, "content": text}
    return {**block, "is_error": True} if error else block


class Session:
    """One conversation. `messages` is the history; consecutive messages of one role are kept as they came."""

    def __init__(self, path: Path, name: str, messages: list[Object], file: int) -> None:
        self.name = name
        self.messages = messages
        self._path = path
        self._file = file

    @classmethod
    def begin(cls, folder: Path) -> "Session":
        """A new session in the folder."""
        name = os.urandom(8).hex()
        path = folder / f"{name}.jsonl"
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        session = cls(path, name, [], file)
        session._write({"type": "session", "version": 1, "id": name})
        parent = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        os.fsync(parent)
        os.close(parent)
        return session

    @classmethod
    def open(cls, folder: Path, name: str) -> "Session":
        """An earlier session; a line that a crash tore is dropped.

        Raises:
            FatalError: there is none of that name, or its file is not what was written.
        """
        if not name.isalnum():
            raise FatalError("start", f"{name!r} is no session of this harness")
        path = folder / f"{name}.jsonl"
        try:
            file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW)
            data = path.read_bytes()
        except OSError as error:
            raise FatalError("start", f"the session {name} cannot be read: {error.strerror}") from None
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            os.ftruncate(file, whole)
        try:
            records = [as_object(json.loads(line)) for line in data[:whole].splitlines()]
        except ValueError:
            raise FatalError("start", f"the session file {path} is damaged") from None
        if not records or records[0].get("type") != "session" or records[0].get("version") != 1:
            raise FatalError("start", f"{path} is no session file of this version")
        return cls(path, name, [record["message"] for record in records[1:] if "message" in record], file)

    def append(self, role: str, content: list[Any]) -> None:
        """Add a message; it is on disk when this returns."""
        message: Object = {"role": role, "content": content}
        self._write({"type": "message", "message": message})
        self.messages.append(message)

    def open_calls(self) -> list[Object]:
        """Tool calls of the last message that have no result."""
        if not self.messages or self.messages[-1]["role"] != "assistant":
            return []
        return [block for block in as_list(self.messages[-1]["content"]) if block["type"] == "tool_use"]

    def request_messages(self) -> list[Object]:
        """The history as the API wants it: roles alternate, and results stand before texts."""
        merged: list[Object] = []
        for message in self.messages:
            if merged and merged[-1]["role"] == message["role"]:
                merged[-1] = {"role": message["role"], "content": [*merged[-1]["content"], *message["content"]]}
            else:
                merged.append(message)
        return merged

    def _write(self, record: Object) -> None:
        data = memoryview(dumps(record).encode() + b"\n")
        while data:
            data = data[os.write(self._file, data) :]
        os.fsync(self._file)
