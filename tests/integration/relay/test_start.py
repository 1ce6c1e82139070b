"""Starting a supervisor from a relay."""

import fcntl
import json
import os
import signal
import stat
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.line_daemon import Settings
from tests.support.polling import until
from tests.support.relay_process import Home


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _pipes(pid: int) -> list[str]:
    """What the process holds of pipes beside its three streams."""
    found: list[str] = []
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            if int(descriptor.name) > 2 and os.readlink(descriptor).startswith("pipe:"):
                found.append(descriptor.name)
    return found


@pytest.mark.rule("R1")
def test_the_supervisor_is_no_descendant_of_the_relay_and_outlives_it(home: Home) -> None:
    relay = home.relay()
    relay.handshake()
    daemon = home.daemon()
    line: list[int] = []
    pid = daemon
    while pid > 1:
        pid = _parent(pid)
        line.append(pid)
    assert relay.process.pid not in line
    assert os.getsid(daemon) != os.getsid(relay.process.pid)
    assert os.getpgid(daemon) != os.getpgid(relay.process.pid)

    relay.process.kill()
    relay.process.wait(30)
    second = home.relay()
    second.handshake()
    assert second.text(1, "echo", text="still here") == "still here"
    assert [life["pid"] for life in home.starts()] == [daemon]


@pytest.mark.rule("R2")
def test_of_many_relays_one_starts_the_supervisor_and_all_are_served(home: Home) -> None:
    relays = [home.relay() for _ in range(6)]
    answers = [relay.handshake() for relay in relays]
    assert [answer["result"]["serverInfo"]["name"] for answer in answers] == ["daemon"] * 6
    assert len((home.data / "pids").read_text().split()) == 1


@pytest.mark.rule("R2")
def test_a_supervisor_that_dies_while_starting_is_one_clear_line(home: Home) -> None:
    home.settings(Settings(fail="the journal is\x1b[31m corrupt"))
    relay = home.relay()
    status, said = relay.wait()
    assert status == 1
    assert said.splitlines() == [
        "palmette mcp: the supervisor ended while starting: the journal is [31m corrupt; "
        f"see {home.data / 'supervisor.log'}"
    ]
    log = home.data / "supervisor.log"
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


@pytest.mark.rule("R2")
def test_a_relay_whose_supervisor_gave_way_to_another_goes_on_dialling(home: Home) -> None:
    with (home.data / "supervisor.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another supervisor, which is not listening yet
        relay = home.relay()
        until(lambda: (home.data / "pids").exists())
        until(lambda: b"another supervisor owns" in (home.data / "supervisor.log").read_bytes())
        until(lambda: not _pipes(relay.process.pid))  # the relay has seen the end of its own
    other = subprocess.Popen(
        [sys.executable, str(Path(__file__).parents[2] / "support" / "line_daemon.py"), "--data", str(home.data)],
        env=home.environment,
        stderr=subprocess.PIPE,
    )
    try:
        relay.handshake()
        assert json.loads(relay.text(1, "whoami"))["pid"] == relay.process.pid
        assert [life["pid"] for life in home.starts()] == [other.pid]
    finally:
        other.kill()
        other.communicate(timeout=30)


def test_a_supervisor_started_by_a_relay_inherits_no_secret(home: Home) -> None:
    relay = home.relay(
        "--data",
        str(home.data),
        LANG="C.UTF-8",
        LC_ALL="C.UTF-8",
        PALMETTE_PORT="0",
        PALMETTE_TOKEN="attempt-token",
        PALMETTE_TOKEN_FILE=home.token_file("attempt-token"),
        PALMETTE_API_KEY="palmette-key",
        ANTHROPIC_API_KEY="model-key",
        CLAUDE_CODE_MESSAGING_TOKEN="messaging-token",
        CLAUDE_CODE_SESSION_ID="session",
    )
    relay.handshake()
    environment = home.starts()[0]["env"]
    assert set(environment) == {"PATH", "HOME", "XDG_RUNTIME_DIR", "LANG", "LC_ALL", "PALMETTE_PORT"}


def test_a_token_file_that_others_can_read_ends_the_relay_in_one_line(home: Home) -> None:
    path = home.token_file("secret-token")
    os.chmod(path, 0o640)
    status, said = home.relay("--data", str(home.data), PALMETTE_TOKEN_FILE=path).wait()
    assert status == 1
    assert said == f"palmette mcp: the token file {path} is not a file of this user with mode 600\n"
    assert home.starts() == []


def test_the_supervisor_holds_nothing_that_the_harness_leaked_to_the_relay(home: Home) -> None:
    read, write = os.pipe()
    os.set_inheritable(write, True)
    relay = subprocess.Popen(
        home.argv(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=home.environment, pass_fds=(write,)
    )
    os.close(write)
    with relay, open(read, "rb") as leaked:
        assert relay.stdin is not None
        daemon = home.daemon()
        relay.stdin.close()
        relay.wait(30)
        assert leaked.read() == b""  # end of file, though the daemon lives
    os.kill(daemon, signal.SIGTERM)


def test_a_data_directory_open_to_others_is_refused(home: Home) -> None:
    home.data.chmod(0o777)
    status, said = home.relay().wait()
    home.data.chmod(0o700)
    assert status == 1
    assert said == f"palmette mcp: {home.data} is open to other users: chmod 700 {home.data}\n"


def test_a_runtime_directory_that_is_a_link_is_refused(home: Home) -> None:
    (home.root / "elsewhere").mkdir(mode=0o700)
    (home.root / "run" / "palmette").symlink_to(home.root / "elsewhere")
    status, said = home.relay().wait()
    assert status == 1
    assert "is not a directory" in said
    assert len(said.splitlines()) == 1


def test_a_relay_with_another_runtime_directory_finds_the_running_supervisor(home: Home) -> None:
    """codex passes its servers no XDG_RUNTIME_DIR."""
    home.relay().handshake()
    elsewhere = home.root / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    relay = home.relay("--data", str(home.data), XDG_RUNTIME_DIR=str(elsewhere))
    relay.handshake()
    assert relay.text(1, "echo", text="found") == "found"
    assert len(home.starts()) == 1
