"""The relay's two streams: what it bears, and how it ends."""

import fcntl
import json
import os
import signal
import struct
import termios
import threading
from pathlib import Path

import pytest

from tests.support.polling import until
from tests.support.relay_process import Home


@pytest.mark.rule("R6")
@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"this is not json\n", -32700),
        (b'{"jsonrpc":"2.0","id":1,\xff\xfe}\n', -32700),
        (b"[" * 100_000 + b"\n", -32700),
        (b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]\n', -32600),
    ],
)
def test_a_line_that_is_no_message_is_answered_and_the_session_goes_on(home: Home, line: bytes, code: int) -> None:
    relay = home.relay()
    relay.handshake()
    relay.send(line)
    answer = relay.receive()
    assert (answer["id"], answer["error"]["code"]) == (None, code)
    assert relay.text(1, "echo", text="a\u2028b\u0085c") == "a\u2028b\u0085c"


@pytest.mark.rule("R6")
def test_three_megabytes_each_way_pass_while_neither_side_reads(home: Home) -> None:
    relay = home.relay()
    relay.handshake()
    text = "x" * 3_000_000

    os.kill(home.daemon(), signal.SIGSTOP)
    writing = threading.Thread(target=lambda: [relay.call(number, "echo", text=text) for number in (1, 2)])
    writing.start()
    writing.join(0.5)
    assert writing.is_alive()  # the way up is full, and bounded
    os.kill(home.daemon(), signal.SIGCONT)
    writing.join(30)
    assert not writing.is_alive()

    assert relay.process.stdout is not None
    descriptor = relay.process.stdout.fileno()
    capacity = fcntl.fcntl(descriptor, fcntl.F_GETPIPE_SZ)
    until(lambda: _unread(descriptor) == capacity)  # the way out is full too, and we do not read
    writing = threading.Thread(target=relay.call, args=(3, "echo"), kwargs={"text": text})
    writing.start()
    writing.join(30)
    assert not writing.is_alive()

    answers = [relay.receive() for _ in range(3)]
    assert {answer["id"] for answer in answers} == {1, 2, 3}
    assert all(answer["result"]["content"][0]["text"] == text for answer in answers)


@pytest.mark.rule("R6")
def test_a_line_without_end_is_dropped_and_the_session_goes_on(home: Home) -> None:
    relay = home.relay()
    relay.handshake()
    relay.send(b'{"jsonrpc":"2.0","id":1,"method":"' + b"x" * (17 * 1024 * 1024) + b'"}\n')
    answer = relay.receive()
    assert (answer["id"], answer["error"]["code"]) == (None, -32600)
    assert relay.text(2, "echo", text="on") == "on"


@pytest.mark.rule("R7", "R8")
def test_the_end_of_input_ends_the_relay_and_detaches_the_caller_without_settling_anything(home: Home) -> None:
    relay = home.relay()
    relay.handshake()
    session = json.loads(relay.text(1, "whoami"))["session"]
    relay.call(2, "wait", file="never")
    until(lambda: (home.data / "waiting-never").exists())
    assert relay.end() == (0, "")
    until(lambda: (home.data / "cancelled-never").exists())
    until(lambda: (home.data / "byes").exists())
    assert (home.data / "byes").read_text().split() == [session]
    other = home.relay()
    other.handshake()
    assert len(home.starts()) == 1


@pytest.mark.rule("R7")
def test_a_harness_that_is_killed_ends_the_relay_also_while_it_dials(home: Home) -> None:
    socket = home.root / "nobody.sock"
    relay = home.relay("--socket", str(socket))
    assert relay.end() == (0, "")


@pytest.mark.rule("R7")
def test_a_harness_that_stops_reading_for_good_ends_the_relay(home: Home) -> None:
    relay = home.relay()
    relay.handshake()
    assert relay.process.stdout is not None
    relay.process.stdout.close()
    assert relay.wait() == (0, "")


@pytest.mark.rule("R7")
def test_sigterm_ends_the_relay_at_once(home: Home) -> None:
    relay = home.relay()
    relay.handshake()
    relay.process.terminate()
    assert relay.wait() == (-signal.SIGTERM, "")


def test_a_supervisor_that_stands_still_only_delays(home: Home) -> None:
    relay = home.relay()
    relay.handshake()
    os.kill(home.daemon(), signal.SIGSTOP)
    relay.call(1, "echo", text="late")
    assert relay.silent(0.3)
    os.kill(home.daemon(), signal.SIGCONT)
    assert relay.receive()["id"] == 1
    assert len(home.starts()) == 1


@pytest.mark.rule("R11")
def test_the_hello_says_which_session_calls_and_nothing_else_of_the_environment(home: Home) -> None:
    told = {
        "CLAUDE_CODE_SESSION_ID": "9f0c",
        "CLAUDE_PROJECT_DIR": "/repository",
        "CLAUDE_CODE_ENTRYPOINT": "cli",
        "OPENCODE_PID": "12",
    }
    relay = home.relay(
        "--data", str(home.data), CLAUDE_CODE_MESSAGING_TOKEN="messaging-token", ANTHROPIC_API_KEY="model-key", **told
    )
    relay.handshake()
    assert json.loads(relay.text(1, "whoami"))["env"] == told
    assert home.hellos()[0]["env"] == told
    assert home.hellos()[0]["cwd"] == str(home.root)


@pytest.mark.rule("R12")
def test_inside_a_node_the_same_relay_dials_the_attempts_socket_with_its_token(home: Home) -> None:
    home.relay().handshake()
    (path,) = (home.root / "run" / "palmette").glob("*/mcp.sock")
    token = home.token_file("attempt-token")
    relay = home.relay("--socket", str(path), "--only", "checks", PALMETTE_TOKEN_FILE=token, HOME="/nowhere")
    relay.handshake()
    who = json.loads(relay.text(1, "whoami"))
    assert (who["token"], who["only"]) == ("attempt-token", "checks")
    assert b"attempt-token" not in _cmdline(relay.process.pid)
    assert b"attempt-token" not in Path(f"/proc/{relay.process.pid}/environ").read_bytes()
    assert len(home.starts()) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--port", "1"), "unknown argument '--port'"),
        (("--data",), "--data needs a value"),
        (("--only", "everything"), "--only takes one of"),
        (("--x\x1b[31m\ny", "1"), "unknown argument"),
    ],
)
def test_wrong_arguments_are_one_line_and_status_2(home: Home, arguments: tuple[str, ...], said: str) -> None:
    status, text = home.relay(*arguments).wait()
    assert status == 2
    assert said in text
    assert len(text.splitlines()) == 1


def _unread(descriptor: int) -> int:
    return struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, b"\0" * 4))[0]


def _cmdline(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()
