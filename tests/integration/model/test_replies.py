"""Each dialect, whole and streamed, over real HTTP: texts, calls, usage, refusals, faults."""

import json
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx2
import pytest

from palmette.sandbox.model import Script, serve
from tests.integration.model.wire import DIALECTS, Session, events_of

pytestmark = pytest.mark.anyio

STOPS = {
    "messages": ("end_turn", "tool_use", "max_tokens"),
    "responses": ("completed", "completed", "incomplete"),
    "chat": ("stop", "tool_calls", "length"),
}


@pytest.fixture(params=[f"{name}-{form}" for name in DIALECTS for form in ("stream", "whole")])
def variant(request: pytest.FixtureRequest) -> tuple[str, bool]:
    name, _, form = request.param.partition("-")
    return name, form == "stream"


@asynccontextmanager
async def session(steps: str, variant: tuple[str, bool]) -> AsyncGenerator[Session]:
    """A conversation that has just begun, with a script of one scenario."""
    script = Script.load(
        "scenarios:\n  - name: only\n    steps:\n" + "".join(f"      {s}\n" for s in steps.splitlines())
    )
    with anyio.fail_after(30):
        async with serve(script) as url, httpx2.AsyncClient(base_url=url, timeout=20) as client:
            talk = DIALECTS[variant[0]](client, variant[1])
            talk.user("go")
            yield talk


