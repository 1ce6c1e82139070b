"""What the relay remembers, line by line."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from palmette.servers.relay_exchange import RESEND_LIMIT, Exchange, Refusal, ReplayRefusedError

INITIALIZE: dict[str, object] = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {}}
INITIALIZED = {"jsonrpc": "2.0", "method": "notifications/initialized"}
REFUSAL = Refusal("supervisor_down", "stopped", "palmette up")


class _Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def _line(message: object) -> bytes:
    return json.dumps(message).encode()


def _call(request_id: object, **params: object) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": request_id, "method": "tools/call", "params": {"name": "t", **params}}


def _read(lines: Sequence[bytes]) -> list[Any]:
    return [json.loads(line) for line in lines]


def _connected(clock: _Clock | None = None) -> Exchange:
    """An exchange whose handshake is done."""
    exchange = Exchange(clock or _Clock())
    exchange.resume("1")
    assert _read(exchange.from_harness(_line(INITIALIZE)).up) == [INITIALIZE]
    assert len(exchange.from_supervisor(_line({"jsonrpc": "2.0", "id": 0, "result": {}}))) == 1
    assert _read(exchange.from_harness(_line(INITIALIZED)).up) == [INITIALIZED]
    return exchange


def _restart(exchange: Exchange, version: str = "1") -> list[Any]:
    exchange.lost()
    return _read(exchange.resume(version).up)


def test_the_bytes_of_a_request_go_up_unchanged() -> None:
    line = b'{ "id":1,"jsonrpc":"2.0", "method":"tools/call","params":{"name":"t","x":1e400}}'
    assert _connected().from_harness(line).up == [line]


def test_what_came_before_the_first_connection_is_sent_when_there_is_one_and_not_aged() -> None:
    clock = _Clock()
    exchange = Exchange(clock)
    assert exchange.from_harness(_line(INITIALIZE)).up == []
    assert exchange.from_harness(_line(INITIALIZED)).up == []
    assert exchange.from_harness(_line(_call(1))).up == []
    clock.now += 3
    assert _read(exchange.resume("1").up) == [INITIALIZE, INITIALIZED, _call(1)]
    assert exchange.from_supervisor(_line({"jsonrpc": "2.0", "id": 0, "result": {}})) != []


def test_an_initialize_that_had_no_answer_is_answered_by_the_next_life() -> None:
    exchange = Exchange()
    exchange.resume("1")
    exchange.from_harness(_line(INITIALIZE))
    assert _restart(exchange) == [INITIALIZE]
    answer = _line({"jsonrpc": "2.0", "id": 0, "result": {}})
    assert exchange.from_supervisor(answer) == [answer]


def test_the_answer_to_the_replayed_handshake_is_swallowed_once() -> None:
    exchange = _connected()
    exchange.from_harness(_line(_call(1)))
    assert [message["method"] for message in _restart(exchange)] == [
        "initialize",
        "notifications/initialized",
        "tools/call",
    ]
    assert exchange.from_supervisor(_line({"jsonrpc": "2.0", "id": 0, "result": {}})) == []
    answer = _line({"jsonrpc": "2.0", "id": 1, "result": {}})
    assert exchange.from_supervisor(answer) == [answer]
    assert exchange.from_supervisor(answer) == []  # one answer for one request


def test_a_handshake_the_next_life_refuses_ends_the_session() -> None:
    exchange = _connected()
    _restart(exchange)
    with pytest.raises(ReplayRefusedError, match="too old"):
        exchange.from_supervisor(_line({"jsonrpc": "2.0", "id": 0, "error": {"code": 1, "message": "too old"}}))


def test_the_ids_1_and_text_1_are_two_requests() -> None:
    exchange = _connected()
    exchange.from_harness(_line(_call(1)))
    exchange.from_harness(_line(_call("1")))
    assert exchange.from_supervisor(_line({"jsonrpc": "2.0", "id": "1", "result": {}})) != []
    assert [message["id"] for message in _restart(exchange)[2:]] == [1]


def test_a_request_sent_again_says_how_long_it_has_waited_over_all_lives() -> None:
    clock = _Clock()
    exchange = _connected(clock)
    exchange.from_harness(_line(_call(1, _meta={"progressToken": 7})))
    clock.now += 2.5
    assert _restart(exchange)[2] == _call(1, _meta={"progressToken": 7, "palmette/since": 2.5})
    clock.now += 4
    assert _restart(exchange)[2] == _call(1, _meta={"progressToken": 7, "palmette/since": 6.5})


def test_a_request_under_which_the_supervisor_dies_again_and_again_is_answered_as_lost() -> None:
    exchange = _connected()
    exchange.from_harness(_line(_call(1)))
    for _ in range(RESEND_LIMIT - 1):
        assert _restart(exchange)[2]["id"] == 1
    exchange.lost()
    turn = exchange.resume("1")
    assert [message["method"] for message in _read(turn.up)] == ["initialize", "notifications/initialized"]
    (answer,) = _read(turn.out)
    assert (answer["id"], answer["result"]["structuredContent"]["error"]) == (1, "supervisor_crashing")
    assert not exchange.waiting


@pytest.mark.rule("R3")
def test_a_refusal_is_a_normal_result_for_a_tool_call_and_an_error_for_the_rest() -> None:
    exchange = _connected()
    exchange.from_harness(_line(_call(1)))
    exchange.from_harness(_line({"jsonrpc": "2.0", "id": 2, "method": "tools/list"}))
    exchange.lost()
    called, listed = _read(exchange.refuse(REFUSAL))
    body = {"ok": False, "error": "supervisor_down", "reason": "stopped", "hint": "palmette up"}
    assert called["result"]["structuredContent"] == body
    assert "resultType" not in called["result"]
    assert listed["error"] == {"code": -32000, "message": "stopped: palmette up", "data": body}
    assert exchange.held == 0


@pytest.mark.rule("R3")
def test_a_refusal_to_a_modern_client_carries_what_its_revision_requires() -> None:
    exchange = Exchange()
    exchange.from_harness(_line(_call(1, _meta={"io.modelcontextprotocol/protocolVersion": "2026-07-28"})))
    assert _read(exchange.refuse(REFUSAL))[0]["result"]["resultType"] == "complete"


@pytest.mark.rule("R4")
def test_questions_of_two_lives_never_share_an_id() -> None:
    exchange = _connected()
    question: dict[str, object] = {"jsonrpc": "2.0", "id": 1, "method": "elicitation/create", "params": {}}
    assert _read(exchange.from_supervisor(_line(question)))[0]["id"] == "s1.1"
    (withdrawn,) = _read(exchange.lost())
    assert withdrawn["params"]["requestId"] == "s1.1"
    exchange.resume("1")
    exchange.from_supervisor(_line({"jsonrpc": "2.0", "id": 0, "result": {}}))
    assert _read(exchange.from_supervisor(_line(question)))[0]["id"] == "s2.1"
    assert exchange.from_harness(_line({"jsonrpc": "2.0", "id": "s1.1", "result": {"late": True}})).up == ()
    answer = {"jsonrpc": "2.0", "id": "s2.1", "error": {"code": 1, "message": "no"}}
    assert _read(exchange.from_harness(_line(answer)).up) == [{**answer, "id": 1}]
    assert exchange.from_harness(_line(answer)).up == ()


@pytest.mark.rule("R4")
def test_a_withdrawal_names_the_question_by_the_id_the_harness_knows() -> None:
    exchange = _connected()
    exchange.from_supervisor(_line({"jsonrpc": "2.0", "id": 5, "method": "elicitation/create"}))
    cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 5, "reason": "answered"}}
    (seen,) = _read(exchange.from_supervisor(_line(cancel)))
    assert seen["params"] == {"requestId": "s1.5", "reason": "answered"}


@pytest.mark.rule("R5")
def test_a_listen_stream_that_asked_for_it_is_told_and_acknowledged_once() -> None:
    exchange = Exchange()
    exchange.resume("1")
    wanted = {"notifications": {"toolsListChanged": True}}
    exchange.from_harness(_line({"jsonrpc": "2.0", "id": "L", "method": "subscriptions/listen", "params": wanted}))
    meta = {"_meta": {"io.modelcontextprotocol/subscriptionId": "L"}}
    acknowledged = _line({"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": meta})
    assert exchange.from_supervisor(acknowledged) == [acknowledged]
    exchange.lost()
    assert exchange.resume("1").out == []
    assert exchange.from_supervisor(acknowledged) == []
    exchange.lost()
    (told,) = _read(exchange.resume("2").out)
    assert told == {"jsonrpc": "2.0", "method": "notifications/tools/list_changed", "params": meta}


@pytest.mark.parametrize("line", [b"not json", b"\xff", b"[1]", b"7"])
def test_a_line_of_the_supervisor_that_is_no_message_is_left_out(line: bytes) -> None:
    assert _connected().from_supervisor(line) == []


def test_a_progress_line_passes_unchanged() -> None:
    line = b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}'
    assert _connected().from_supervisor(line) == [line]
