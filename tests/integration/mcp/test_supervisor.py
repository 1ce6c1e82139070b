"""The composition root as a process: it serves on its three roads, ends in good order, and comes back after kill -9."""

import json
import signal
import socket
import stat
import tempfile
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import anyio
import anyio.to_thread
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tests.support.bounded import bounded
from tests.support.mcp_service import bearer, client_over_lines
from tests.support.supervisor_process import SupervisorProcess

pytestmark = pytest.mark.anyio


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[SupervisorProcess]:
    """None runs yet."""
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    with tempfile.TemporaryDirectory(prefix="pm-") as runtime:
        process = SupervisorProcess(data, Path(runtime))
        try:
            yield process
        finally:
            process.close()


@asynccontextmanager
async def _over_http(record: dict[str, Any], data: Path, era: str) -> AsyncGenerator[Client]:
    async with (
        httpx2.AsyncClient(headers=bearer(data), timeout=60) as http,
        Client(streamable_http_client(record["addresses"]["http"] + "/mcp", http_client=http), mode=era) as client,
    ):
        yield client


async def _call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result
    return cast(dict[str, Any], result.structured_content)


@pytest.mark.rule("S6", "S3")
@pytest.mark.parametrize("era", ["legacy", "2026-07-28"])
@bounded(60)
async def test_a_root_spawns_and_sees_its_child_over_each_road(supervisor: SupervisorProcess, era: str) -> None:
    record = await anyio.to_thread.run_sync(supervisor.start)
    async with client_over_lines(record["addresses"]["mcp"], era) as lines:
        no_tree = await _call(lines, "await_event", wait_s=0)
        spawned = await _call(lines, "spawn", task="Do it.", label="one", budget={"turns": 3})
        pending = await _call(lines, "await_event", wait_s=0)
        shown = await _call(lines, "observe", node="one")
        tools = {tool.name for tool in (await lines.list_tools()).tools}
    async with _over_http(record, supervisor.data, era) as http:
        other = await _call(http, "spawn", task="Do it too.")

    assert no_tree["error"] == "no_tree"
    assert spawned["ok"] is True
    assert spawned["label"] == "one"
    assert pending["pending"] is True
    assert shown["node"] == spawned["node"]
    assert len(tools) == 10
    assert other["ok"] is True
    assert other["node"].partition("/")[0] != spawned["node"].partition("/")[0]


@pytest.mark.rule("S5", "R8")
@bounded(90)
async def test_after_kill_9_the_session_over_http_goes_on_with_its_tree(supervisor: SupervisorProcess) -> None:
    record = await anyio.to_thread.run_sync(supervisor.start)
    headers = {**bearer(supervisor.data), "Accept": "application/json, text/event-stream"}
    url = f"{record['addresses']['http']}/mcp/coordination"
    async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
        opened = await http.post(url, json=_request(1, "initialize", _HANDSHAKE))
        session = {"mcp-session-id": opened.headers["mcp-session-id"], "mcp-protocol-version": "2025-06-18"}
        first = await http.post(url, json=_tool(2, "spawn", task="x", label="one"), headers=session)
        await anyio.to_thread.run_sync(supervisor.kill)
        again = await anyio.to_thread.run_sync(supervisor.start)
        second = await http.post(url, json=_tool(3, "observe", node="one"), headers=session)

    assert again["addresses"] == record["addresses"]  # a port taken by 0 is taken again
    assert again["pid"] != record["pid"]
    assert second.status_code == 200
    assert _answer(second)["node"] == _answer(first)["node"]


@pytest.mark.rule("S5")
@pytest.mark.parametrize("era", ["legacy", "2026-07-28"])
@bounded(90)
async def test_a_kill_9_in_the_middle_of_await_event_is_invisible_through_the_relay(
    supervisor: SupervisorProcess, era: str
) -> None:
    record = await anyio.to_thread.run_sync(supervisor.start)
    answers: list[dict[str, Any]] = []
    async with client_over_lines(record["addresses"]["mcp"], era) as client:
        spawned = await _call(client, "spawn", task="x", label="one")
        answered = anyio.Event()

        async def wait() -> None:
            answers.append(await _call(client, "await_event", wait_s=4))
            answered.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.sleep(1)  # a call that waits leaves no trace one could wait for
            assert not answered.is_set()
            await anyio.to_thread.run_sync(supervisor.kill)
            await anyio.to_thread.run_sync(supervisor.start)
        again = await _call(client, "observe", node="one")

    assert answers[0]["pending"] is True
    assert again["node"] == spawned["node"]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
