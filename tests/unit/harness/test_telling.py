"""Lines of the agent, parsed; and lines in general, cut."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palmette.coordination.ports import ModelCall
from palmette.coordination.values import Step, ToolCall, Usage
from palmette.sandbox.harness import telling
from palmette.sandbox.harness.agent.lines import LineCutter, clean, encode

_SESSION = "0123456789abcdef" * 2
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
_FIELDS = (
    "session",
    "version",
    "id",
    "model",
    "sent",
    "usage",
    "steps",
    "input_bound",
    "max_output",
    "message",
    "text",
)


def _parse(**fields: Any) -> telling.Told | None:
    return telling.parse(json.dumps(fields).encode())


def test_each_kind_is_read() -> None:
    assert _parse(kind="started", session=_SESSION, version="1") == telling.StartedTold(_SESSION, "1")
    assert _parse(kind="ready") == telling.ReadyTold()
    hold = _parse(kind="hold", id="h", model="m", input_bound=3, max_output=4)
    assert hold == telling.HoldTold("h", ModelCall("m", 3, 4))
    assert _parse(kind="delivered", message="m1") == telling.DeliveredTold("m1")
    assert _parse(kind="idle", stopped_by="end", text="t", heard=1) == telling.IdleTold("end", "t", 1)
    assert _parse(kind="fatal", stage="mcp", reason="r") == telling.FatalTold("mcp", "r")


def test_the_usage_of_a_call_is_that_of_its_reply() -> None:
    usage = {"input": 1, "cache_read": 2, "cache_write": 3, "output": 4}
    call = {"id": "t", "name": "shell", "arguments": "{}"}
    steps = [{"source": "user", "message": "u"}, {"source": "agent", "message": "a", "tool_calls": [call]}]
    told = _parse(kind="booked", id="h", model="m", sent=True, usage=usage, steps=steps)
    assert isinstance(told, telling.BookedTold)
    assert told.usage == Usage(1, 2, 3, 4)
    assert told.steps == (
        Step("user", "u"),
        Step("agent", "a", tool_calls=(ToolCall("t", "shell", "{}"),), usage=Usage(1, 2, 3, 4)),
    )


def test_books_count_whatever_the_steps_are() -> None:
    told = _parse(kind="booked", id="h", model="m", sent=False, usage=None, steps=[{"source": "god"}])
    assert told == telling.BookedTold("h", None, "m", sent=False, steps=())


@pytest.mark.parametrize("usage", [5, {}, {"input": 1}, {"input": -1, "cache_read": 0, "cache_write": 0, "output": 0}])
def test_usage_that_is_none_makes_the_line_none(usage: object) -> None:
    assert _parse(kind="booked", id="h", model="m", sent=True, usage=usage, steps=[]) is None


@pytest.mark.parametrize("session", ["../x", "", "F" * 32, _SESSION + "\n", _SESSION[:-1]])
def test_a_session_names_a_file_and_nothing_else(session: str) -> None:
    assert _parse(kind="started", session=session, version="1") is None


@given(kind=st.sampled_from(["started", "hold", "booked", "step", "idle", "fatal", "delivered"]), data=st.data())
def test_no_line_breaks_the_parser_and_what_it_reads_can_be_stored(kind: str, data: st.DataObject) -> None:
    fields = {name: data.draw(_JSON) for name in _FIELDS}
    told = telling.parse(json.dumps({"kind": kind, **fields}).encode())
    if told is not None:
        str(told).encode()


@given(st.binary())
def test_no_bytes_break_the_parser(line: bytes) -> None:
    telling.parse(line)


@given(st.text(st.characters()))
def test_cleaned_text_is_taken_by_every_peer(text: str) -> None:
    assert "\0" not in clean(text)
    assert clean(clean(text)) == clean(text)
    clean(text).encode()


@given(st.lists(st.binary(min_size=1).filter(lambda line: b"\n" not in line and line.strip())), st.integers(1, 7))
def test_lines_come_whole_however_they_are_cut(lines: list[bytes], size: int) -> None:
    stream = b"".join(line + b"\n" for line in lines)
    cutter = LineCutter()
    found = [line for at in range(0, len(stream), size) for line in cutter.feed(stream[at : at + size])]
    assert found == lines


def test_a_line_that_is_too_long_is_reported_once_and_the_next_one_comes() -> None:
    cutter = LineCutter(limit=10)
    chunks = [b"x" * 8, b"x" * 8, b"x" * 30, b"x\nnext\n", b"y" * 11 + b"\n"]
    assert [line for chunk in chunks for line in cutter.feed(chunk)] == [None, b"next", None]


def test_what_is_written_is_one_line() -> None:
    assert b"\n" not in encode({"text": "a\nb\u2028\x85", "lone": "\ud800"})
