"""`up` and `down`: one supervisor per data directory, in the background or not, and clear words when it cannot be."""

import json
import os
import signal
import socket
import subprocess
from typing import Any

import pytest

from tests.support.installation import Installation, is_alive, wait_for_line
from tests.support.polling import until


def failed(place: Installation, *arguments: str, code: int = 1) -> dict[str, Any]:
    """The error of a command that has to fail."""
    done = place.run(*arguments, "--json")
    assert done.returncode == code, (done.stdout, done.stderr)
    return json.loads(done.stdout)["error"]


def test_up_tells_where_it_is_and_down_ends_it(place: Installation) -> None:
    begun = place.json("up")
    status = place.json("up", "--status")
    assert status == begun
    assert set(status["addresses"]) == {"http", "mcp", "api"}
    assert is_alive(status["pid"])

    again = failed(place, "up")
    assert again["kind"] == "supervisor_running"
    assert str(status["pid"]) in again["message"]

    assert place.json("down") == {"running": False, "was_running": True, "trees_stopped": False}
    assert not is_alive(status["pid"])
    assert place.json("up", "--status")["running"] is False
    assert place.json("down")["was_running"] is False


@pytest.mark.rule("R3")
def test_down_leaves_a_marker_that_up_takes_away(place: Installation) -> None:
    place.json("down")
    assert (place.data / "down").exists()
    place.json("up")
    assert not (place.data / "down").exists()
    place.json("down")


def test_a_port_that_is_taken_is_named(place: Installation) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        error = failed(place, "up", "--port", str(port))
    assert error["kind"] == "port_in_use"
    assert str(port) in error["message"]
    assert "--port" in error["hint"]


def test_a_port_taken_by_0_is_taken_again(place: Installation) -> None:
    first = place.json("up", "--port", "0")["addresses"]["http"]
    place.json("down")
    assert place.json("up")["addresses"]["http"] == first
    place.json("down")


@pytest.mark.rule("R1")
def test_it_is_nobodys_child_and_survives_the_shell_that_started_it(place: Installation) -> None:
    argv = ["setsid", "--wait", *place.command("up", "--json")]
    done = subprocess.run(argv, env=place.environment(), cwd=place.directory, capture_output=True, timeout=60)
    pid = json.loads(done.stdout)["pid"]
    assert os.getsid(pid) == pid
    assert is_alive(pid)
    place.json("down")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_in_the_foreground_a_signal_ends_it_in_good_order(place: Installation, number: int) -> None:
    with place.started(place.command("up", "--foreground")) as up:
        wait_for_line(up, "palmette tree")
        up.send_signal(number)
        assert up.wait(30) == 0
    assert place.survivors() == set()


@pytest.mark.parametrize(
    ("text", "key"),
    [("[limits]\nturn = 1\n", "limits.turn"), ("[", "no TOML"), ("[server]\nport = 99999\n", "server.port")],
)
def test_a_config_that_is_wrong_stops_the_start_and_names_the_file(place: Installation, text: str, key: str) -> None:
    path = place.directory / "home" / ".config" / "palmette" / "config.toml"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    error = failed(place, "up")
    assert error["kind"] == "bad_config"
    assert str(path) in error["message"]
    assert key in error["message"]
    assert failed(place, "config")["kind"] == "bad_config"


def test_a_journal_that_is_none_is_left_alone(place: Installation) -> None:
    place.data.mkdir(mode=0o700)
    journal = place.data / "journal.db"
    journal.write_bytes(b"not a database, " * 300)
    for command in (("up",), ("tree",), ("verify",)):
        assert failed(place, *command)["kind"] == "journal_corrupt"
    assert journal.read_bytes() == b"not a database, " * 300


def test_two_installations_never_meet(place: Installation) -> None:
    other = place.directory / "other"
    first = place.json("up")
    second = place.json("up", "--data", str(other))
    assert first["pid"] != second["pid"]
    assert set(first["addresses"].values()).isdisjoint(second["addresses"].values())
    place.json("down", "--data", str(other))
    assert is_alive(first["pid"])
    place.json("down")


def test_a_supervisor_that_was_killed_is_no_hindrance(place: Installation) -> None:
    first = place.json("up")
    os.kill(first["pid"], signal.SIGKILL)
    until(lambda: not is_alive(first["pid"]))
    assert place.json("up", "--status")["running"] is False
    assert place.json("up")["pid"] != first["pid"]
    place.json("down")
