"""The SDK's own client on `palmette mcp`, in both protocol eras."""

import json
from typing import Any

import anyio
import pytest
from mcp import Client
from mcp.client import ClientRequestContext
from mcp.client.stdio import StdioServerParameters
from mcp.types import ElicitRequestParams, ElicitResult, TextContent

from tests.support.line_daemon import Settings
from tests.support.polling import until
from tests.support.relay_process import Home

pytestmark = pytest.mark.anyio

ERAS = ["legacy", "auto"]


async def _accept(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
    return ElicitResult(action="accept", content={"answer": "forty-two"})


def _client(home: Home, mode: str) -> Client:
    command, *arguments = home.argv()
    server = StdioServerParameters(command=command, args=arguments, env=home.environment, cwd=home.root)
    return Client(server, mode=mode, elicitation_callback=_accept)


async def _text(client: Client, tool: str, **arguments: Any) -> str:
    result = await client.call_tool(tool, arguments)
    assert isinstance(result.content[0], TextContent)
    return result.content[0].text


@pytest.mark.rule("S6")
@pytest.mark.parametrize(("mode", "version"), [("legacy", "2025-11-25"), ("auto", "2026-07-28")])
async def test_each_era_lists_calls_and_asks_the_person(home: Home, mode: str, version: str) -> None:
    with anyio.fail_after(60):
        async with _client(home, mode) as client:
            assert client.protocol_version == version
            assert "echo" in {tool.name for tool in (await client.list_tools()).tools}
            assert await _text(client, "echo", text="hello") == "hello"
            assert await _text(client, "ask", question="how many?") == "forty-two"


@pytest.mark.rule("S5")
@pytest.mark.parametrize("mode", ERAS)
async def test_a_kill_in_the_middle_of_a_call_is_invisible_in_each_era(home: Home, mode: str) -> None:
    with anyio.fail_after(60):
        async with _client(home, mode) as client:
            session = json.loads(await _text(client, "whoami"))["session"]
            answers: list[str] = []

            async def call() -> None:
                answers.append(await _text(client, "wait", file="go"))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(call)
                waiting = home.data / "waiting-go"
                await anyio.to_thread.run_sync(until, waiting.exists)
                waiting.unlink()
                await anyio.to_thread.run_sync(home.kill)
                await anyio.to_thread.run_sync(until, waiting.exists)
                (home.data / "go").touch()
            assert answers == ["seen"]
            assert json.loads(await _text(client, "whoami"))["session"] == session
            assert await _text(client, "ask", question="how many?") == "forty-two"


@pytest.mark.rule("R5")
async def test_a_modern_client_hears_of_a_changed_tool_list_on_its_listen_stream(home: Home) -> None:
    with anyio.fail_after(60):
        async with _client(home, "auto") as client, client.listen(tools_list_changed=True) as changes:
            assert "extra" not in {tool.name for tool in (await client.list_tools()).tools}
            home.settings(Settings(version="0.2.0", tool="extra"))
            await anyio.to_thread.run_sync(home.kill)
            async for _ in changes:
                break
            assert "extra" in {tool.name for tool in (await client.list_tools()).tools}
            assert await _text(client, "extra", text="new") == "new"
