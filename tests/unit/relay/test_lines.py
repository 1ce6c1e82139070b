"""The supervisor's end, spoken to directly."""

import json
import os
import socket
import stat
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import SocketStream
from mcp.server import MCPServer
from mcp.server.mcpserver import Context

from palmette.servers import lines
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
from palmette.servers.unix_socket import Peer, SocketInUseError, UnixSocket

pytestmark = pytest.mark.anyio

HELLO: dict[str, object] = {
    "palmette": 1,
    "version": "0.1.0",
    "session": "0123456789abcdef",
    "pid": 1,
    "ppid": 1,
    "cwd": "/",
    "env": {"CLAUDE_CODE_SESSION_ID": "s", "SECRET": "x"},
}
INITIALIZE: dict[str, object] = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}},
}

server = MCPServer("test")
WAITING = anyio.Event()


@server.tool()
async def who(ctx: Context) -> str:
    """What a tool can know of its caller."""
    found = CONNECTION.get()
    return json.dumps([found.session, found.uid, found.env, found.context, request_key(ctx), seconds_waited(ctx)])


@server.tool()
async def wait() -> str:
    """Never answers."""
    WAITING.set()
    await anyio.sleep_forever()
    return "never"


class _Peer:
    """A raw client."""

    def __init__(self, stream: SocketStream) -> None:
        self.stream = stream
        self.rest = b""

    async def send(self, *messages: dict[str, object] | bytes) -> None:
        for message in messages:
            await self.stream.send(message if isinstance(message, bytes) else json.dumps(message).encode() + b"\n")

    async def receive(self) -> dict[str, Any]:
        while b"\n" not in self.rest:
            self.rest += await self.stream.receive()
        line, _, self.rest = self.rest.partition(b"\n")
        return json.loads(line)


