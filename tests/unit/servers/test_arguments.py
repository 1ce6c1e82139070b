"""Wrong calls: everything that is wrong is said at once, and nothing happens (S2)."""

import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, cast

import pytest
from mcp import Client
from mcp_types import CallToolResult, TextContent

from palmette.coordination.values import TEXT_MAX_BYTES
from tests.fakes.verbs import RecordingVerbs
from tests.support.bounded import bounded

pytestmark = pytest.mark.anyio

Connect = Callable[[], AbstractAsyncContextManager[Client]]


async def _call(connect: Connect, tool: str, arguments: dict[str, Any]) -> CallToolResult:
    async with connect() as client:
        return await client.call_tool(tool, arguments)


def _problems(result: CallToolResult) -> dict[str, str]:
    assert result.is_error
    told = cast(dict[str, Any], result.structured_content)
    assert told["ok"] is False
    assert json.loads(cast(TextContent, result.content[0]).text) == told
    return {problem["argument"]: problem["problem"] for problem in told["problems"]}


@pytest.mark.rule("S2")
@bounded(20)
async def test_an_unknown_argument_is_refused_with_the_nearest_name(connect: Connect, verbs: RecordingVerbs) -> None:
    result = await _call(connect, "spawn", {"task": "x", "bugdet": {"usd": 1}})

    assert _problems(result) == {"bugdet": "is not an argument of spawn"}
    assert cast(dict[str, Any], result.structured_content)["problems"][0]["hint"] == "did you mean budget?"
    assert not verbs.calls


@pytest.mark.rule("S2")
@bounded(20)
async def test_every_problem_is_listed_at_once(connect: Connect) -> None:
    result = await _call(
        connect,
        "spawn",
        {
            "budget": {"usd": "5", "tokens": True, "turns": 1.5, "seconds": -1, "deadline_s": "1", "euros": 1},
            "decide": "maybe",
            "profile": 7,
            "checks": "tests",
            "label": 3,
            "bogus": None,
        },
    )

    assert _problems(result) == {
        "task": "is missing",
        "budget.usd": "must be a number, not text",
        "budget.tokens": "must be a whole number, not true or false",
        "budget.turns": "must be a whole number, not a fraction",
        "budget.seconds": "must be at least 0",
        "budget.deadline_s": "must be a whole number, not text",
        "budget.euros": "is not known here",
        "decide": "must be 'rerun' or 'skip'",
        "profile": "must be an object, not a number",
        "checks": "must be a list, not text",
        "label": "must be text, not a number",
        "bogus": "is not an argument of spawn",
    }


@pytest.mark.rule("S2")
@pytest.mark.parametrize(
    ("tool", "argument", "value"),
    [
        ("steer", "interrupt", "yes"),
        ("steer", "interrupt", 1),
        ("steer", "supersedes", "4"),
        ("await_event", "wait_s", "3"),
        ("await_event", "wait_s", True),
        ("observe", "limit", True),
        ("observe", "after", 1.0),
        ("notify", "salience", "1"),
    ],
)
@bounded(20)
async def test_nothing_is_taken_for_what_it_is_not(
    connect: Connect, verbs: RecordingVerbs, tool: str, argument: str, value: object
) -> None:
    needed = {"steer": {"node": "a", "message": "m"}, "notify": {"summary": "s"}}.get(tool, {})

    assert set(_problems(await _call(connect, tool, {**needed, argument: value}))) == {argument}
    assert not verbs.calls


@pytest.mark.parametrize("usd", [True, "1", -0.01, 1e300, [1]])
@bounded(20)
async def test_dollars_are_a_number_and_nothing_else(verbs: RecordingVerbs, connect: Connect, usd: object) -> None:
    assert set(_problems(await _call(connect, "spawn", {"task": "x", "budget": {"usd": usd}}))) == {"budget.usd"}


@pytest.mark.parametrize("usd", [0, 1, 0.000001, 4_000_000_000])
@bounded(20)
async def test_dollars_may_be_whole_or_broken(verbs: RecordingVerbs, connect: Connect, usd: float) -> None:
    assert not (await _call(connect, "spawn", {"task": "x", "budget": {"usd": usd}})).is_error
    assert verbs.calls[-1].arguments["budget"] == {"usd": usd}


@bounded(20)
async def test_objects_and_lists_may_come_as_the_text_of_one(verbs: RecordingVerbs, connect: Connect) -> None:
    arguments = {
        "task": '{"this": "stays text"}',
        "budget": '{"turns": 3}',
        "profile": '{"prompt": "p"}',
        "checks": '["tests"]',
    }

    assert not (await _call(connect, "spawn", arguments)).is_error
    took = verbs.calls[-1].arguments
    assert took["task"] == '{"this": "stays text"}'
    assert (took["budget"], took["profile"], took["checks"]) == ({"turns": 3}, {"prompt": "p"}, ["tests"])


