"""The two tools of its own that the agent has: a shell, and an exact edit. Standard library only."""

import os
import signal
import stat
import subprocess
import threading
from collections.abc import Mapping
from contextlib import suppress

from palmette.sandbox.harness.builtin_agent.mcp import Answer
from palmette.sandbox.harness.builtin_agent.wire import Cancel, Object

__all__ = ["TOOLS", "edit", "shell"]

OUTPUT_MAX_CHARS = 30_000
SHELL_DEFAULT_S = 120.0
SHELL_MOST_S = 3600.0

_FILE_MAX_BYTES = 10 * 1024 * 1024
_READ = 65536
_LAST_OUTPUT_S = 1.0

TOOLS: Mapping[str, Object] = {
    "shell": {
        "name": "shell",
        "description": "Run a command with bash in the working directory. Returns its output and, unless it is 0, its "
        "exit status. Output beyond 30,000 characters is cut in the middle.",
        "input_schema": {
            "type": "object",
            "properties": {
                "command": {"type": "string"},
                "timeout_s": {"type": "number", "description": "Seconds until it is killed: 120 if not given."},
            },
            "required": ["command"],
            "additionalProperties": False,
        },
    },
    "edit": {
        "name": "edit",
        "description": "Replace `old` by `new` in a file; `old` must occur exactly once. Without `old` a new file is "
        "made. Paths are relative to the working directory and must stay in it.",
        "input_schema": {
            "type": "object",
            "properties": {"path": {"type": "string"}, "old": {"type": "string"}, "new": {"type": "string"}},
            "required": ["path", "new"],
            "additionalProperties": False,
        },
    },
}
"""Their definitions as the Messages API takes them, by name."""


def shell(arguments: Object, cwd: str, env: Mapping[str, str], cancel: Cancel) -> Answer:
    """Run a command in a process group of its own; cancelled or late, the group is killed.

    What the command leaves in the background goes on; it ends with the attempt.
    """
    command, seconds = arguments.get("command"), arguments.get("timeout_s", SHELL_DEFAULT_S)
    if not isinstance(command, str) or "\0" in command:
        return Answer("command: a string is required", True)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= SHELL_MOST_S:
        return Answer(f"timeout_s: a number of seconds up to {SHELL_MOST_S:g} is required", True)
    try:
        process = subprocess.Popen(
            ["bash", "-c", command],
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        return Answer(f"the command could not be started: {error}", True)

    ended_by: list[str] = []

    def kill(why: str) -> None:
        if process.returncode is None:
            ended_by.append(why)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    output = _Output(process)
    timer = threading.Timer(seconds, kill, [f"killed after {seconds:g} s"])
    timer.daemon = True
    timer.start()  # Popen.wait(timeout) would look only every 50 ms
    with cancel.calling(lambda: kill("interrupted")):
        process.wait()
    timer.cancel()
    text = output.text()
    if ended_by:
        return Answer(f"{text}\n{ended_by[0]}".strip(), True)
    if process.returncode:
        return Answer(f"{text}\nexit status {process.returncode}".strip(), True)
    return Answer(text or "(no output)")


class _Output:
    """Drains a pipe for as long as anyone writes to it, and keeps its beginning and its end."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._stream = process.stdout
        self._head = bytearray()
        self._tail = bytearray()
        self._lost = 0
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._drain, daemon=True)
        self._thread.start()

    def text(self) -> str:
        """What there is by now; a process in the background may keep the pipe open for ever."""
        self._thread.join(_LAST_OUTPUT_S)
        with self._lock:
            head, tail, lost = bytes(self._head), bytes(self._tail), self._lost
        if not lost:
            return _cut((head + tail).decode(errors="replace").rstrip("\n"))
        return f"{head.decode(errors='replace')}\n[{lost} bytes left out]\n{tail.decode(errors='replace')}".rstrip("\n")

    def _drain(self) -> None:
        half = OUTPUT_MAX_CHARS // 2
        if self._stream is None:
            return
        with self._stream as stream:
            while chunk := os.read(stream.fileno(), _READ):
                with self._lock:
                    room = max(0, half - len(self._head))
                    self._head += chunk[:room]
                    self._tail += chunk[room:]
                    extra = len(self._tail) - half
                    if extra > 0:
                        self._lost += extra
                        del self._tail[:extra]


def _cut(text: str) -> str:
    return text if len(text) <= OUTPUT_MAX_CHARS else text[:OUTPUT_MAX_CHARS]


def edit(arguments: Object, root: str) -> Answer:
    """Replace a text that occurs once, or make a file, inside `root`."""
    path, old, new = arguments.get("path"), arguments.get("old"), arguments.get("new")
    if not isinstance(path, str) or not path or "\0" in path:
        return Answer("path: a non-empty string is required", True)
    if not isinstance(new, str) or not isinstance(old, str | None):
        return Answer("old and new: strings are required", True)
    real_root = os.path.realpath(root)
    target = os.path.realpath(os.path.join(real_root, path))
    if not target.startswith(real_root + os.sep):
        return Answer(f"{path} lies outside the working directory", True)
    try:
        if not old:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666), "wb") as file:
                file.write(new.encode())
            return Answer(f"{path} was made")
        return _replace(path, target, old.encode(), new.encode())
    except FileExistsError:
        return Answer(f"{path} exists: give `old`, the text to be replaced", True)
    except UnicodeEncodeError:
        return Answer("old and new: a lone surrogate cannot be written", True)
    except OSError as error:
        return Answer(f"{path}: {error.strerror}", True)


def _replace(path: str, target: str, old: bytes, new: bytes) -> Answer:
    with open(os.open(target, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "r+b") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_size > _FILE_MAX_BYTES:
            return Answer(f"{path} is no file of at most {_FILE_MAX_BYTES} bytes", True)
        content = file.read()
        count = content.count(old)
        if count != 1:
            return Answer(
                f"`old` occurs {count} times in {path}; it must occur once: give more of its surroundings", True
            )
        file.seek(0)
        file.write(content.replace(old, new))
        file.truncate()
    return Answer(f"{path} was changed")