class _Service:
    """A running line server and its books."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.byes: list[Connection] = []
        self.bye = anyio.Event()

    async def connect(self, hello: Hello, peer: Peer) -> Accepted:
        if hello.token == "broken":
            raise RuntimeError("a fault of ours")
        if hello.token is not None:
            raise HelloRefusedError("bad_token", "the token is not known", "palmette observe")
        return Accepted(lowlevel(server), context=peer.pid)

    async def on_bye(self, connection: Connection) -> None:
        self.byes.append(connection)
        self.bye.set()

    @asynccontextmanager
    async def peer(self) -> AsyncGenerator[_Peer]:
        async with await anyio.connect_unix(str(self.path)) as stream:
            yield _Peer(stream)


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[_Service]:
    made = _Service(tmp_path / "mcp.sock")
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            await tasks.start(partial(serve_lines, on_bye=made.on_bye), str(made.path), made.connect)
            yield made
            tasks.cancel_scope.cancel()


async def test_the_connection_alone_says_who_calls(service: _Service) -> None:
    async with service.peer() as peer:
        await peer.send(HELLO)
        assert await peer.receive() == {"palmette": 1, "version": "0.1.0", "pid": os.getpid()}
        await peer.send(INITIALIZE, {"jsonrpc": "2.0", "method": "notifications/initialized"})
        assert (await peer.receive())["result"]["capabilities"]["tools"] == {"listChanged": True}
        params: dict[str, object] = {"name": "who", "arguments": {}, "_meta": {"palmette/since": 2.5}}
        await peer.send({"jsonrpc": "2.0", "id": "7", "method": "tools/call", "params": params})
        told = json.loads((await peer.receive())["result"]["content"][0]["text"])
        told_env = {"CLAUDE_CODE_SESSION_ID": "s"}
        assert told == ["0123456789abcdef", os.getuid(), told_env, os.getpid(), '"7"', 2.5]


@pytest.mark.parametrize("since", [-1, True, "3", None, float("nan")])
async def test_a_waited_time_that_is_none_counts_as_nothing(service: _Service, since: object) -> None:
    async with service.peer() as peer:
        await peer.send(HELLO, INITIALIZE)
        await peer.receive()
        await peer.receive()
        params: dict[str, object] = {"name": "who", "arguments": {}, "_meta": {"palmette/since": since}}
        await peer.send({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params})
        assert json.loads((await peer.receive())["result"]["content"][0]["text"])[4:] == ["7", 0.0]


@pytest.mark.rule("R8")
async def test_each_end_of_a_connection_is_told_once(service: _Service) -> None:
    async with service.peer() as peer:
        await peer.send(HELLO)
        await peer.receive()
    await service.bye.wait()
    assert [connection.session for connection in service.byes] == ["0123456789abcdef"]
    assert "token" not in repr(service.byes[0])


@pytest.mark.rule("R9")
@pytest.mark.parametrize("wire", [0, 2, "1", True, 1.5])
async def test_another_wire_version_is_refused_by_number(service: _Service, wire: object) -> None:
    async with service.peer() as peer:
        await peer.send({**HELLO, "palmette": wire, "version": "9.9.9"})
        answer = await peer.receive()
        assert (answer["palmette"], answer["error"]) == (1, "wire_version")
        assert "9.9.9" in answer["message"]
        assert "0.1.0" in answer["message"]
        with pytest.raises(anyio.EndOfStream):
            await peer.receive()
    assert service.byes == []


@pytest.mark.parametrize(
    ("hello", "code"),
    [
        (b"GET / HTTP/1.1\r\n", "bad_hello"),
        (b"[]\n", "bad_hello"),
        (b"[" * 50_000 + b"\n", "bad_hello"),
        (b"x" * (65 * 1024), "bad_hello"),
        ({**HELLO, "session": "../../etc"}, "bad_hello"),
        ({**HELLO, "only": "everything"}, "bad_hello"),
        ({**HELLO, "pid": "1"}, "bad_hello"),
        ({**HELLO, "token": "guess"}, "bad_token"),
    ],
)
async def test_a_hello_that_is_none_is_refused_with_a_code(
    service: _Service, hello: dict[str, object] | bytes, code: str
) -> None:
    async with service.peer() as peer:
        await peer.send(hello)
        answer = await peer.receive()
        assert answer["error"] == code
        assert "guess" not in json.dumps(answer)


async def test_a_fault_in_one_connection_leaves_the_others(service: _Service, caplog: pytest.LogCaptureFixture) -> None:
    async with service.peer() as first, service.peer() as second:
        await second.send({**HELLO, "token": "broken"})
        with pytest.raises(anyio.EndOfStream):
            await second.receive()
        await first.send(HELLO)
        assert "pid" in await first.receive()
    assert "a relay's connection failed" in caplog.text
    assert "0123456789abcdef" not in caplog.text


async def test_a_peer_that_says_nothing_is_let_go(service: _Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "_HELLO_SECONDS", 0.05)
    async with service.peer() as peer:
        with pytest.raises(anyio.EndOfStream):
            await peer.receive()


async def test_a_user_who_is_not_ours_is_refused(service: _Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def foreign(stream: UnixSocket) -> Peer:
        return Peer(1, os.getuid() + 1, 1)

    monkeypatch.setattr(UnixSocket, "peer", foreign)
    async with service.peer() as peer:
        await peer.send(HELLO)
        assert (await peer.receive())["error"] == "foreign_user"


@pytest.mark.parametrize(
    ("line", "request_id", "code"),
    [
        (b"not json\n", None, -32700),
        (b'{"id":9,"method":7}\n', 9, -32600),
        (b"[1]\n", None, -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"' + b"x" * (17 * 1024 * 1024) + b'"}\n', None, -32600),
    ],
)
async def test_a_line_that_is_no_message_is_answered_and_the_connection_goes_on(
    service: _Service, line: bytes, request_id: object, code: int
) -> None:
    async with service.peer() as peer:
        await peer.send(HELLO)
        await peer.receive()
        await peer.send(INITIALIZE)
        await peer.receive()
        await peer.send(line)
        answer = await peer.receive()
        assert (answer["id"], answer["error"]["code"]) == (request_id, code)
        await peer.send({"jsonrpc": "2.0", "id": 1, "method": "ping"})
        assert await peer.receive() == {"jsonrpc": "2.0", "id": 1, "result": {}}


async def _serve(path: Path, then: Callable[[], Awaitable[None]]) -> None:
    service = _Service(path)
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            await tasks.start(serve_lines, str(path), service.connect)
            await then()
            tasks.cancel_scope.cancel()


async def test_the_socket_is_ours_alone_and_gone_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "mcp.sock"

    async def look() -> None:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    await _serve(path, look)
    assert not path.exists()


async def test_a_socket_somebody_listens_on_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "mcp.sock"

    async def second() -> None:
        with pytest.raises(SocketInUseError):
            await serve_lines(str(path), _Service(path).connect)
        async with await anyio.connect_unix(str(path)):
            pass

    await _serve(path, second)


async def test_a_socket_nobody_listens_on_is_replaced_and_another_file_is_not(tmp_path: Path) -> None:
    path = tmp_path / "mcp.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))

    async def connect() -> None:
        async with await anyio.connect_unix(str(path)):
            pass

    await _serve(path, connect)
    path.write_text("mine")
    with pytest.raises(FileExistsError):
        await serve_lines(str(path), _Service(path).connect)
    assert path.read_text() == "mine"


@pytest.mark.rule("S5")
async def test_a_server_that_is_shut_down_answers_nothing_it_has_not_done(tmp_path: Path) -> None:
    """The relay sends it again to the next one; the SDK's farewell, an error, would be taken for the answer."""
    path = tmp_path / "mcp.sock"
    peers: list[_Peer] = []

    async def call() -> None:
        peer = _Peer(await anyio.connect_unix(str(path)))
        peers.append(peer)
        await peer.send(HELLO)
        await peer.receive()
        await peer.send(INITIALIZE, {"jsonrpc": "2.0", "method": "notifications/initialized"})
        await peer.receive()
        params: dict[str, object] = {"name": "wait", "arguments": {}}
        await peer.send({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
        await WAITING.wait()

    await _serve(path, call)
    async with peers[0].stream:
        with pytest.raises(anyio.EndOfStream):
            await peers[0].receive()
    assert peers[0].rest == b""


async def test_a_successors_socket_survives_our_end(tmp_path: Path) -> None:
    path = tmp_path / "mcp.sock"

    async def replace() -> None:
        path.unlink()
        path.write_text("the successor's")

    await _serve(path, replace)
    assert path.exists()
