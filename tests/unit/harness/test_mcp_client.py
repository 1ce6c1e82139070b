"""The agent's MCP client against a server that says what the test wants, in raw lines."""

import sys
import threading
from pathlib import Path

import pytest

from palmette.sandbox.harness.agent.inbox import Cancellation
from palmette.sandbox.harness.agent.mcp import McpClient, McpError
from tests.support.polling import until

_PRELUDE = """
import json, os, sys
def hear():
    return json.loads(sys.stdin.readline() or sys.exit(0))
def say(**fields):
    print(json.dumps({"jsonrpc": "2.0", **fields}), flush=True)
def handshake(tools=({"name": "t", "inputSchema": {"type": "object"}},), **extra):
    asked = hear()
    assert asked["params"]["protocolVersion"] == "2025-11-25", asked
    assert asked["params"]["capabilities"] == {}, asked
    say(id=asked["id"], result={"instructions": "The contract.", **extra})
    assert hear()["method"] == "notifications/initialized"
    say(id=hear()["id"], result={"tools": list(tools)})
"""


class _Peer:
    def __init__(self, code: str) -> None:
        self.lost: list[str] = []
        argv = (sys.executable, "-I", "-c", _PRELUDE + code)
        self.client = McpClient(argv, "/token/file", self.lost.append)

    def connected(self) -> "_Peer":
        self.client.connect("0", 20.0)
        return self

    def call(self) -> tuple[str, bool]:
        return self.client.call("t", {"x": 1}, "toolu_1", Cancellation())


def test_the_structured_content_is_what_the_model_sees() -> None:
    peer = _Peer(
        "handshake(); a = hear(); say(id=a['id'], result={'content': [{'type': 'text', 'text': 'no'}],"
        " 'structuredContent': {'ok': False, 'error': 'x'}}); hear()"
    ).connected()
    assert peer.call() == ('{"ok":false,"error":"x"}', False)
    assert peer.client.instructions == "The contract."
    peer.client.close()
    assert peer.lost == []


def test_texts_are_joined_and_an_error_is_one() -> None:
    peer = _Peer(
        "handshake(); a = hear(); say(id=a['id'], result={'isError': True, 'content': [{'type': 'text', 'text': 'a'},"
        " {'type': 'image', 'data': 'x'}, 5]}); hear()"
    ).connected()
    assert peer.call() == ("a\n[image left out]\n", True)
    peer.client.close()


def test_a_refusal_of_the_protocol_is_an_error_result() -> None:
    peer = _Peer("handshake(); say(id=hear()['id'], error={'code': -32602, 'message': 'which?'}); hear()").connected()
    assert peer.call() == ("the call was refused: which? (-32602)", True)
    peer.client.close()


def test_what_the_server_asks_is_answered_and_its_notices_are_passed_over() -> None:
    peer = _Peer("""
handshake(); call = hear()
say(id="s1", method="elicitation/create", params={})
say(id="s2", method="ping")
say(id="s3", method="sampling/createMessage", params={})
say(method="notifications/progress", params={"progress": 1})
print("no json")
answers = {answer["id"]: answer for answer in (hear(), hear(), hear())}
say(id=99, result={})
say(id=call["id"], result={"content": [], "structuredContent": {
    "elicitation": answers["s1"]["result"], "ping": answers["s2"]["result"], "code": answers["s3"]["error"]["code"]}})
hear()
""").connected()
    assert peer.call() == ('{"elicitation":{"action":"decline"},"ping":{},"code":-32601}', False)
    peer.client.close()


def test_a_cancelled_call_is_told_to_the_server_and_returns(tmp_path: Path) -> None:
    told = tmp_path / "told"
    peer = _Peer(
        f"handshake(); call = hear(); done = hear(); assert done['params']['requestId'] == call['id']\n"
        f"open({str(told)!r}, 'w').write(done['method']); hear()"
    ).connected()
    round_ = Cancellation()

    def interrupt() -> None:
        until(lambda: bool(peer.client._open))  # pyright: ignore[reportPrivateUsage]
        round_.cancel(0.0)

    threading.Thread(target=interrupt, daemon=True).start()
    assert peer.client.call("t", {}, "toolu_1", round_) == ("interrupted", True)
    until(told.exists)
    until(lambda: told.read_text() == "notifications/cancelled")
    peer.client.close()


def test_a_relay_that_dies_ends_what_is_open_and_is_told_once() -> None:
    peer = _Peer("handshake(); hear(); sys.exit(7)").connected()
    assert peer.call() == ("the connection to the supervisor ended", True)
    until(lambda: peer.lost == ["the relay ended with status 7"])
    assert peer.call() == ("the connection to the supervisor ended", True)
    peer.client.close()


def test_tools_come_in_pages_and_odd_ones_are_left_out() -> None:
    peer = _Peer("""
asked = hear(); say(id=asked["id"], result={}); hear()
say(id=hear()["id"], result={"tools": [{"name": "a", "inputSchema": {}}, {"name": 5}, "x"], "nextCursor": "2"})
asked = hear(); assert asked["params"] == {"cursor": "2"}
say(id=asked["id"], result={"tools": [{"name": "b", "description": "d", "inputSchema": {}}]}); hear()
""")
    assert [(tool.name, tool.description) for tool in peer.client.connect("0", 20.0)] == [("a", ""), ("b", "d")]
    peer.client.close()


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("sys.exit(3)", "status 3"),
        ("hear(); say(id=1, error={'code': 1, 'message': 'not you'}); hear()", "refused: not you"),
        ("hear(); say(id=1, result=5); hear()", "no result"),
        ("hear(); hear()", "no answer to initialize within 0.3 s"),
    ],
)
def test_a_server_that_does_not_let_us_in(code: str, reason: str) -> None:
    peer = _Peer(code)
    with pytest.raises(McpError, match=reason):
        peer.client.connect("0", 20.0 if "within" not in reason else 0.3)
    peer.client.close()


def test_a_relay_that_cannot_be_started_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(McpError, match="cannot be started"):
        McpClient((str(tmp_path / "missing"),), "/token/file", print)
