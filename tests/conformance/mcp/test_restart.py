"""kill -9 of the real supervisor in the middle of an await_event, under clients that are not ours (S5).

On `palmette mcp` it is not to be noticed; over HTTP the call is lost, and the next one goes on in the same session.
"""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from subprocess import CompletedProcess
from typing import Any, cast

import anyio
import httpx2
import pytest
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

from tests.conformance.mcp.conftest import NodeProgram
from tests.conformance.mcp.waiting_tree import WaitingTree, eventually
from tests.support.bounded import bounded
from tests.support.mcp_service import bearer

pytestmark = [pytest.mark.anyio, pytest.mark.rule("S5")]

SPAWN: dict[str, Any] = {"task": "Wait for it.", "label": "one", "budget": {"turns": 60}}


async def _call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result
    return cast(dict[str, Any], result.structured_content)


def _is_the_childs_end(answer: dict[str, Any], node: str) -> bool:
    (event,) = answer["events"]
    return (event["type"], event["node"], event["settlement"]) == ("settled", node, "done")


@pytest.mark.parametrize("era", ["legacy", "2026-07-28"])
@bounded(180)
async def test_the_sdk_client_on_palmette_mcp_notices_nothing(waiting: WaitingTree, era: str) -> None:
    assert waiting.pid() is None
    place = waiting.place
    program, *arguments = waiting.relay
    parameters = StdioServerParameters(
        command=program, args=arguments, env=place.environment(), cwd=str(place.directory)
    )
    answers: list[dict[str, Any]] = []
    async with Client(parameters, mode=era) as client:
        child = (await _call(client, "spawn", **SPAWN))["node"]
        first = await _call(client, "await_event", wait_s=60)
        async with anyio.create_task_group() as tasks:

            async def wait() -> None:
                answers.append(await _call(client, "await_event", cursor=first["cursor"], wait_s=120))

            tasks.start_soon(wait)
            await eventually(lambda: waiting.acknowledged(first["cursor"]))
            killed = await waiting.kill()
            await eventually(lambda: waiting.pid() not in (None, killed))
            assert answers == []
            waiting.release()
        after = await _call(client, "observe", node="one")

    assert [event["type"] for event in first["events"]] == ["notify"]
    assert _is_the_childs_end(answers[0], child)
    assert after["node"] == child
    await waiting.verify()


@asynccontextmanager
async def _client_over_http(waiting: WaitingTree, url: str, sessions: list[str]) -> AsyncGenerator[Client]:
    async def note(request: httpx2.Request) -> None:
        if (session := request.headers.get("mcp-session-id")) is not None and session not in sessions:
            sessions.append(session)

    headers = bearer(waiting.place.data)
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60, event_hooks={"request": [note]}) as http,
        Client(streamable_http_client(url, http_client=http), mode="legacy") as client,
    ):
        yield client


@bounded(180)
async def test_the_sdk_client_over_http_goes_on_in_the_same_session(waiting: WaitingTree) -> None:
    await waiting.up()
    url = waiting.url()
    sessions: list[str] = []
    lost: list[MCPError] = []
    async with _client_over_http(waiting, url, sessions) as client:
        child = (await _call(client, "spawn", **SPAWN))["node"]
        first = await _call(client, "await_event", wait_s=60)
        async with anyio.create_task_group() as tasks:

            async def wait() -> None:
                try:
                    await _call(client, "await_event", cursor=first["cursor"], wait_s=120)
                except MCPError as error:
                    lost.append(error)

            tasks.start_soon(wait)
            await eventually(lambda: waiting.acknowledged(first["cursor"]))
            await waiting.kill()
        await waiting.up()
        seen = await _call(client, "observe", node="one")
        waiting.release()
        end = await _call(client, "await_event", wait_s=120)

    assert waiting.url() == url
    assert seen["node"] == child
    assert _is_the_childs_end(end, child)
    assert len(lost) == 1
    assert len(sessions) == 1
    await waiting.verify()


async def _inspect(inspector: NodeProgram, target: list[str], tool: str, **arguments: Any) -> CompletedProcess[bytes]:
    words = ["--method", "tools/call", "--tool-name", tool, "--tool-args-json", json.dumps(arguments)]
    return await inspector.run("--cli", *target, *words, seconds=150)


def _content(done: CompletedProcess[bytes]) -> dict[str, Any]:
    assert done.returncode == 0, (done.stdout.decode(), done.stderr.decode())
    return json.loads(done.stdout)["structuredContent"]


@pytest.mark.parametrize("era", ["legacy", "modern"])
@bounded(240)
async def test_the_inspector_on_palmette_mcp_notices_nothing(
    inspector: NodeProgram, waiting: WaitingTree, era: str
) -> None:
    assert waiting.pid() is None
    place = waiting.place
    # Each run of the inspector is a connection of its own: the session's id, which a harness gives its servers in the
    # environment, makes them one root (R11).
    settings = {**place.environment(), "CLAUDE_CODE_SESSION_ID": "inspected"}
    given = [f"{name}={value}" for name, value in settings.items()]
    target = ["/usr/bin/env", *given, *waiting.relay, "--protocol-era", era]
    child = _content(await _inspect(inspector, target, "spawn", **SPAWN))["node"]
    first = _content(await _inspect(inspector, target, "await_event", wait_s=45))
    ended: list[CompletedProcess[bytes]] = []
    async with anyio.create_task_group() as tasks:

        async def wait() -> None:
            ended.append(await _inspect(inspector, target, "await_event", cursor=first["cursor"], wait_s=50))

        tasks.start_soon(wait)
        await eventually(lambda: waiting.acknowledged(first["cursor"]))
        killed = await waiting.kill()
        await eventually(lambda: waiting.pid() not in (None, killed))
        assert ended == []
        waiting.release()

    assert _is_the_childs_end(_content(ended[0]), child)
    assert _content(await _inspect(inspector, target, "observe", node="one"))["node"] == child
    await waiting.verify()


@bounded(240)
async def test_the_inspector_over_http_goes_on_with_its_tree(inspector: NodeProgram, waiting: WaitingTree) -> None:
    """At 2026-07-28, which has no sessions: the credential and the client's name are what goes on."""
    await waiting.up()
    header = f"Authorization: {bearer(waiting.place.data)['Authorization']}"
    target = [waiting.url(), "--transport", "http", "--header", header, "--protocol-era", "modern"]
    child = _content(await _inspect(inspector, target, "spawn", **SPAWN))["node"]
    first = _content(await _inspect(inspector, target, "await_event", wait_s=45))
    ended: list[CompletedProcess[bytes]] = []
    async with anyio.create_task_group() as tasks:

        async def wait() -> None:
            ended.append(await _inspect(inspector, target, "await_event", cursor=first["cursor"], wait_s=50))

        tasks.start_soon(wait)
        await eventually(lambda: waiting.acknowledged(first["cursor"]))
        await waiting.kill()
    assert ended[0].returncode != 0

    await waiting.up()
    waiting.release()
    end = _content(await _inspect(inspector, target, "await_event", wait_s=50))
    assert _is_the_childs_end(end, child)
    await waiting.verify()
