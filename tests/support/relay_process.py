"""A relay as a harness sees it: a process with two streams, spoken to in raw lines; and the place it lives in."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.support.line_daemon import Settings
from tests.support.polling import until

__all__ = ["INITIALIZE", "INITIALIZED", "Home", "Message", "RelayProcess"]

Message = dict[str, Any]

_SCRIPT = str(Path(__file__).with_name("relay_script.py"))
_PATIENCE = 30.0

INITIALIZE: Message = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {"elicitation": {}},
        "clientInfo": {"name": "test", "version": "0"},
    },
}
INITIALIZED: Message = {"jsonrpc": "2.0", "method": "notifications/initialized"}


@dataclass
class RelayProcess:
    """One running relay. Every wait ends after 30 s with an error."""

    process: subprocess.Popen[bytes]
    _lines: list[bytes] = field(default_factory=list[bytes])
    _rest: bytearray = field(default_factory=bytearray)

    def send(self, *messages: Message | bytes) -> None:
        """Write messages (or raw bytes) to the relay's standard input."""
        assert self.process.stdin is not None
        for message in messages:
            self.process.stdin.write(message if isinstance(message, bytes) else json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()

    def call(self, request_id: object, tool: str, **arguments: object) -> None:
        """Send a tools/call."""
        params = {"name": tool, "arguments": arguments}
        self.send({"jsonrpc": "2.0", "id": request_id, "method": "tools/call", "params": params})

    def receive(self, seconds: float = _PATIENCE) -> Message:
        """The next message from the relay."""
        end = time.monotonic() + seconds
        assert self.process.stdout is not None
        descriptor = self.process.stdout.fileno()
        while not self._lines:
            if not select.select([descriptor], [], [], max(0.0, end - time.monotonic()))[0]:
                raise TimeoutError("the relay said nothing")
            chunk = os.read(descriptor, 1 << 18)
            if not chunk:
                raise EOFError("the relay closed its output")
            self._rest += chunk
            *lines, self._rest = self._rest.split(b"\n")
            self._lines += [bytes(line) for line in lines]
        return json.loads(self._lines.pop(0))

    def silent(self, seconds: float) -> bool:
        """Whether nothing comes for that long."""
        try:
            self._lines.insert(0, json.dumps(self.receive(seconds)).encode())
        except TimeoutError:
            return True
        return False

    def handshake(self) -> Message:
        """Initialize as a legacy client and return the answer."""
        self.send(INITIALIZE, INITIALIZED)
        return self.receive()

    def text(self, request_id: object, tool: str, **arguments: object) -> str:
        """Call a tool and return the text of its answer."""
        self.call(request_id, tool, **arguments)
        answer = self.receive()
        assert answer["id"] == request_id, answer
        return answer["result"]["content"][0]["text"]

    def end(self) -> tuple[int, str]:
        """Close the relay's input; return its exit status and what it wrote to standard error."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.wait()

    def wait(self) -> tuple[int, str]:
        """The exit status and the standard error of a relay that ends."""
        assert self.process.stderr is not None
        status = self.process.wait(_PATIENCE)
        return status, self.process.stderr.read().decode()


@dataclass
class Home:
    """A data directory and a runtime directory of a test's own, with everything that was started in them."""

    root: Path
    relays: list[RelayProcess] = field(default_factory=list[RelayProcess])

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def environment(self) -> dict[str, str]:
        """What a harness's environment holds at least."""
        return {"PATH": os.environ["PATH"], "HOME": str(self.root), "XDG_RUNTIME_DIR": str(self.root / "run")}

    def settings(self, settings: Settings) -> None:
        """Decide on the daemon's next life."""
        (self.data / "daemon.json").write_text(json.dumps(asdict(settings)))

    def argv(self, *arguments: str) -> list[str]:
        """How a harness would start the relay."""
        return [sys.executable, "-I", "-S", _SCRIPT, *(arguments or ("--data", str(self.data)))]

    def relay(self, *arguments: str, **environment: str) -> RelayProcess:
        """Start a relay."""
        process = subprocess.Popen(
            self.argv(*arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**self.environment, **environment},
            cwd=self.root,
        )
        self.relays.append(RelayProcess(process))
        return self.relays[-1]

    def token_file(self, token: str) -> str:
        """A file that holds an attempt's token, as a supervisor writes it."""
        path = self.root / "token"
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(token)
        return str(path)

    def starts(self) -> list[Message]:
        """The daemon's lives so far."""
        path = self.data / "starts.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def hellos(self) -> list[Message]:
        """What relays said first, as the daemon read it."""
        path = self.data / "hellos.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def daemon(self) -> int:
        """The pid of the daemon's present life."""
        until(lambda: bool(self.starts()))
        return self.starts()[-1]["pid"]

    def kill(self, number: int = signal.SIGKILL) -> None:
        """End the daemon's present life and see it gone."""
        pid = self.daemon()
        os.kill(pid, number)
        until(lambda: not _alive(pid))


@contextmanager
def home(root: Path) -> Generator[Home]:
    """A home below `root`; at the end nothing that was started in it is left."""
    made = Home(root)
    made.data.mkdir(mode=0o700)
    (root / "run").mkdir(mode=0o700)
    try:
        yield made
    finally:
        for relay in made.relays:
            relay.process.kill()
            relay.process.wait(_PATIENCE)
            for stream in (relay.process.stdin, relay.process.stdout, relay.process.stderr):
                if stream is not None:
                    with suppress(BrokenPipeError):
                        stream.close()
        pids = made.data / "pids"
        for pid in map(int, pids.read_text().split() if pids.exists() else ()):
            if str(made.data) in _command(pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        for pid in map(int, pids.read_text().split() if pids.exists() else ()):
            until(lambda pid=pid: str(made.data) not in _command(pid) or not _alive(pid))


def _alive(pid: int) -> bool:
    """A zombie, which an init that does not reap leaves behind, is dead too."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""
