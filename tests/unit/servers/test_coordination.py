"""The coordination server: results, refusals, roles, heartbeats, playbooks."""

import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, cast

import anyio
import pytest
from mcp import Client
from mcp_types import TextContent

from palmette.coordination.errors import JournalUnwritable, Refused
from palmette.coordination.identity import CallKey, Visitor
from palmette.servers.coordination import coordination_server
from palmette.servers.playbooks import PLAYBOOKS
from palmette.servers.replies import REPLY_LIMIT
from tests.fakes.verbs import ALL_VERBS, Call, RecordingVerbs
from tests.support.bounded import bounded

pytestmark = pytest.mark.anyio

Connect = Callable[[], AbstractAsyncContextManager[Client]]

EXAMPLES: dict[str, dict[str, Any]] = {
    "spawn": {"task": "t", "profile": "worker", "label": "a", "budget": {"turns": 3}, "checks": ["tests"]},
    "await_event": {"kinds": ["settled"], "cursor": "c1", "wait_s": 3, "nodes": ["a"]},
    "steer": {"node": "a", "message": "m", "interrupt": True, "supersedes": 4},
    "stop": {"node": "a", "reason": "r", "grace_s": 1},
    "ask_parent": {"question": "q", "why": "w", "urgency": "blocks_run", "options": ["x"], "kind": "plan"},
    "answer": {"question": "q1", "text": "yes"},
    "submit": {"result": "r", "artifacts": ["a.txt"], "incomplete": True},
    "select": {"nodes": ["a", "b"], "objectives": ["cost"], "allow_unchecked": True},
    "observe": {"node": "a", "after": 3, "limit": 7},
    "notify": {"summary": "s", "salience": 3, "refs": ["r"]},
}


@pytest.mark.parametrize("verb", sorted(EXAMPLES))
@bounded(20)
async def test_each_verb_arrives_with_its_arguments_and_its_key(
    connect: Connect, verbs: RecordingVerbs, verb: str
) -> None:
    async with connect() as client:
        result = await client.call_tool(verb, EXAMPLES[verb])

    assert not result.is_error
    assert result.structured_content == {"ok": True, "verb": verb}
    (call,) = verbs.calls
    assert call.verb == verb
    assert call.arguments.items() >= EXAMPLES[verb].items()
    if verb != "observe":
        assert isinstance(call.key, CallKey)
        assert call.key.session == "here"


@pytest.mark.rule("S2", "S7")
@bounded(20)
async def test_a_refusal_is_a_normal_result_with_code_reason_and_hint(connect: Connect, verbs: RecordingVerbs) -> None:
    verbs.answers["spawn"] = Refused("max_live", "8 of 8 slots are taken", free_slots=0)
    async with connect() as client:
        result = await client.call_tool("spawn", {"task": "x"})

    assert not result.is_error
    told = cast(dict[str, Any], result.structured_content)
    assert list(told)[:4] == ["ok", "error", "reason", "hint"]
    assert (told["ok"], told["error"], told["reason"]) == (False, "max_live", "8 of 8 slots are taken")
    assert told["hint"].startswith("All slots are taken")
    assert told["free_slots"] == 0


@pytest.mark.rule("S7")
@bounded(20)
async def test_the_text_is_the_compact_json_of_the_structured_content(connect: Connect, verbs: RecordingVerbs) -> None:
    verbs.answers["observe"] = {"node": "t1/0", "label": "Grüße", "children": [1, 2]}
    async with connect() as client:
        result = await client.call_tool("observe", {})

    text = cast(TextContent, result.content[0]).text
    assert text == '{"ok":true,"node":"t1/0","label":"Grüße","children":[1,2]}'
    assert json.loads(text) == result.structured_content


@pytest.mark.rule("S7")
@bounded(20)
async def test_no_result_is_longer_than_a_harness_takes(connect: Connect, verbs: RecordingVerbs) -> None:
    verbs.answers["observe"] = {"ok": True, "children": [{"node": f"t1/0.{n}", "text": "x" * 900} for n in range(200)]}
    async with connect() as client:
        result = await client.call_tool("observe", {})

    assert len(cast(TextContent, result.content[0]).text) <= REPLY_LIMIT
    assert cast(dict[str, Any], result.structured_content)["truncated"] is True


@bounded(20)
async def test_what_the_disk_refuses_is_an_error_with_its_code(connect: Connect, verbs: RecordingVerbs) -> None:
    verbs.answers["notify"] = JournalUnwritable("the disk is full", "free some space")
    async with connect() as client:
        result = await client.call_tool("notify", {"summary": "s"})

    assert result.is_error
    assert result.structured_content == {
        "ok": False,
        "error": "journal_unwritable",
        "reason": "the disk is full",
        "hint": "free some space",
    }


@bounded(20)
async def test_a_fault_of_ours_shows_nothing_of_itself(
    connect: Connect, verbs: RecordingVerbs, caplog: pytest.LogCaptureFixture
) -> None:
    verbs.answers["notify"] = RuntimeError("the innards")
    async with connect() as client:
        result = await client.call_tool("notify", {"summary": "s"})

    assert result.is_error
    assert cast(dict[str, Any], result.structured_content)["error"] == "internal"
    assert "innards" not in str(result)
    assert "the innards" in caplog.text