async def test_a_text_comes_back_with_computed_usage(variant: tuple[str, bool]) -> None:
    said = "Hello, wörld. " * 20
    async with session(f"- say: '{said}'", variant) as talk:
        asked = len(json.dumps(talk.body(), separators=(",", ":"), ensure_ascii=False).encode())
        answer = await talk.send()
    assert answer.text == said
    assert answer.calls == []
    assert answer.ended
    assert answer.stop == STOPS[variant[0]][0]
    assert answer.usage == {
        "input": -(-asked // 4),
        "output": -(-len(said.encode()) // 4),
        "cache_read": 0,
        "cache_write": 0,
    }
    assert answer.headers["x-palmette-step"] == "only.steps[0]"


async def test_parallel_calls_reach_the_tools_under_the_names_the_harness_gave_them(variant: tuple[str, bool]) -> None:
    steps = """\
- say: two at once
  calls:
    - {tool: spawn, arguments: {task: "fix \\"it\\" é", n: [1, null, true, {a: 1.5}]}}
    - {tool: await_event}
- say: "got ${spawn.node} and ${last.kind}"
"""
    async with session(steps, variant) as talk:
        first = await talk.send()
        assert first.text == "two at once"
        assert first.stop == STOPS[variant[0]][1]
        assert first.ended
        names = [name for _, name, _ in first.calls]
        prefix = {"messages": "mcp__palmette__", "responses": "mcp__palmette/", "chat": "palmette_"}[variant[0]]
        assert names == [f"{prefix}spawn", f"{prefix}await_event"]
        assert first.calls[0][2] == {"task": 'fix "it" é', "n": [1, None, True, {"a": 1.5}]}
        assert first.calls[1][2] == {}
        assert len({identifier for identifier, _, _ in first.calls}) == 2
        talk.returned(first.calls[1][0], '{"kind": "idle"}')
        talk.returned(first.calls[0][0], '{"node": "t1/0.1"}')
        assert (await talk.send()).text == "got t1/0.1 and idle"


async def test_a_loop_runs_until_its_event_comes_and_a_restarted_endpoint_goes_on(variant: tuple[str, bool]) -> None:
    steps = """\
- loop:
    steps: [{call: {tool: await_event, arguments: {cursor: "${await_event.cursor?}"}}}]
    until: {path: "last.events[*].kind", equals: settled}
- say: "${last.events[kind=settled].node} settled"
"""
    async with session(steps, variant) as talk:
        first = await talk.send()
        assert first.calls[0][2] == {}
        talk.returned(first.calls[0][0], '{"events": [{"kind": "message"}], "cursor": "c1"}')
    async with session(steps, variant) as second:
        second.items = talk.items
        again = await second.send()
        assert again.calls[0][2] == {"cursor": "c1"}
        second.returned(again.calls[0][0], '{"events": [{"kind": "x"}, {"kind": "settled", "node": "t1/0.2"}]}')
        second.user("<system-reminder>something else</system-reminder>")
        assert (await second.send()).text == "t1/0.2 settled"


async def test_a_system_text_put_in_on_the_way_is_a_steer_and_chooses_nothing(variant: tuple[str, bool]) -> None:
    script = Script.load("""
scenarios:
  - {name: other, when: {system: turn round}, steps: [{say: wrong}]}
  - {name: only, when: {system: You are a node}, steps: [{call: {tool: spawn}}, {say: "heard ${user.text}"}]}
""")
    with anyio.fail_after(30):
        async with serve(script) as url, httpx2.AsyncClient(base_url=url) as client:
            talk = DIALECTS[variant[0]](client, variant[1])
            talk.user("go")
            answer = await talk.send()
            talk.returned(answer.calls[0][0], "{}")
            talk.items.append({"role": "system" if variant[0] == "messages" else "developer", "content": "turn round"})
            assert (await talk.send()).text == "heard turn round"


async def test_usage_can_be_overridden_with_cache_parts(variant: tuple[str, bool]) -> None:
    usage = "{input: 1000, output: 77, cache_read: 500, cache_write: 20}"
    async with session(f"- {{say: hi, usage: {usage}}}", variant) as talk:
        answer = await talk.send()
    assert answer.usage == {"input": 1000, "output": 77, "cache_read": 500, "cache_write": 20}


async def test_a_stream_tells_its_usage_where_the_dialect_does() -> None:
    told: dict[str, list[tuple[str, Any]]] = {}
    for name in DIALECTS:
        async with session("- {say: hi, usage: {input: 9, output: 5}}", (name, True)) as talk:
            for event in (await talk.send()).raw:
                holder = event.get("message") or event.get("response") or event
                if holder.get("usage") is not None:
                    usage = holder["usage"]
                    place = event.get("type") or ("choices" if event["choices"] else "no choices")
                    told.setdefault(name, []).append(
                        (place, usage.get("output_tokens", usage.get("completion_tokens")))
                    )
    assert told == {
        "messages": [("message_start", 1), ("message_delta", 5)],
        "responses": [("response.completed", 5)],
        "chat": [("no choices", 5)],
    }


async def test_usage_can_be_missing(variant: tuple[str, bool]) -> None:
    async with session("- {say: hi, usage: missing}", variant) as talk:
        answer = await talk.send()
    assert answer.ended
    assert answer.text == "hi"
    assert answer.usage is None


async def test_a_reply_can_stop_at_the_output_limit(variant: tuple[str, bool]) -> None:
    async with session("- {say: unfini, stop: length}", variant) as talk:
        answer = await talk.send()
    assert answer.stop == STOPS[variant[0]][2]
    assert answer.ended


@pytest.mark.parametrize(
    ("status", "anthropic", "openai"),
    [
        (402, "billing_error", "invalid_request_error"),
        (429, "rate_limit_error", "rate_limit_exceeded"),
        (529, "overloaded_error", "server_error"),
    ],
)
async def test_a_refusal_speaks_the_dialect(
    variant: tuple[str, bool], status: int, anthropic: str, openai: str
) -> None:
    error = f"- error: {{status: {status}, message: no more, retry_after_s: 7, retry: false}}"
    async with session(error, variant) as talk:
        answer = await talk.send()
    assert answer.status == status
    assert talk.error_message(answer) == "no more"
    assert talk.error_type(answer) == (anthropic if variant[0] == "messages" else openai)
    assert answer.headers["retry-after"] == "7"
    assert answer.headers["x-should-retry"] == "false"
    if variant[0] == "messages":
        assert answer.error["type"] == "error"
    else:
        assert set(answer.error["error"]) == {"message", "type", "param", "code"}


async def test_a_refusal_can_carry_its_own_type_and_code(variant: tuple[str, bool]) -> None:
    error = "- error: {status: 429, type: insufficient_quota, code: insufficient_quota, message: broke}"
    async with session(error, variant) as talk:
        answer = await talk.send()
    assert talk.error_type(answer) == "insufficient_quota"
    if variant[0] != "messages":
        assert answer.error["error"]["code"] == "insufficient_quota"


async def test_a_transient_refusal_passes_by_the_clients_retry_count(variant: tuple[str, bool]) -> None:
    steps = "- error: {status: 529, times: 2}\n- say: at last\n- say: next"
    async with session(steps, variant) as talk:
        seen: list[int] = []
        for count in range(3):
            talk.headers = {"x-stainless-retry-count": str(count)}
            seen.append((await talk.send()).status)
        assert seen == [529, 529, 200]
        talk.headers = {}
        talk.user("and now?")
        assert (await talk.send()).text == "next"


async def test_a_mistake_in_the_scenario_is_a_server_error_that_names_step_and_path(variant: tuple[str, bool]) -> None:
    async with session("- call: {tool: spawn}\n- say: 'at ${spawn.node}'", variant) as talk:
        first = await talk.send()
        talk.returned(first.calls[0][0], "no json")
        answer = await talk.send()
    assert answer.status == 500
    assert "only.steps[1]" in talk.error_message(answer)
    assert "'spawn.node'" in talk.error_message(answer)
    assert answer.headers["x-should-retry"] == "false"


async def test_a_tool_that_is_not_offered_is_named(variant: tuple[str, bool]) -> None:
    async with session("- call: {tool: submit}", variant) as talk:
        answer = await talk.send()
    assert answer.status == 500
    assert "'submit' is not offered" in talk.error_message(answer)
    assert "await_event" in talk.error_message(answer)


async def test_no_fitting_scenario_is_a_client_error_that_names_them(variant: tuple[str, bool]) -> None:
    script = Script.load("scenarios:\n - {name: titles, when: {system: title}, steps: [{say: T}]}\n")
    with anyio.fail_after(30):
        async with serve(script) as url, httpx2.AsyncClient(base_url=url) as client:
            talk = DIALECTS[variant[0]](client, variant[1])
            talk.user("go")
            answer = await talk.send()
    assert answer.status == 400
    assert "titles" in talk.error_message(answer)


async def test_a_slow_reply_takes_its_time_and_comes_whole(variant: tuple[str, bool]) -> None:
    async with session(
        f"- {{say: '{'word ' * 40}', fault: {{kind: slow, first_s: 0.1, delay_s: 0.02}}}}", variant
    ) as talk:
        begun = time.monotonic()
        answer = await talk.send()
        took = time.monotonic() - begun
    assert answer.ended
    assert answer.text == "word " * 40
    # At least the first wait and eight chunks: a lower bound only, so a busy machine changes nothing.
    assert took >= 0.1 + 8 * 0.02


async def _raw(talk: Session) -> tuple[str, bool]:
    """What came of one reply, and whether the connection broke."""
    got = b""
    try:
        async with talk.client.stream("POST", talk.path, json=talk.body()) as response:
            assert response.status_code == 200
            async for chunk in response.aiter_raw():
                got += chunk
    except (httpx2.RemoteProtocolError, httpx2.ReadError):
        return got.decode(), True
    return got.decode(), False


async def test_a_cut_reply_breaks_the_connection_in_the_middle(variant: tuple[str, bool]) -> None:
    async with session(f"- {{say: '{'word ' * 100}', fault: cut}}\n- say: after", variant) as talk:
        text, broken = await _raw(talk)
        assert broken
        assert "word" in text
        if variant[1]:
            answer = talk.read_events(events_of(text))
            assert not answer.ended
            assert answer.usage is None or answer.usage["output"] == 1
        else:
            with pytest.raises(ValueError, match=r"Expecting|Unterminated|delimiter"):
                json.loads(text)
        assert (await _raw(talk))[1], "without a record of the turn the same step is played again"


async def test_a_cut_at_the_very_end_still_withholds_the_last_event(variant: tuple[str, bool]) -> None:
    async with session("- {say: hi, fault: {kind: cut, after: 1}}", variant) as talk:
        text, broken = await _raw(talk)
    assert broken
    assert talk.terminal not in text


async def test_a_silent_reply_sends_headers_and_nothing_else(variant: tuple[str, bool]) -> None:
    async with (
        session("- {say: hi, fault: silent}", variant) as talk,
        talk.client.stream("POST", talk.path, json=talk.body()) as response,
    ):
        assert response.status_code == 200
        got = b""
        with anyio.move_on_after(0.3) as waited:
            async for chunk in response.aiter_raw():
                got += chunk
        assert waited.cancelled_caught
        assert got == b""


async def test_a_silence_without_headers_ends_in_the_reply_if_it_has_an_end(variant: tuple[str, bool]) -> None:
    async with session("- {say: hi, fault: {kind: silent, for_s: 0.2, headers: false}}", variant) as talk:
        with pytest.raises(httpx2.ReadTimeout):
            await talk.client.post(talk.path, json=talk.body(), timeout=httpx2.Timeout(20, read=0.05))
        assert (await talk.send()).text == "hi"


async def test_an_error_inside_a_stream_comes_after_a_good_beginning(variant: tuple[str, bool]) -> None:
    fault = "{kind: stream_error, type: overloaded_error, message: too much}"
    async with session(f"- {{say: '{'word ' * 100}', fault: {fault}}}", variant) as talk:
        response = await talk.client.post(talk.path, json=talk.body())
        if not variant[1]:
            assert response.status_code == 500
            assert response.json()["error"]["message"] == "too much"
            return
        assert response.status_code == 200
        answer = talk.read_events(events_of(response.text))
    assert not answer.ended
    assert "word" in response.text
    assert answer.error["error"]["message"] == "too much"
    assert answer.error["error"]["type"] == "overloaded_error"


async def test_an_oversize_reply_is_as_large_as_was_asked(variant: tuple[str, bool]) -> None:
    steps = "- {say: big, fault: {kind: oversize, bytes: 3000000}}\n- say: next"
    async with session(steps, variant) as talk:
        answer = await talk.send()
        assert len(answer.text) == 3_000_000
        assert answer.text.startswith("big")
        talk.user("on")
        assert (await talk.send()).text == "next"


async def test_a_fault_passes_by_the_clients_retry_count(variant: tuple[str, bool]) -> None:
    async with session("- {say: hello, fault: {kind: cut, times: 1}}", variant) as talk:
        assert (await _raw(talk))[1]
        talk.headers = {"x-stainless-retry-count": "1"}
        assert (await talk.send()).text == "hello"


async def test_a_malformed_request_is_refused_in_the_dialect(variant: tuple[str, bool]) -> None:
    async with session("- say: hi", variant) as talk:
        bodies: list[Any] = [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b"{}"]
        bodies += [json.dumps({**talk.body(), "model": 3}).encode(), json.dumps({**talk.body(), "tools": [1]}).encode()]
        bodies += [json.dumps({**talk.body(), "messages": [], "input": []}).encode()]
        for body in bodies:
            response = await talk.client.post(talk.path, content=body)
            assert response.status_code == 400, body[:20]
            assert response.json()["error"]["type"] == "invalid_request_error"
        encoded = await talk.client.post(talk.path, content=b"x", headers={"content-encoding": "gzip"})
        assert encoded.status_code == 415


async def test_calls_and_results_must_pair_as_at_the_real_apis(variant: tuple[str, bool]) -> None:
    async with session("- call: {tool: spawn}\n- say: ok", variant) as talk:
        answer = await talk.send()
        talk.user("no result was given")
        unanswered = await talk.send()
        assert unanswered.status == 400
        assert answer.calls[0][0] in talk.error_message(unanswered)
        talk.items = []
        talk.user("go")
        talk.returned("made-up", "{}")
        stray = await talk.send()
        assert stray.status == 400
        assert "made-up" in talk.error_message(stray)


async def test_a_body_over_32_mib_is_refused_and_one_under_it_is_not(variant: tuple[str, bool]) -> None:
    async with session("- say: hi", variant) as talk:
        talk.user("x" * (33 << 20))
        answer = await talk.send()
        assert answer.status == 413
        assert "33554432" in talk.error_message(answer)
        talk.items = []
        talk.user("x" * (31 << 20))
        assert (await talk.send()).text == "hi"
