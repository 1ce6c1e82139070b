"""Putting a streamed reply together."""

import json
from typing import Any

import pytest

from palmette.sandbox.harness.agent.reply import Assembly, Reply, StreamFault

Event = dict[str, Any]

_START: Event = {
    "type": "message_start",
    "message": {"model": "m-1", "usage": {"input_tokens": 7, "cache_read_input_tokens": 3, "output_tokens": 1}},
}
_STOP: Event = {"type": "message_stop"}


def _block(index: int, block: Event, *deltas: Event) -> list[Event]:
    return [
        {"type": "content_block_start", "index": index, "content_block": block},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def _text(index: int, *parts: str) -> list[Event]:
    return _block(index, {"type": "text", "text": ""}, *({"type": "text_delta", "text": part} for part in parts))


def _tool(index: int, *parts: str) -> list[Event]:
    block: Event = {"type": "tool_use", "id": f"t{index}", "name": "shell", "input": {}}
    return _block(index, block, *({"type": "input_json_delta", "partial_json": part} for part in parts))


def _delta(reason: str, output: int | None = 9) -> Event:
    usage = {} if output is None else {"usage": {"output_tokens": output}}
    return {"type": "message_delta", "delta": {"stop_reason": reason}, **usage}


def _assembled(*events: Event) -> Reply:
    assembly = Assembly("asked")
    for event in events:
        assembly.feed(event)
    assert assembly.whole
    return assembly.reply()


def test_texts_and_calls_in_their_order() -> None:
    reply = _assembled(_START, *_text(0, "Hel", "lo"), *_tool(1, '{"command": ', '"ls"}'), _delta("tool_use"), _STOP)
    assert reply.text == "Hello"
    assert [(call.id, call.name, call.arguments, call.fault) for call in reply.calls] == [
        ("t1", "shell", {"command": "ls"}, "")
    ]
    assert [block["type"] for block in reply.content] == ["text", "tool_use"]
    assert reply.content[1]["input"] == {"command": "ls"}
    assert reply.model == "m-1"
    json.dumps(reply.content)


def test_usage_is_cumulative_and_replaced_never_added() -> None:
    reply = _assembled(_START, *_text(0, "x"), _delta("end_turn", 5), _delta("end_turn", 9), _STOP)
    assert reply.usage == {"input": 7, "cache_read": 3, "cache_write": 0, "output": 9}


@pytest.mark.rule("B8")
def test_usage_without_a_final_word_is_unknown() -> None:
    assert _assembled(_START, *_text(0, "x"), _delta("end_turn", None), _STOP).usage is None


def test_a_reply_is_whole_once_it_says_why_it_stopped() -> None:
    assembly = Assembly("asked")
    for event in (_START, *_text(0, "x")):
        assembly.feed(event)
    assert not assembly.whole
    assembly.feed(_delta("end_turn"))
    assert assembly.whole
    assert not assembly.ended


def test_arguments_that_the_limit_cut_become_a_fault_and_an_input_the_api_takes() -> None:
    reply = _assembled(_START, *_tool(0, '{"command": "l'), _delta("max_tokens"), _STOP)
    assert "output limit" in reply.calls[0].fault
    assert reply.content[0]["input"] == {}


def test_arguments_that_are_no_object_are_a_fault() -> None:
    assert _assembled(_START, *_tool(0, "[1]"), _delta("tool_use"), _STOP).calls[0].fault


def test_a_call_without_arguments_has_none() -> None:
    assert _assembled(_START, *_tool(0, ""), _delta("tool_use"), _STOP).calls[0].arguments == {}


def test_empty_texts_are_left_out() -> None:
    assert _assembled(_START, *_text(0, ""), _delta("end_turn"), _STOP).content == []


def test_thinking_is_kept_with_its_signature() -> None:
    deltas = ({"type": "thinking_delta", "thinking": "Hm."}, {"type": "signature_delta", "signature": "s"})
    events = _block(0, {"type": "thinking", "thinking": "", "signature": ""}, *deltas)
    reply = _assembled(_START, *events, _delta("end_turn"), _STOP)
    assert reply.content == [{"type": "thinking", "thinking": "Hm.", "signature": "s"}]
    assert reply.text == ""


@pytest.mark.parametrize(("kind", "transient"), [("overloaded_error", True), ("invalid_request_error", False)])
def test_an_error_event_is_a_fault(kind: str, transient: bool) -> None:
    with pytest.raises(StreamFault, match="why") as fault:
        Assembly("asked").feed({"type": "error", "error": {"type": kind, "message": "why"}})
    assert fault.value.transient is transient


@pytest.mark.parametrize(
    "event",
    [
        {"type": "message_start"},
        {"type": "content_block_start", "index": "x", "content_block": {}},
        {"type": "content_block_delta", "index": 5, "delta": {"type": "text_delta", "text": "x"}},
        {"type": "message_delta", "delta": None},
        {"type": "error", "error": "text"},
    ],
)
def test_an_event_that_makes_no_sense_is_a_fault(event: Event) -> None:
    with pytest.raises(StreamFault, match="makes no sense"):
        Assembly("asked").feed(event)


def test_what_is_not_known_is_passed_over() -> None:
    assert (
        _assembled(_START, {"type": "ping"}, {"type": "later"}, *_text(0, "x"), _delta("end_turn"), _STOP).text == "x"
    )


def test_a_reply_of_very_many_calls_is_a_fault() -> None:
    with pytest.raises(StreamFault, match="more than 100"):
        _assembled(_START, *(event for index in range(101) for event in _tool(index)))