@pytest.mark.rule("S3", "S8")
@bounded(20)
async def test_the_list_shows_what_the_role_holds_in_the_same_order(connect: Connect, verbs: RecordingVerbs) -> None:
    async with connect() as client:
        everything = [tool.name for tool in (await client.list_tools()).tools]
    verbs.lists = frozenset({"submit", "notify", "ask_parent", "observe", "run_check"})
    async with connect() as client:
        leaf = [tool.name for tool in (await client.list_tools()).tools]
        # The list is a courtesy: what is not on it still reaches the verb, which refuses by itself.
        verbs.answers["spawn"] = Refused("not_permitted", "a worker does not spawn")
        refused = await client.call_tool("spawn", {"task": "x"})

    assert set(everything) == ALL_VERBS
    assert leaf == [name for name in everything if name in verbs.lists]
    assert len(leaf) == 4
    assert cast(dict[str, Any], refused.structured_content)["error"] == "not_permitted"


@bounded(20)
async def test_an_attempt_that_is_over_sees_no_tool(connect: Connect, verbs: RecordingVerbs) -> None:
    verbs.lists = Refused("attempt_over", "it is over")
    async with connect() as client:
        assert (await client.list_tools()).tools == []


@bounded(20)
async def test_clients_are_told_that_the_list_may_change_and_what_the_contract_is(connect: Connect) -> None:
    async with connect() as client:
        capabilities = client.server_capabilities
        assert capabilities.tools is not None
        assert capabilities.tools.list_changed is True
        assert client.instructions is not None
        for word in ("await_event", "cursor", "submit", "ask_parent"):
            assert word in client.instructions


@bounded(20)
async def test_each_description_begins_with_what_is_ours(connect: Connect) -> None:
    async with connect() as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}

    for tool in tools.values():
        first = (tool.description or "").splitlines()[0]
        assert "palmette" in first, tool.name
    assert "not the built-in Agent" in (tools["spawn"].description or "")
    hints = {name: tool.annotations for name, tool in tools.items()}
    read_only = {name for name, hint in hints.items() if hint is not None and hint.read_only_hint}
    destructive = {name for name, hint in hints.items() if hint is not None and hint.destructive_hint}
    assert (read_only, destructive) == ({"await_event", "observe"}, {"stop"})


@bounded(20)
async def test_playbooks_are_prompts_that_take_the_task(connect: Connect) -> None:
    async with connect() as client:
        listed = (await client.list_prompts()).prompts
        shown = await client.get_prompt("best_of_n", {"task": "Mend the parser."})

    assert [prompt.name for prompt in listed] == [playbook.name for playbook in PLAYBOOKS]
    assert len(listed) == 4
    text = cast(TextContent, shown.messages[0].content).text
    assert "select(" in text
    assert text.endswith("Mend the parser.")


@pytest.mark.parametrize("verb", ["await_event", "ask_parent"])
@bounded(20)
async def test_a_heartbeat_reaches_the_person_who_waits(connect: Connect, verbs: RecordingVerbs, verb: str) -> None:
    async def beat(call: Call) -> None:
        await call.arguments["progress"]("2 live, $0.34 of $5.00")
        await anyio.sleep(0.15)
        await call.arguments["progress"]("1 live, $0.40 of $5.00")

    verbs.during[verb] = beat
    heard: list[tuple[float, str | None]] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append((progress, message))

    async with connect() as client:
        await client.call_tool(verb, EXAMPLES[verb], progress_callback=hear)

    assert [line for _, line in heard] == ["2 live, $0.34 of $5.00", "1 live, $0.40 of $5.00"]
    assert heard[0][0] < heard[1][0]


@bounded(20)
async def test_a_call_that_was_sent_again_goes_on_where_it_was(verbs: RecordingVerbs) -> None:
    async def beat(call: Call) -> None:
        await call.arguments["progress"]("1 live")

    verbs.during["await_event"] = beat
    heard: list[float] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append(progress)

    server = coordination_server(verbs, identify=lambda ctx: Visitor("here"))
    async with Client(server, mode="legacy") as client:
        await client.call_tool("await_event", {}, progress_callback=hear, meta={"palmette/since": 61.5})

    assert verbs.calls[0].arguments["since"] == 61.5
    assert heard[0] >= 61.5  # progress must grow, also over a restart


@bounded(20)
async def test_a_heartbeat_that_nobody_asked_for_goes_nowhere(connect: Connect, verbs: RecordingVerbs) -> None:
    async def beat(call: Call) -> None:
        await call.arguments["progress"]("1 live")

    verbs.during["await_event"] = beat
    async with connect() as client:
        result = await client.call_tool("await_event", {})

    assert not result.is_error
    assert verbs.calls[0].arguments["since"] == 0.0


@bounded(20)
async def test_a_cut_call_cancels_its_wait(verbs: RecordingVerbs) -> None:
    began, cut = anyio.Event(), anyio.Event()

    async def wait(_: Call) -> None:
        began.set()
        try:
            await anyio.sleep_forever()
        finally:
            cut.set()

    verbs.during["await_event"] = wait
    server = coordination_server(verbs, identify=lambda ctx: Visitor("here"))
    async with Client(server, mode="legacy") as client:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.call_tool, "await_event")
            await began.wait()
            tasks.cancel_scope.cancel()
        await cut.wait()
