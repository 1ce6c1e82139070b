"""Bad input as a person or a harness gives it to a real installation: words with a code and a next step, exit ≠ 0, and
nothing that was acknowledged is lost: `palmette verify` is clean after each.
"""

import http.client
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Generator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from palmette.coordination.values import TEXT_MAX_BYTES
from palmette.servers.relay_wire import LINE_LIMIT, WIRE
from tests.support.installation import Installation, is_alive
from tests.support.polling import until
from tests.support.relay_process import RelayProcess
from tests.support.require import require

SCRIPT = """
scenarios:
  - name: any
    when: {tools: [submit]}
    steps:
      - call:
          tool: ask_parent
          arguments: {question: "Red or blue?", why: "It matters.", urgency: blocks_run, wait_s: 120}
      - call: {tool: submit, arguments: {result: "Done."}}
      - say: Finished.
"""


@pytest.fixture
def model(place: Installation) -> str:
    """A model whose every node asks the level above, and submits once it is answered."""
    script = place.directory / "play.yaml"
    script.write_text(SCRIPT)
    configure(place, f'[run]\nmodel_source = "scripted:{script}"\n')
    return f"scripted:{script}"


@pytest.fixture
def repository(place: Installation) -> Path:
    """A git repository with one commit."""
    path = place.directory / "repository"
    path.mkdir()
    (path / "a.txt").write_text("a\n")
    git = ["git", "-C", str(path), "-c", "user.name=x", "-c", "user.email=x@localhost"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        subprocess.run([*git, *arguments], check=True, env=place.environment())
    return path


def configure(place: Installation, text: str | bytes) -> Path:
    """Write the person's own config."""
    path = place.directory / "home" / ".config" / "palmette" / "config.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def failed(place: Installation, *arguments: str, code: int = 1) -> dict[str, Any]:
    """The error of a command that has to fail, in JSON, with a sentence and a next step."""
    done = place.run(*arguments, "--json")
    assert done.returncode == code, (arguments, done.stdout, done.stderr)
    error = json.loads(done.stdout)["error"]
    assert set(error) == {"kind", "message", "hint"}
    assert all(error.values())
    assert "Traceback" not in done.stderr
    return error


def verified(place: Installation) -> int:
    """How many events there are in a journal that is sound."""
    return int(place.json("verify")["events"])


def begun(place: Installation, repository: Path, *more: str) -> str:
    """A tree whose root waits for a person's answer."""
    tree = place.json("run", "--repo", str(repository), "--detach", *more, "Choose.")["tree"]
    until(lambda: any(item["node"].startswith(tree) for item in place.json("inbox")), 60)
    return tree


@contextmanager
def relay(place: Installation, argv: list[str] | None = None, **environment: str) -> Generator[RelayProcess]:
    """A `palmette mcp` as a harness starts it."""
    with subprocess.Popen(
        argv or place.command("mcp"),
        env={**place.environment(), **environment},
        cwd=place.directory,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            yield RelayProcess(process)
        finally:
            process.kill()


def called(peer: RelayProcess, number: int, tool: str, **arguments: object) -> dict[str, Any]:
    """The structured answer to a call."""
    peer.call(number, tool, **arguments)
    while (answer := peer.receive()).get("id") != number:
        assert "method" in answer, answer
    return answer["result"]["structuredContent"]


@pytest.mark.rule("S2")
def test_a_harness_that_calls_wrongly_is_told_and_can_go_on(place: Installation, model: str) -> None:
    long = "x" * (TEXT_MAX_BYTES + 1)
    with relay(place) as peer:
        peer.handshake()
        before = verified(place)
        wrong = (
            ("spawn", {"tusk": "x"}, "bad_arguments"),
            ("spawn", {"task": 5}, "bad_arguments"),
            ("spawn", {"task": "x", "budget": {"turns": -1}}, "bad_arguments"),
            ("spawn", {"task": "x", "budget": {"turns": 0.5}}, "bad_arguments"),
            ("spawn", {"task": long}, "too_large"),
            ("submit", {"result": long}, "too_large"),
            ("notify", {"summary": "a\0b"}, "bad_text"),
            ("steer", {"node": "nobody", "message": "m"}, "no_tree"),
            ("answer", {"question": "q1", "text": "yes"}, "no_tree"),
            ("observe", {"node": "t1/0"}, "no_tree"),
        )
        for number, (tool, arguments, code) in enumerate(wrong):
            answer = called(peer, number, tool, **arguments)
            assert (answer["ok"], answer["error"]) == (False, code), (tool, answer)
            assert answer.get("hint") or answer["problems"]
        peer.call(50, "nonsense")
        unknown = peer.receive()
        assert unknown.get("error") or unknown["result"]["isError"]
        peer.call(60, "notify", summary="a\ud800b")  # half of a character is no Unicode, so the line is no JSON
        assert peer.receive()["error"]["code"] == -32600
        assert verified(place) == before

        for raw in (
            b"\xff\xfe\x00\n",
            b"{\n",
            b"x" * (LINE_LIMIT + 1) + b"\n",
        ):
            peer.send(raw)
            assert peer.receive()["error"]["code"] in (-32700, -32600), raw[:40]
        assert called(peer, 100, "notify", summary="still here")["ok"]
        for number, (tool, arguments, code) in enumerate(
            (
                ("spawn", {"task": "x", "budget": {"usd": 0.0000001}}, "bad_budget"),
                ("steer", {"node": "nobody", "message": "m"}, "unknown_node"),
                ("answer", {"question": "q1", "text": "yes"}, "unknown_question"),
            ),
            101,
        ):
            answer = called(peer, number, tool, **arguments)
            assert (answer["ok"], answer["error"], bool(answer["hint"])) == (False, code, True), (tool, answer)
        assert peer.end()[0] == 0
    place.json("down", "--stop")
    verified(place)


@pytest.mark.rule("S1")
def test_two_harnesses_cannot_touch_each_others_children(place: Installation, model: str) -> None:
    with relay(place) as one, relay(place) as other:
        one.handshake()
        other.handshake()
        mine, theirs = (called(peer, 1, "spawn", task="Choose.", label="own")["node"] for peer in (one, other))
        assert mine != theirs
        for number, (tool, more) in enumerate((("steer", {"message": "m"}), ("stop", {"reason": "mine now"})), 2):
            answer = called(other, number, tool, node=mine, **more)
            assert (answer["ok"], answer["error"]) == (False, "not_your_child")
        assert called(other, 4, "observe", node=mine)["error"] == "unknown_node"
        asked = called(one, 5, "await_event", kinds=["question"], wait_s=60)["events"][0]["question"]
        assert called(other, 6, "answer", question=asked, text="Blue.")["error"] == "not_your_question"
        assert called(one, 7, "answer", question=asked, text="Red.")["ok"]
    place.json("down", "--stop")
    verified(place)


@pytest.mark.rule("W4")
def test_a_copied_token_is_worth_nothing_once_its_attempt_is_over(
    place: Installation, repository: Path, model: str
) -> None:
    tree = begun(place, repository)
    (token,) = [
        path for top in ("run", "data") for path in (place.directory / top).rglob("token") if path.parent != place.data
    ]
    copy = place.directory / "copy"
    shutil.copy(token, copy)
    copy.chmod(0o600)
    with relay(place, PALMETTE_TOKEN_FILE=str(copy)) as replayed:
        replayed.handshake()
        assert called(replayed, 1, "observe")["ok"]
        assert place.json("stop", tree)["stopped"]
        events = verified(place)
        assert called(replayed, 2, "notify", summary="hello")["error"] == "attempt_over"
    with relay(place, PALMETTE_TOKEN_FILE=str(copy)) as replayed:
        status, said = replayed.wait()
    assert status == 1
    assert (
        said
        == "palmette mcp: the supervisor refuses this relay: this token belongs to no live attempt; palmette tree\n"
    )
    address = place.json("up", "--status")["addresses"]["http"]
    for bearer in (copy.read_text(), "guessed"):
        with closing(http.client.HTTPConnection(address.split("/")[2], timeout=30)) as connection:
            headers = {"Authorization": f"Bearer {bearer}", "Content-Type": "application/json"}
            connection.request("POST", "/mcp", b"{}", headers)
            assert connection.getresponse().status == 401
    assert verified(place) == events
    place.json("down")


def test_a_place_that_is_no_repository_begins_no_tree(place: Installation, repository: Path, model: str) -> None:
    file, plain, broken, empty = (place.directory / name for name in ("file", "-plain", "broken", "empty"))
    file.write_text("x")
    plain.mkdir()
    shutil.copytree(repository, broken)
    (broken / ".git" / "HEAD").write_text("nonsense")
    subprocess.run(["git", "init", "-q", str(empty)], check=True)
    place.json("up")
    for path, kind in (
        (file, "not_a_repository"),
        (plain, "not_a_repository"),
        (broken, "not_a_repository"),
        (empty, "repository_empty"),
    ):
        assert failed(place, "run", "--repo", str(path), "x")["kind"] == kind, path
    for base in ("nonsense", "--upload-pack=true", "HEAD:a.txt"):
        assert failed(place, "run", "--repo", str(repository), f"--base={base}", "x")["kind"] == "bad_base", base
    assert place.json("tree") == []
    (repository / "a.txt").write_text("changed\n")
    done = place.run("run", "--repo", str(repository), "--detach", "Choose.")
    assert (done.returncode, "not committed, so not seen: a.txt" in done.stdout) == (0, True)
    place.json("down", "--stop")
    verified(place)
    assert (repository / "a.txt").read_text() == "changed\n"


def test_a_port_in_use_starts_nothing_by_any_road(place: Installation, repository: Path, model: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        configure(place, f'[server]\nport = {port}\n[run]\nmodel_source = "{model}"\n')
        for command in (("up",), ("up", "--foreground"), ("run", "--repo", str(repository), "x")):
            error = failed(place, *command)
            assert (error["kind"], str(port) in error["message"]) == ("port_in_use", True)
        with relay(place) as peer:
            peer.send(b'{"jsonrpc":"2.0","id":0,"method":"ping"}\n')
            status, said = peer.wait()
        assert (status, len(said.splitlines())) == (1, 1), said
        assert str(port) in said
        assert place.survivors() == set()
    place.json("up")
    place.json("down")
    verified(place)


@pytest.mark.rule("R2")
def test_of_many_supervisors_one_serves(place: Installation, repository: Path, model: str) -> None:
    argv = place.command("up", "--foreground", "--json")
    racers = [
        subprocess.Popen(argv, env=place.environment(), cwd="/", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        for _ in range(3)
    ]
    try:
        until(lambda: sum(racer.poll() is not None for racer in racers) == 2, 60)
        until(lambda: place.supervisor() is not None, 30)
        (winner,) = [racer for racer in racers if racer.poll() is None]
        assert place.supervisor() == winner.pid
        for loser in racers:
            if loser is not winner:
                said = json.loads(loser.communicate(timeout=20)[0])
                assert (loser.returncode, said["error"]["kind"]) == (1, "supervisor_running")
        tree = begun(place, repository)
        assert failed(place, "up", "--foreground")["kind"] == "supervisor_running"
        assert failed(place, "up")["kind"] == "supervisor_running"
        assert place.supervisor() == winner.pid
        assert place.json("tree", tree)["state"] == "open"
        place.json("down", "--stop")
    finally:
        for racer in racers:
            racer.kill()
            racer.communicate(timeout=20)
    verified(place)


def test_a_profile_that_cannot_be_read_begins_no_tree(place: Installation, repository: Path, model: str) -> None:
    path = repository / ".palmette" / "profiles" / "broken.md"
    path.parent.mkdir(parents=True)
    for profile in (
        b"---\nrole: emperor\n---\nx",
        b"---\nrole: [driver\n---\nx",
        b"---\nlimits: {turns: -1}\n---\nx",
        b"---\nlimits: {usd: 0.0000001}\n---\nx",
        b"---\nrole: driver\n---\n\xff\xfe",
        b"---\nrole: driver\n---\na\0b",
        b"x" * 70_000,
    ):
        path.write_bytes(profile)
        error = failed(place, "run", "--repo", str(repository), "--profile", "broken", "x")
        assert (error["kind"], "broken.md" in error["message"]) == ("bad_profile", True), (profile[:40], error)
    assert place.json("tree") == []
    place.json("down")
    verified(place)


def test_a_repositorys_config_that_is_wrong_begins_no_tree(place: Installation, repository: Path, model: str) -> None:
    path = repository / ".palmette" / "config.toml"
    path.parent.mkdir()
    for text in (
        b"[limits]\nturns = -1\n",
        b"[limits]\nusd = 0.0000001\n",
        b"[run]\nmodel_source = 'http://127.0.0.1:1'\n",
        b"\xff\xfe",
        b"a\0b",
        b"x = " + b"[" * 9_999,
    ):
        path.write_bytes(text)
        error = failed(place, "run", "--repo", str(repository), "x")
        assert (error["kind"], str(path) in error["message"]) == ("bad_config", True), (text[:40], error)
    assert not place.data.exists()


def test_a_journal_that_was_damaged_is_told_and_left_alone(place: Installation, repository: Path, model: str) -> None:
    begun(place, repository)
    place.json("down", "--stop")
    events = verified(place)
    journal = place.data / "journal.db"
    with closing(sqlite3.connect(journal)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    whole = journal.read_bytes()
    page = 4096
    damages = {
        "pages": whole[: 2 * page] + b"".join(os.urandom(page) for _ in range(2, len(whole) // page)),
        "half": whole[: len(whole) // 2 // page * page],
        "header": os.urandom(100) + whole[100:],
    }
    for (name, damaged), look in zip(damages.items(), ("tree", "events", "inbox"), strict=True):
        journal.write_bytes(damaged)
        for command in ("verify", "up", look):
            assert failed(place, command)["kind"] == "journal_corrupt", (name, command)
        assert journal.read_bytes() == damaged, name
    assert place.survivors() == set()
    journal.write_bytes(whole)
    with closing(sqlite3.connect(journal)) as connection:
        connection.execute("UPDATE event SET actor = 'somebody else' WHERE kind = 'question_asked'")
        connection.execute("DELETE FROM event WHERE seq = 3")
        connection.commit()
    done = place.run("verify")
    assert (done.returncode, done.stderr) == (1, "")
    assert "3" in done.stdout
    for left in place.data.glob("journal.db-*"):
        left.unlink()
    journal.write_bytes(whole)
    assert verified(place) == events


@pytest.mark.rule("R9")
def test_a_relay_of_another_wire_version_ends_in_one_line(place: Installation, repository: Path, model: str) -> None:
    tree = begun(place, repository)
    before = verified(place)
    for wire in (WIRE - 1, WIRE + 1):
        other = (
            "import sys\n"
            "from palmette.servers import relay_wire\n"
            f"relay_wire.WIRE = {wire}\n"
            "from palmette.servers.relay import main\n"
            "sys.exit(main(sys.argv[1:]))"
        )
        with relay(place, [sys.executable, "-c", other]) as peer:
            peer.send(b'{"jsonrpc":"2.0","id":0,"method":"ping"}\n')
            status, said = peer.wait()
        assert (status, len(said.splitlines())) == (1, 1), said
        assert f"speaks wire version {wire}" in said
        assert f"speaks {WIRE}" in said
        assert "palmette down && palmette up" in said
    assert verified(place) == before
    assert place.json("tree", tree)["state"] == "open"
    with relay(place) as peer:
        assert "result" in peer.handshake()
    place.json("down", "--stop")
    verified(place)


# ── a full disk ──────────────────────────────────────────────────────────────────────────────────


@dataclass
class SmallDisk(Installation):
    """An installation whose data directory is a small disk of its own, in the mount namespace of a waiting process."""

    holder: int = 0

    def command(self, *arguments: str) -> list[str]:
        return [*self.enter(), sys.executable, "-m", "palmette", *arguments]

    def enter(self) -> list[str]:
        """What runs a command in the namespace."""
        user = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
        return ["nsenter", f"--target={self.holder}", *user, "--mount", f"--wd={self.directory}"]

    @property
    def seen(self) -> Path:
        """The data directory, as this process can reach it."""
        return Path(f"/proc/{self.holder}/root{self.data}")

    def fill(self, but: int = 0) -> None:
        """Take all the room there is, but for so many bytes."""
        with suppress(OSError), open(self.seen / "ballast", "ab", buffering=0) as ballast:
            for size in (1 << 20, 1 << 12):
                with suppress(OSError):
                    while ballast.write(b"x" * size) == size:
                        pass
        assert os.statvfs(self.seen).f_bavail == 0
        os.truncate(self.seen / "ballast", (self.seen / "ballast").stat().st_size - but)

    def empty(self) -> None:
        """Give it back."""
        (self.seen / "ballast").unlink()


@pytest.fixture
def disk(place: Installation) -> Generator[SmallDisk]:
    """A small disk; gone with the process that holds its namespace."""
    place.data.mkdir(mode=0o700)
    unshare = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
    script = 'mount -t tmpfs -o size=24m,mode=700 tmpfs "$1" && echo mounted && exec cat'
    with subprocess.Popen(
        [*unshare, "sh", "-c", script, "sh", str(place.data)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=place.environment(),
        text=True,
    ) as holder:
        assert holder.stdout is not None
        said = holder.stdout.readline()
        try:
            require(
                "mount", said == "mounted\n" and shutil.which("nsenter") is not None, f"nothing can be mounted: {said}"
            )
            yield SmallDisk(place.directory, holder.pid)
        finally:
            holder.kill()


def test_on_a_full_disk_nothing_begins_and_with_room_everything_does(
    disk: SmallDisk, repository: Path, model: str
) -> None:
    disk.fill()
    for command in (("up",), ("run", "--repo", str(repository), "x"), ("up", "--foreground")):
        error = failed(disk, *command)
        assert error["kind"] in ("disk_full", "unusable_directory"), error
        assert error["hint"] == "free space or give --data DIR"
    with relay(disk) as peer:
        peer.send(b'{"jsonrpc":"2.0","id":0,"method":"ping"}\n')
        status, said = peer.wait()
    assert (status, len(said.splitlines())) == (1, 1), said
    assert "the disk is full, free space or give --data DIR" in said
    left = {path.name: path.stat().st_size for path in disk.seen.iterdir() if path.name != "ballast"}
    assert set(left.values()) == {0}
    assert set(left) <= {"supervisor.lock", "supervisor.log", "start.lock"}
    disk.empty()
    begun(disk, repository)
    disk.json("down", "--stop")
    verified(disk)


def test_a_disk_that_fills_up_loses_nothing_that_was_acknowledged(
    disk: SmallDisk, repository: Path, model: str
) -> None:
    tree = begun(disk, repository)
    pid = disk.supervisor()
    assert pid is not None
    (item,) = disk.json("inbox")
    disk.fill(but=48_000)
    acknowledged: list[str] = []
    told: set[str] = set()
    while not told:
        done = disk.run("steer", tree, "x" * 7_000, "--json")
        answer = json.loads(done.stdout)
        if done.returncode == 0:
            acknowledged.append(answer["message"])
        else:
            told.add(answer["error"]["kind"])
    assert acknowledged
    assert told == {"journal_unwritable"}
    assert failed(disk, "answer", item["question"], "Blue. " + "x" * 8_000)["kind"] == "journal_unwritable"
    assert failed(disk, "run", "--repo", str(repository), "x" * 8_000)["kind"] == "journal_unwritable"
    assert is_alive(pid)
    events = verified(disk)
    os.kill(pid, signal.SIGKILL)
    until(lambda: not is_alive(pid))
    assert verified(disk) == events
    disk.empty()
    disk.json("up")
    # The resumed root goes on in its script, which asks nothing more.
    until(lambda: disk.json("tree", tree)["state"] == "closed", 60)
    assert disk.json("tree", tree)["nodes"][0]["settlement"] == "done"
    kept = disk.run("events").stdout
    assert [message for message in acknowledged if f'"{message}"' not in kept] == []
    disk.json("down")
    verified(disk)
