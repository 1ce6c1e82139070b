"""Looking for a supervisor."""

import os
import socket
import sys
import time
from pathlib import Path

import pytest

from palmette.servers import places
from palmette.servers.relay import supervisor_command
from palmette.servers.relay_dial import Dialer, DialError, DownError, Link, Target, clean_environment


def _dial(target: Target) -> Link:
    dialer = Dialer(target)
    try:
        while (link := dialer.step()) is None:
            time.sleep(0.005)
    finally:
        dialer.close()
    return link


@pytest.mark.rule("R12")
def test_inside_a_node_nothing_is_ever_started(tmp_path: Path) -> None:
    command = (sys.executable, "-c", "raise SystemExit('started')")
    target = Target(lambda: str(tmp_path / "mcp.sock"), b"{}\n", "1", data=None, command=command, patience=0.4)
    with pytest.raises(DialError, match="did not answer within 0 s; palmette doctor"):
        _dial(target)
    assert os.listdir(tmp_path) == []


@pytest.mark.rule("R3")
def test_where_a_person_stopped_it_nothing_is_started(tmp_path: Path) -> None:
    Path(places.down_marker(str(tmp_path))).touch()
    target = Target(lambda: str(tmp_path / "mcp.sock"), b"{}\n", "1", str(tmp_path), ("/bin/false",))
    with pytest.raises(DownError):
        _dial(target)
    assert os.listdir(tmp_path) == ["down"]


def test_a_supervisor_program_that_does_not_exist_is_named(tmp_path: Path) -> None:
    target = Target(lambda: str(tmp_path / "mcp.sock"), b"{}\n", "1", str(tmp_path), ("/no/such/python",))
    with pytest.raises(DialError, match=r"cannot start /no/such/python: No such file or directory; see .*log"):
        _dial(target)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", "is no palmette supervisor"),
        (b"[]\n", "is no palmette supervisor"),
        (b'{"palmette":2,"version":"9","pid":1}\n', r"speaks wire version 1, the supervisor \(palmette 9\) speaks 2"),
        (b'{"palmette":1,"version":"1","error":"bad_token","message":"no","hint":"ask"}\n', "this relay: no; ask"),
    ],
)
def test_a_hello_that_is_not_accepted_says_why(tmp_path: Path, answer: bytes, said: str) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "mcp.sock"))
        listener.listen()
        dialer = Dialer(Target(lambda: str(tmp_path / "mcp.sock"), b"hello\n", "1"))
        assert dialer.step() is None
        with listener.accept()[0] as peer:
            assert peer.recv(100) == b"hello\n"
            peer.sendall(answer)
            with pytest.raises(DialError, match=said):
                dialer.step()
        dialer.close()


def test_what_comes_behind_the_answer_is_kept(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "mcp.sock"))
        listener.listen()
        dialer = Dialer(Target(lambda: str(tmp_path / "mcp.sock"), b"hello\n", "1"))
        assert dialer.step() is None
        with listener.accept()[0] as peer:
            peer.sendall(b'{"palmette":1,"version":"3"}\n{"jsonrpc"')
            link = dialer.step()
            assert link is not None
            assert (link.version, link.rest) == ("3", b'{"jsonrpc"')
            link.sock.close()


@pytest.mark.rule("R10")
def test_a_supervisor_inherits_what_it_needs_and_no_secret() -> None:
    environ = {
        "PATH": "/bin",
        "XDG_DATA_HOME": "/d",
        "LC_TIME": "C",
        "PALMETTE_REQUIRE": "memory",
        "PALMETTE_TOKEN": "t",
        "PALMETTE_MODEL_API_KEY": "k",
        "OPENAI_API_KEY": "k",
        "CLAUDE_CODE_MESSAGING_TOKEN": "t",
        "LD_PRELOAD": "/evil.so",
        "PYTHONPATH": "/evil",
    }
    assert set(clean_environment(environ)) == {"PATH", "XDG_DATA_HOME", "LC_TIME", "PALMETTE_REQUIRE"}


def test_the_data_directory_is_one_argument_whatever_it_is_called() -> None:
    command = supervisor_command("/--foreground x")
    assert command[command.index("--data") + 1] == "/--foreground x"
