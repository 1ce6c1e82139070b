"""The SDK's own client, in every protocol era, over the relay and over HTTP (S6)."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import anyio
import pytest
from mcp import Client

from palmette.coordination.store import MemoryStore
from tests.fakes.clock import ManualClock
from tests.fakes.verbs import ALL_VERBS, Call, RecordingVerbs
from tests.support.bounded import bounded
from tests.support.mcp_service import ERAS, bearer, client_over_http, client_over_lines, http_service, line_service

pytestmark = [pytest.mark.anyio, pytest.mark.rule("S6")]

Connect = Callable[[], AbstractAsyncContextManager[Client]]

VERSIONS = {"legacy": "2025-11-25", "auto": "2026-07-28", "2026-07-28": "2026-07-28"}


@pytest.fixture
def verbs() -> RecordingVerbs:
    """The tree that records."""
    return RecordingVerbs()


@pytest.fixture(params=ERAS)
def era(request: pytest.FixtureRequest) -> str:
    """How the client opens the connection."""
    return request.param


@pytest.fixture(params=["lines", "http"])
def connect(request: pytest.FixtureRequest, era: str, tmp_path: Path, verbs: RecordingVerbs) -> Connect:
    """Opens a client of the era on a service of its own."""

    @asynccontextmanager
    async def over_lines() -> AsyncGenerator[Client]:
        async with line_service(tmp_path / "s", verbs) as path, client_over_lines(path, era) as client:
            yield client

    @asynccontextmanager
    async def over_http() -> AsyncGenerator[Client]:
        async with (
            http_service(tmp_path, verbs, MemoryStore(ManualClock())) as service,
            client_over_http(service, bearer(tmp_path), era) as client,
        ):
            yield client

    return over_lines if request.param == "lines" else over_http


@bounded(60)
async def test_the_era_is_the_clients_and_all_is_there(connect: Connect, era: str) -> None:
    async with connect() as client:
        tools = {tool.name for tool in (await client.list_tools()).tools}
        prompts = (await client.list_prompts()).prompts
        version, instructions = client.protocol_version, client.instructions
        capabilities = client.server_capabilities

    assert version == VERSIONS[era]
    assert tools == ALL_VERBS
    assert len(prompts) == 4
    if era != "2026-07-28":  # a client that is sure of the version asks for nothing before its first call
        assert instructions
        assert capabilities.tools is not None
        assert capabilities.tools.list_changed is True


@bounded(60)
async def test_answers_and_wrong_calls_come_back(connect: Connect, verbs: RecordingVerbs) -> None:
    async with connect() as client:
        right = await client.call_tool("spawn", {"task": "x", "budget": {"usd": 0.5}})
        wrong = await client.call_tool("spawn", {"tusk": "x"})

    assert right.structured_content == {"ok": True, "verb": "spawn"}
    assert wrong.is_error
    assert [call.arguments["budget"] for call in verbs.calls] == [{"usd": 0.5}]


@bounded(60)
async def test_a_waiting_call_beats_and_others_pass_it(connect: Connect, verbs: RecordingVerbs) -> None:
    release = anyio.Event()

    async def wait(call: Call) -> None:
        await call.arguments["progress"]("1 live, $0.01 of $5.00")
        await release.wait()

    verbs.during["await_event"] = wait
    heard = anyio.Event()
    lines: list[str | None] = []
    done: list[bool] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        lines.append(message)
        heard.set()

    async with connect() as client, anyio.create_task_group() as tasks:

        async def await_event() -> None:
            done.append((await client.call_tool("await_event", {}, progress_callback=hear)).is_error)

        tasks.start_soon(await_event)
        await heard.wait()
        assert not (await client.call_tool("notify", {"summary": "meanwhile"})).is_error
        assert done == []
        release.set()

    assert lines == ["1 live, $0.01 of $5.00"]
    assert done == [False]


@bounded(60)
async def test_every_verb_works_for_a_client_that_answers_nothing(connect: Connect, verbs: RecordingVerbs) -> None:
    """The client declares no elicitation, no sampling and no roots: no verb may need a request back (S6)."""
    calls = {
        "spawn": {"task": "t"},
        "await_event": {},
        "steer": {"node": "a", "message": "m"},
        "stop": {"node": "a", "reason": "r"},
        "ask_parent": {"question": "q", "why": "w", "urgency": "blocks_run"},
        "answer": {"question": "q1", "escalate": "why"},
        "submit": {"result": "r"},
        "select": {"nodes": ["a"]},
        "observe": {},
        "notify": {"summary": "s"},
    }
    assert calls.keys() == ALL_VERBS
    async with connect() as client:
        for verb, arguments in calls.items():
            result = await client.call_tool(verb, arguments)
            assert result.structured_content == {"ok": True, "verb": verb}
