"""A supervisor that ends and comes back under a living relay."""

import json
import signal
import sqlite3
from contextlib import closing

import pytest

from tests.support.line_daemon import Settings
from tests.support.polling import until
from tests.support.relay_process import Home


def _receipts(home: Home) -> list[tuple[str, float]]:
    with closing(sqlite3.connect(home.data / "calls.db", timeout=30)) as books:
        return books.execute("SELECT key, waited FROM receipts ORDER BY rowid").fetchall()


@pytest.mark.rule("S5")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_restart_in_the_middle_of_a_call_is_invisible(home: Home, number: int) -> None:
    relay = home.relay()
    relay.handshake()
    before = json.loads(relay.text(1, "whoami"))
    relay.call(2, "record", hold=True)
    until(lambda: len(_receipts(home)) == 1)
    home.kill(number)
    answer = relay.receive()
    assert answer["id"] == 2
    result = json.loads(answer["result"]["content"][0]["text"])
    assert result["number"] == 1  # one effect, though it was sent twice
    assert result["waited"] > 0
    after = json.loads(relay.text(3, "whoami"))
    assert after["session"] == before["session"]
    assert after["connection"] != before["connection"]
    assert len(home.starts()) == 2
    assert relay.end() == (0, "")


def test_without_an_open_request_a_crashed_supervisor_is_started_at_the_next_line(home: Home) -> None:
    relay = home.relay()
    relay.handshake()
    home.kill()
    assert relay.silent(0.3)
    assert len(home.starts()) == 1
    assert relay.text(1, "echo", text="again") == "again"
    assert len(home.starts()) == 2


def test_a_call_that_was_cancelled_is_not_sent_again(home: Home) -> None:
    relay = home.relay()
    relay.handshake()
    relay.call(1, "record", hold=True)
    relay.call(2, "record", hold=True)
    until(lambda: len(_receipts(home)) == 2)
    relay.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}})
    assert relay.text(3, "echo", text="cancel was read") == "cancel was read"
    home.kill()
    assert relay.receive()["id"] == 2
    assert sorted(key for key, _ in _receipts(home)) == ["1", "2", "2"]


def test_twelve_kills_with_twenty_calls_in_flight_lose_and_double_nothing(home: Home) -> None:
    relay = home.relay()
    relay.handshake()
    home.daemon()
    numbers: list[int] = []
    for life in range(12):
        first, seen = 100 * life, len(_receipts(home))
        for request in range(first, first + 20):
            relay.call(request, "record")
        until(lambda seen=seen, life=life: len(_receipts(home)) > seen + (7 * life) % 19)
        home.kill()
        answers = [relay.receive() for _ in range(20)]
        assert sorted(answer["id"] for answer in answers) == list(range(first, first + 20))
        numbers += [json.loads(answer["result"]["content"][0]["text"])["number"] for answer in answers]
    assert relay.silent(0.2)
    assert sorted(numbers) == list(range(1, 241))
    assert relay.end() == (0, "")


@pytest.mark.rule("R3")
def test_what_a_person_stopped_is_not_started_again(home: Home) -> None:
    relay = home.relay()
    relay.handshake()
    relay.call(1, "record", hold=True)
    until(lambda: len(_receipts(home)) == 1)
    (home.data / "down").touch()
    home.kill(signal.SIGTERM)
    refused = relay.receive()
    body = {
        "ok": False,
        "error": "supervisor_down",
        "reason": "the supervisor was stopped by a person",
        "hint": "palmette up",
    }
    assert refused["id"] == 1
    assert refused["result"]["structuredContent"] == body
    assert json.loads(refused["result"]["content"][0]["text"]) == body
    assert refused["result"]["isError"] is False

    relay.call(2, "echo", text="no")
    assert relay.receive()["result"]["structuredContent"] == body
    relay.send({"jsonrpc": "2.0", "id": 3, "method": "tools/list"})
    listed = relay.receive()
    assert listed["error"]["code"] == -32000
    assert "palmette up" in listed["error"]["message"]
    assert len((home.data / "pids").read_text().split()) == 1

    (home.data / "down").unlink()  # what `palmette up` does
    assert relay.text(4, "echo", text="back") == "back"
    assert relay.end() == (0, "")