@bounded(60)
async def test_it_ends_in_good_order_and_leaves_nothing(supervisor: SupervisorProcess, how: signal.Signals) -> None:
    record = await anyio.to_thread.run_sync(supervisor.start)
    written = supervisor.data / "supervisor.json"
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    assert record["data"] == str(supervisor.data)
    assert record["version"]
    async with client_over_lines(record["addresses"]["mcp"], "legacy") as client:
        await _call(client, "spawn", task="x")
        code = await anyio.to_thread.run_sync(supervisor.end, how)

    assert code == 0
    assert not written.exists()
    assert _left(record["addresses"]["mcp"], record["addresses"]["api"]) == []


@pytest.mark.rule("R2")
@bounded(60)
async def test_a_second_supervisor_is_refused_and_the_first_goes_on(supervisor: SupervisorProcess) -> None:
    record = await anyio.to_thread.run_sync(supervisor.start)
    second = supervisor.launch()
    _, told = await anyio.to_thread.run_sync(second.communicate)

    assert second.returncode == 1
    assert told.startswith(f"supervisor_running: another supervisor (pid {record['pid']}) owns {supervisor.data}")
    assert supervisor.record() == record
    async with client_over_lines(record["addresses"]["mcp"], "legacy") as client:
        assert (await client.list_tools()).tools


@bounded(60)
async def test_a_port_in_use_is_named(supervisor: SupervisorProcess) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        life = supervisor.launch(port=port)
        _, told = await anyio.to_thread.run_sync(life.communicate)

    assert life.returncode == 1
    assert told.startswith(f"port_in_use: port {port} is in use")
    assert supervisor.record() == {}


@bounded(60)
async def test_with_no_tree_and_no_client_it_ends(supervisor: SupervisorProcess) -> None:
    await anyio.to_thread.run_sync(lambda: supervisor.start(idle_exit_s=0.5))

    assert await anyio.to_thread.run_sync(lambda: supervisor.lives[-1].wait(timeout=30)) == 0


@bounded(60)
async def test_with_a_client_or_a_tree_it_stays(supervisor: SupervisorProcess) -> None:
    record = await anyio.to_thread.run_sync(lambda: supervisor.start(idle_exit_s=0.5))
    async with client_over_lines(record["addresses"]["mcp"], "legacy") as client:
        await anyio.sleep(1.5)
        await _call(client, "spawn", task="x")
    await anyio.sleep(1.5)

    assert supervisor.lives[-1].poll() is None


@pytest.mark.rule("W4")
@bounded(60)
async def test_a_token_of_no_live_attempt_gets_no_further_than_the_hello(supervisor: SupervisorProcess) -> None:
    record = await anyio.to_thread.run_sync(supervisor.start)
    stream = await anyio.connect_unix(record["addresses"]["mcp"])
    async with stream:
        hello = {
            "palmette": 1,
            "version": "0",
            "session": "s" * 16,
            "token": "guessed",
            "pid": 1,
            "ppid": 1,
            "cwd": "/",
        }
        await stream.send(json.dumps(hello).encode() + b"\n")
        told = json.loads(await stream.receive(65536))

    assert told["error"] == "attempt_over"


def _left(*paths: str) -> list[str]:
    return [path for path in paths if Path(path).exists()]


_HANDSHAKE: dict[str, Any] = {
    "protocolVersion": "2025-06-18",
    "capabilities": {},
    "clientInfo": {"name": "ide", "version": "1"},
}


def _request(number: int, method: str, params: dict[str, Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


def _tool(number: int, name: str, **arguments: Any) -> dict[str, Any]:
    return _request(number, "tools/call", {"name": name, "arguments": arguments})


def _answer(response: httpx2.Response) -> dict[str, Any]:
    line = next(line for line in response.text.splitlines() if line.startswith("data: {"))
    return json.loads(line.removeprefix("data: "))["result"]["structuredContent"]