@bounded(20)
async def test_an_answer_that_looks_like_json_stays_text(verbs: RecordingVerbs, connect: Connect) -> None:
    await _call(connect, "answer", {"question": "q1", "text": "[1, 2]"})

    assert verbs.calls[-1].arguments["text"] == "[1, 2]"


@pytest.mark.parametrize(
    ("tool", "arguments", "code"),
    [
        ("notify", {"summary": "x" * (TEXT_MAX_BYTES + 1)}, "too_large"),
        ("notify", {"summary": "é" * (TEXT_MAX_BYTES // 2 + 1)}, "too_large"),
        ("notify", {"summary": "a\0b"}, "bad_text"),
        ("steer", {"node": "a\0", "message": "m"}, "bad_text"),
        ("spawn", {"task": "x", "profile": {"prompt": ["deep", {"down": "a\0b"}]}}, "bad_text"),
        ("spawn", {"task": "x", "profile": {"prompt": "x" * (TEXT_MAX_BYTES + 1)}}, "too_large"),
        ("spawn", {"task": "x", "profile": {"a": "x" * 600_000, "b": "x" * 600_000}}, "too_large"),
    ],
    ids=["long", "long-in-bytes", "nul", "nul-in-a-name", "nul-deep-down", "long-deep-down", "long-in-sum"],
)
@bounded(30)
async def test_text_that_cannot_be_kept_is_refused_with_its_code(
    connect: Connect, verbs: RecordingVerbs, tool: str, arguments: dict[str, Any], code: str
) -> None:
    result = await _call(connect, tool, arguments)

    _problems(result)
    assert cast(dict[str, Any], result.structured_content)["error"] == code
    assert not verbs.calls


@bounded(20)
async def test_the_largest_text_is_taken(verbs: RecordingVerbs, connect: Connect) -> None:
    await _call(connect, "notify", {"summary": "x" * TEXT_MAX_BYTES})

    assert len(verbs.calls[-1].arguments["summary"]) == TEXT_MAX_BYTES


@bounded(20)
async def test_a_profile_that_is_nested_without_end_is_refused(connect: Connect) -> None:
    nested: dict[str, Any] = {}
    for _ in range(60):
        nested = {"x": nested}

    assert _problems(await _call(connect, "spawn", {"task": "x", "profile": nested})) == {
        "profile": "is nested too deeply"
    }


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({}, {"question", "why", "urgency"}),
        ({"question": "?", "urgency": "blocks_run"}, {"why"}),
        ({"question_id": "q1", "why": "because"}, {"why"}),
        ({"question": "?", "why": "w", "urgency": "soon"}, {"urgency"}),
        ({"question_id": "q1", "wait_s": 241}, {"wait_s"}),
    ],
)
@bounded(20)
async def test_a_question_is_new_and_whole_or_only_waited_for(
    connect: Connect, arguments: dict[str, Any], named: set[str]
) -> None:
    assert set(_problems(await _call(connect, "ask_parent", arguments))) == named


@pytest.mark.parametrize("arguments", [{}, {"text": "yes", "escalate": "no"}])
@bounded(20)
async def test_a_question_is_decided_or_passed_up(connect: Connect, arguments: dict[str, Any]) -> None:
    assert len(_problems(await _call(connect, "answer", {"question": "q1", **arguments}))) == 1


@bounded(20)
async def test_no_answer_to_a_wrong_call_grows_with_the_call(connect: Connect) -> None:
    wrong: dict[str, Any] = {f"{index}" * 3000: 1 for index in range(200)}

    result = await _call(connect, "notify", wrong)

    assert result.is_error
    assert len(cast(TextContent, result.content[0]).text) < 6_000


def _nodes(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, list):
        return [node for item in cast(list[Any], value) for node in _nodes(item)]
    if not isinstance(value, dict):
        return []
    found = cast(dict[str, Any], value)
    return [found, *(node for item in found.values() for node in _nodes(item))]


@pytest.mark.rule("S2")
@bounded(20)
async def test_schemas_are_closed_small_and_say_what_each_argument_is_for(connect: Connect) -> None:
    async with connect() as client:
        tools = (await client.list_tools()).tools

    for tool in tools:
        assert tool.input_schema["additionalProperties"] is False
        for name, argument in tool.input_schema.get("properties", {}).items():
            assert argument.get("description"), f"{tool.name}.{name}"
        for node in _nodes(tool.input_schema):
            assert not {"$ref", "$defs", "title"} & node.keys()
            assert {"type": "null"} not in node.get("anyOf", [])
    size = len(json.dumps([tool.model_dump(by_alias=True, exclude_none=True) for tool in tools]))
    assert size < 12_500  # every node pays for it in each of its model calls
