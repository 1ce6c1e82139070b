"""What a client of 2025-06-18 (Codex) says and hears, byte for byte, over the relay and over HTTP (S6)."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import httpx2
import pytest

from palmette.coordination.store import MemoryStore
from palmette.servers import relay
from tests.fakes.clock import ManualClock
from tests.fakes.verbs import ALL_VERBS, RecordingVerbs
from tests.support.bounded import bounded
from tests.support.mcp_service import bearer, http_service, line_service

pytestmark = [pytest.mark.anyio, pytest.mark.rule("S6")]

HANDSHAKE: dict[str, Any] = {
    "protocolVersion": "2025-06-18",
    "capabilities": {"elicitation": {"form": {}, "url": {}}},
    "clientInfo": {"name": "codex-mcp-client", "version": "0.169.0"},
}
TALK: list[dict[str, Any]] = [
    {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": HANDSHAKE},
    {"jsonrpc": "2.0", "method": "notifications/initialized"},
    {"jsonrpc": "2.0", "id": 1, "method": "tools/list"},
    {
        "jsonrpc": "2.0",
        "id": 2,
        "method": "tools/call",
        "params": {
            "name": "spawn",
            "arguments": {"task": "x"},
            "_meta": {"progressToken": 2, "x-codex-turn-metadata": {"session_id": "c-1", "thread_id": "t-1"}},
        },
    },
    {"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": {"name": "spawn", "arguments": {"tsk": "x"}}},
    {"jsonrpc": "2.0", "id": 4, "method": "tools/call", "params": {"name": "unheard_of", "arguments": {}}},
    {"jsonrpc": "2.0", "id": 5, "method": "ping"},
    {"jsonrpc": "2.0", "id": 6, "method": "no/such/method"},
]


def _check(answers: dict[int, dict[str, Any]], verbs: RecordingVerbs, connection: str | None) -> None:
    assert answers.keys() == {0, 1, 2, 3, 4, 5, 6}
    hello = answers[0]["result"]
    assert hello["protocolVersion"] == "2025-06-18"
    assert hello["serverInfo"]["name"] == "palmette"
    assert hello["capabilities"]["tools"] == {"listChanged": True}
    assert "await_event" in hello["instructions"]
    tools = answers[1]["result"]["tools"]
    assert {tool["name"] for tool in tools} == ALL_VERBS
    assert all(tool["inputSchema"]["type"] == "object" for tool in tools)
    right, wrong, unknown = (answers[number]["result"] for number in (2, 3, 4))
    assert right["structuredContent"] == {"ok": True, "verb": "spawn"}
    assert json.loads(right["content"][0]["text"]) == right["structuredContent"]
    assert wrong["isError"] is True
    assert [problem["argument"] for problem in wrong["structuredContent"]["problems"]] == ["task", "tsk"]
    assert unknown["isError"] is True
    assert answers[5]["result"] == {}
    assert answers[6]["error"]["code"] == -32601
    (call,) = verbs.calls
    assert call.visitor.root_key == "codex-mcp-client:c-1"
    assert call.key is not None
    assert call.key.request == "2"
    if connection is not None:
        assert call.key.session == connection


@bounded(60)
async def test_over_the_relay(tmp_path: Path) -> None:
    verbs = RecordingVerbs()
    async with line_service(tmp_path / "s", verbs) as path:
        told = await anyio.to_thread.run_sync(_talk_to_relay, path)

    answers = {message["id"]: message for message in told if "id" in message}
    _check(answers, verbs, None)


def _talk_to_relay(path: str) -> list[dict[str, Any]]:
    """Say everything, and read until the last answer is there; then end as a harness does, by closing stdin."""
    argv = [sys.executable, "-I", "-S", str(Path(relay.__file__)), "--socket", path]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={})
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        for message in TALK:
            process.stdin.write(json.dumps(message) + "\n")
        process.stdin.flush()
        told: list[dict[str, Any]] = []
        while sum("id" in message for message in told) < 7:
            told.append(json.loads(process.stdout.readline()))
        process.stdin.close()
        assert process.wait(timeout=20) == 0
    return told


@bounded(60)
async def test_over_http(tmp_path: Path) -> None:
    verbs = RecordingVerbs()
    store = MemoryStore(ManualClock())
    answers: dict[int, dict[str, Any]] = {}
    async with http_service(tmp_path, verbs, store) as service, httpx2.AsyncClient(timeout=30) as http:
        headers = {**bearer(tmp_path), "Accept": "application/json, text/event-stream"}
        for message in TALK:
            response = await http.post(f"{service.url}/mcp", json=message, headers=headers)
            if "id" not in message:
                assert (response.status_code, response.content) == (202, b"")
                continue
            assert response.status_code == 200
            answers[message["id"]] = _event(response)
            if message["method"] == "initialize":
                headers |= {
                    "mcp-session-id": response.headers["mcp-session-id"],
                    "mcp-protocol-version": "2025-06-18",
                }
        ended = await http.delete(f"{service.url}/mcp", headers=headers)

    assert ended.status_code == 200
    _check(answers, verbs, headers["mcp-session-id"])


def _event(response: httpx2.Response) -> dict[str, Any]:
    data = [line.removeprefix("data: ") for line in response.text.splitlines() if line.startswith("data: {")]
    return json.loads(data[-1])
