"""The inspector's command line, a client that is not ours, on the relay and on the HTTP endpoint."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from palmette.coordination.store import MemoryStore
from palmette.servers import relay
from tests.conformance.mcp.conftest import NodeProgram
from tests.conformance.mcp.waiting_tree import WaitingTree
from tests.fakes.clock import ManualClock
from tests.fakes.verbs import ALL_VERBS, RecordingVerbs
from tests.support.bounded import bounded
from tests.support.mcp_service import bearer, http_service, line_service

pytestmark = [pytest.mark.anyio, pytest.mark.rule("S6")]


async def _talk(inspector: NodeProgram, target: list[str], verbs: RecordingVerbs) -> None:
    listed = await inspector.run("--cli", *target, "--method", "tools/list", "--strict")
    assert listed.returncode == 0, listed.stderr.decode()  # 6: a schema that other clients cannot use
    assert {tool["name"] for tool in _json(listed.stdout)["tools"]} == ALL_VERBS

    arguments = ["--method", "tools/call", "--tool-name", "spawn", "--tool-args-json", '{"task": "x"}']
    called = await inspector.run("--cli", *target, *arguments)
    assert called.returncode == 0, called.stderr.decode()
    assert _json(called.stdout)["structuredContent"] == {"ok": True, "verb": "spawn"}
    assert verbs.calls[-1].arguments["task"] == "x"

    wrong = ["--method", "tools/call", "--tool-name", "spawn", "--tool-args-json", '{"task": "x", "bugdet": 1}']
    refused = await inspector.run("--cli", *target, *wrong)
    assert refused.returncode == 5, refused.stderr.decode()  # 5: the tool says isError
    assert "did you mean budget?" in refused.stdout.decode()

    prompted = await inspector.run("--cli", *target, "--method", "prompts/list")
    assert len(_json(prompted.stdout)["prompts"]) == 4


def _json(output: bytes) -> dict[str, Any]:
    return json.loads(output)


@pytest.mark.parametrize("era", ["legacy", "modern"])
@bounded(120)
async def test_over_http(inspector: NodeProgram, tmp_path: Path, era: str) -> None:
    verbs = RecordingVerbs()
    async with http_service(tmp_path, verbs, MemoryStore(ManualClock())) as service:
        header = f"Authorization: {bearer(tmp_path)['Authorization']}"
        target = [f"{service.url}/mcp", "--transport", "http", "--header", header, "--protocol-era", era]
        await _talk(inspector, target, verbs)


@pytest.mark.parametrize("era", ["legacy", "modern"])
@bounded(120)
async def test_over_the_relay(inspector: NodeProgram, tmp_path: Path, era: str) -> None:
    verbs = RecordingVerbs()
    async with line_service(tmp_path / "s", verbs) as path:
        target = [sys.executable, "-I", "-S", str(Path(relay.__file__)), "--socket", path, "--protocol-era", era]
        await _talk(inspector, target, verbs)


@pytest.mark.parametrize("era", ["legacy", "modern"])
@bounded(120)
async def test_on_a_real_installation(inspector: NodeProgram, waiting: WaitingTree, era: str) -> None:
    """`palmette mcp` with no supervisor running, and then the HTTP endpoint of the one that it started."""
    assert waiting.pid() is None
    given = [f"{name}={value}" for name, value in waiting.place.environment().items()]
    await _lists_the_verbs(inspector, ["/usr/bin/env", *given, *waiting.relay], era)
    over_http = [waiting.url(), "--transport", "http", "--header"]
    await _lists_the_verbs(
        inspector, [*over_http, f"Authorization: {bearer(waiting.place.data)['Authorization']}"], era
    )

    stranger = [*over_http, "Authorization: Bearer " + "w" * 43]
    refused = await inspector.run("--cli", *stranger, "--protocol-era", era, "--method", "tools/list")
    assert refused.returncode != 0


async def _lists_the_verbs(inspector: NodeProgram, target: list[str], era: str) -> None:
    listed = await inspector.run("--cli", *target, "--protocol-era", era, "--method", "tools/list", "--strict")
    assert listed.returncode == 0, listed.stderr.decode()
    assert {tool["name"] for tool in _json(listed.stdout)["tools"]} == ALL_VERBS
