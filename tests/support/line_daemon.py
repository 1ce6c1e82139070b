"""A small real supervisor for the relay's tests: an MCPServer served as JSON lines, started by the relay itself.

`python line_daemon.py --data DIR`. It takes its settings from DIR/daemon.json, holds the supervisor's lock, writes its
pid to DIR/pids, keeps its effects in DIR/calls.db and ends on SIGTERM.
"""

import argparse
import fcntl
import json
import os
import signal
import sqlite3
import sys
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import anyio
import anyio.to_thread
from mcp.server import MCPServer
from mcp.server.mcpserver import (
    AcceptedElicitation,
    Context,
    Elicit,
    ElicitationResult,
    RequestStateSecurity,
    Resolve,
)
from pydantic import BaseModel

from palmette.servers import places
from palmette.servers.lines import (
    CONNECTION,
    Accepted,
    Connection,
    Hello,
    HelloRefusedError,
    lowlevel,
    request_key,
    seconds_waited,
    serve_lines,
)
from palmette.servers.relay_wire import WIRE
from palmette.servers.unix_socket import Peer

__all__ = ["Daemon", "Settings", "main"]


class Answer(BaseModel):
    """What a person types."""

    answer: str


async def _ask(question: str, ctx: Context) -> Elicit[Answer] | Answer:
    capabilities = ctx.client_capabilities
    if capabilities is not None and capabilities.elicitation is not None:
        return Elicit(question, Answer)
    return Answer(answer="nobody to ask")


class Daemon:
    """The tools and their books."""

    def __init__(self, data: Path, extra_tool: str | None) -> None:
        self.data = data
        self.server = MCPServer(
            "daemon",
            version="7",
            instructions="the contract",
            request_state_security=RequestStateSecurity(keys=[b"k" * 32], audience="palmette"),
        )
        self.server.add_tool(self.echo, name="echo")
        self.server.add_tool(self.whoami, name="whoami")
        self.server.add_tool(self.record, name="record")
        self.server.add_tool(self.wait, name="wait")
        self.server.add_tool(self.big, name="big")
        self.server.add_tool(self.ask, name="ask")
        if extra_tool:
            self.server.add_tool(self.echo, name=extra_tool)
        with closing(self.books()) as books:
            books.execute("CREATE TABLE IF NOT EXISTS effects (session TEXT, key TEXT, PRIMARY KEY (session, key))")
            books.execute("CREATE TABLE IF NOT EXISTS receipts (session TEXT, key TEXT, waited REAL)")

    def books(self) -> sqlite3.Connection:
        return sqlite3.connect(self.data / "calls.db", isolation_level=None, timeout=30)

    def _effect(self, session: str, key: str, waited: float) -> int:
        with closing(self.books()) as books:
            books.execute("INSERT INTO receipts VALUES (?, ?, ?)", (session, key, waited))
            books.execute("INSERT OR IGNORE INTO effects VALUES (?, ?)", (session, key))
            return books.execute("SELECT rowid FROM effects WHERE session = ? AND key = ?", (session, key)).fetchone()[
                0
            ]

    async def echo(self, text: str) -> str:
        """Give back the text."""
        return text

    async def whoami(self, ctx: Context) -> str:
        """Who the connection says the caller is."""
        found = CONNECTION.get()
        return json.dumps(
            {
                "session": found.session,
                "token": found.token,
                "pid": found.pid,
                "uid": found.uid,
                "cwd": found.cwd,
                "env": found.env,
                "only": found.only,
                "context": found.context,
                "connection": found.connection_id,
                "key": request_key(ctx),
            }
        )

    async def record(self, ctx: Context, hold: bool = False) -> str:
        """One effect per (session, request id), done before the answer; with hold, the first sending gets no answer."""
        waited = seconds_waited(ctx)
        number = await anyio.to_thread.run_sync(self._effect, CONNECTION.get().session, request_key(ctx), waited)
        if hold and waited == 0:
            await anyio.sleep_forever()
        return json.dumps({"number": number, "waited": waited})

    async def wait(self, file: str) -> str:
        """Answer when the file appears in the data directory."""
        (self.data / f"waiting-{file}").touch()
        try:
            while not (self.data / file).exists():  # noqa: ASYNC110 - the test is another process
                await anyio.sleep(0.01)
        except anyio.get_cancelled_exc_class():
            (self.data / f"cancelled-{file}").touch()
            raise
        return "seen"

    async def big(self, size: int) -> str:
        """A text of that many characters."""
        return "x" * size

    async def ask(self, question: str, answer: Annotated[ElicitationResult[Answer], Resolve(_ask)]) -> str:
        """Ask the person at the other end."""
        return answer.data.answer if isinstance(answer, AcceptedElicitation) else answer.action


@dataclass(frozen=True)
class Settings:
    """What a test wants of the next life of the daemon; written to DIR/daemon.json."""

    version: str = "0.1.0"
    wire: int = WIRE
    refuse: str | None = None
    tool: str | None = None
    fail: str | None = None


async def _main(data: Path, settings: Settings) -> None:
    daemon = Daemon(data, settings.tool)

    async def connect(hello: Hello, peer: Peer) -> Accepted:
        if settings.refuse:
            raise HelloRefusedError(settings.refuse, "the token is not known\x1b[31m", "palmette observe")
        with (data / "hellos.jsonl").open("a") as out:
            out.write(hello.model_dump_json() + "\n")
        return Accepted(lowlevel(daemon.server), context={"peer": peer.pid})

    async def bye(connection: Connection) -> None:
        with (data / "byes").open("a") as out:
            out.write(connection.session + "\n")

    path = places.socket_path(places.claim_runtime(str(data)), places.MCP_SOCKET)
    async with anyio.create_task_group() as tasks:
        with anyio.open_signal_receiver(signal.SIGTERM) as signals:
            serve = partial(serve_lines, on_bye=bye, version=settings.version, wire=settings.wire)
            await tasks.start(serve, path, connect)
            async for _ in signals:
                tasks.cancel_scope.cancel()
                break


def main() -> int:
    """Run one life."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True, type=Path)
    data: Path = parser.parse_args().data
    with (data / "pids").open("a") as out:  # before anything that can fail, so that a test can clean up
        out.write(f"{os.getpid()}\n")
    given = data / "daemon.json"
    settings = Settings(**json.loads(given.read_text())) if given.exists() else Settings()
    if settings.fail:
        print(settings.fail, file=sys.stderr)
        return 1
    lock = (data / "supervisor.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("another supervisor owns this directory", file=sys.stderr)
        return 1
    with (data / "starts.jsonl").open("a") as out:
        life = {"pid": os.getpid(), "ppid": os.getppid(), "sid": os.getsid(0), "env": dict(os.environ)}
        out.write(json.dumps(life) + "\n")
    anyio.run(_main, data, settings)
    return 0


if __name__ == "__main__":
    sys.exit(main())
