"""A small real MCP server that nodes reach through the real relay, as they reach the supervisor."""

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
from mcp.server import MCPServer

from palmette.servers import relay
from palmette.servers.lines import Accepted, Hello, lowlevel, serve_lines
from palmette.servers.unix_socket import Peer

__all__ = ["INSTRUCTIONS", "McpPeer"]

INSTRUCTIONS = "The contract of this peer."


class McpPeer:
    """The server's tools, and what they saw.

    Attributes:
        tokens: what each relay said it was.
        entered: set when `wait` is called; `cancelled` when such a call was cancelled.
        release: lets `wait` return.
    """

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self.tokens: list[str | None] = []
        self.entered = anyio.Event()
        self.cancelled = anyio.Event()
        self.release = anyio.Event()
        self.echoed: list[str] = []
        self.server = MCPServer("peer", instructions=INSTRUCTIONS)
        self.server.add_tool(self._echo, name="echo")
        self.server.add_tool(self._wait, name="wait")
        self.server.add_tool(self._fail, name="fail")
        self.server.add_tool(self._free, name="free")

    @property
    def relay_argv(self) -> tuple[str, ...]:
        """Starts the relay on this server."""
        return (sys.executable, "-I", "-S", str(Path(relay.__file__)), "--socket", str(self._socket))

    @classmethod
    @asynccontextmanager
    async def serving(cls) -> AsyncGenerator["McpPeer"]:
        """Serve until the block ends; the socket's path is short, whatever the test's name is."""
        with TemporaryDirectory(prefix="peer-") as directory:
            peer = cls(Path(directory) / "mcp.sock")
            async with anyio.create_task_group() as tasks:
                await tasks.start(serve_lines, str(peer._socket), peer._connect)
                yield peer
                tasks.cancel_scope.cancel()

    async def _connect(self, hello: Hello, peer: Peer) -> Accepted:
        self.tokens.append(hello.token)
        return Accepted(lowlevel(self.server))

    async def _echo(self, text: str) -> dict[str, str]:
        """Give the text back."""
        self.echoed.append(text)
        return {"echoed": text}

    async def _wait(self) -> str:
        """Wait until released."""
        self.entered.set()
        try:
            await self.release.wait()
        except anyio.get_cancelled_exc_class():
            self.cancelled.set()
            raise
        return "released"

    async def _free(self) -> str:
        """Let `wait` return."""
        self.release.set()
        return "freed"

    async def _fail(self) -> str:
        """Fail."""
        raise ValueError("not to be had")