@pytest.mark.rule("R3")
def test_a_relay_that_begins_after_palmette_down_answers_without_starting_anything(home: Home) -> None:
    (home.data / "down").touch()
    relay = home.relay()
    answer = relay.handshake()
    assert answer["id"] == 0
    assert "palmette up" in answer["error"]["message"]
    assert not (home.data / "pids").exists()
    (home.data / "down").unlink()
    assert relay.handshake()["result"]["serverInfo"]["name"] == "daemon"


@pytest.mark.rule("R4")
def test_a_question_of_a_dead_supervisor_is_withdrawn_and_asked_again_under_a_new_id(home: Home) -> None:
    relay = home.relay()
    relay.handshake()
    relay.call(1, "ask", question="which?")
    first = relay.receive()
    assert (first["method"], first["id"].partition(".")[0]) == ("elicitation/create", "s1")
    home.kill()
    withdrawn = relay.receive()
    assert (withdrawn["method"], withdrawn["params"]["requestId"]) == ("notifications/cancelled", first["id"])
    second = relay.receive()
    assert (second["method"], second["id"].partition(".")[0]) == ("elicitation/create", "s2")
    late = {"action": "accept", "content": {"answer": "late"}}
    relay.send({"jsonrpc": "2.0", "id": first["id"], "result": late})
    right = {"action": "accept", "content": {"answer": "in time"}}
    relay.send({"jsonrpc": "2.0", "id": second["id"], "result": right})
    answer = relay.receive()
    assert (answer["id"], answer["result"]["content"][0]["text"]) == (1, "in time")


@pytest.mark.rule("R5")
def test_a_legacy_client_is_told_of_a_changed_tool_list_exactly_if_the_version_changed(home: Home) -> None:
    relay = home.relay()
    relay.handshake()
    home.kill()
    assert relay.text(1, "echo", text="same version") == "same version"
    home.settings(Settings(version="0.2.0", tool="extra"))
    home.kill()
    relay.call(2, "extra", text="new tool")
    assert relay.receive() == {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}
    assert relay.receive()["result"]["content"][0]["text"] == "new tool"


@pytest.mark.rule("R9")
def test_another_wire_version_ends_the_relay_in_one_line_that_names_both(home: Home) -> None:
    home.settings(Settings(wire=2, version="9.9.9"))
    status, said = home.relay().wait()
    assert status == 1
    assert said == (
        "palmette mcp: this relay (palmette 0.1.0) speaks wire version 1, the supervisor (palmette 9.9.9) speaks 2; "
        "palmette down && palmette up\n"
    )


@pytest.mark.rule("R9")
def test_a_wire_version_that_changes_under_a_session_answers_what_is_open_first(home: Home) -> None:
    relay = home.relay()
    relay.handshake()
    relay.call(1, "record", hold=True)
    until(lambda: len(_receipts(home)) == 1)
    home.settings(Settings(wire=2))
    home.kill()
    answer = relay.receive()
    assert (answer["id"], answer["result"]["structuredContent"]["error"]) == (1, "supervisor_unavailable")
    status, said = relay.wait()
    assert (status, len(said.splitlines())) == (1, 1)


@pytest.mark.rule("R9")
def test_another_package_version_is_served_and_named_in_the_instructions(home: Home) -> None:
    home.settings(Settings(version="0.2.0"))
    instructions = home.relay().handshake()["result"]["instructions"]
    assert instructions.startswith("the contract\n\n")
    assert "0.2.0" in instructions
    assert "0.1.0" in instructions


def test_a_refused_token_ends_the_relay_in_one_harmless_line(home: Home) -> None:
    home.settings(Settings(refuse="bad_token"))
    status, said = home.relay("--data", str(home.data), PALMETTE_TOKEN_FILE=home.token_file("secret-token")).wait()
    assert status == 1
    assert said == ("palmette mcp: the supervisor refuses this relay: the token is not known [31m; palmette observe\n")
