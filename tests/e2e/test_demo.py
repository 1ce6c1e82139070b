"""The demo as a newcomer plays it: a real tree on a real repository, to its end and through every way of cutting it."""

import json
import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from tests.support.installation import Installation, wait_for_line
from tests.support.polling import until
from tests.support.require import require


def closed(place: Installation, tree: str) -> bool:
    view = place.json("tree", tree)
    return view["state"] == "closed"


def ref_of(place: Installation) -> str:
    refs = subprocess.run(
        ["git", "-C", str(place.repository), "for-each-ref", "--format=%(refname)"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    found = [ref for ref in refs if ref.startswith("refs/palmette/")]
    assert [ref for ref in refs if ref not in found] == ["refs/heads/main"]
    return found[0]


def passes(place: Installation, ref: str) -> bool:
    """Whether the tests of the repository pass at a ref, in a fresh clone."""
    clone = place.directory / "clone"
    subprocess.run(["git", "clone", "-q", str(place.repository), str(clone)], check=True)
    subprocess.run(["git", "-C", str(clone), "fetch", "-q", "origin", ref], check=True)
    subprocess.run(["git", "-C", str(clone), "checkout", "-q", "FETCH_HEAD"], check=True)
    return subprocess.run([sys.executable, "-m", "unittest", "-q"], cwd=clone, capture_output=True).returncode == 0


def nodes_by_label(view: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {node["label"]: node for node in view["nodes"]}


def test_it_runs_to_its_end_and_the_books_add_up(place: Installation) -> None:
    done = place.run("demo", "--data", str(place.data))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "careful is steered" in done.stdout
    assert "docs asks you: May I remove total_v1" in done.stdout
    assert "root selects careful" in done.stdout
    assert "the books add up" in done.stdout
    assert passes(place, ref_of(place))
    assert place.run("verify").returncode == 0
    assert place.survivors() == set()


@pytest.mark.rule("Q8")
def test_it_waits_for_a_real_answer_if_asked_to(place: Installation) -> None:
    with place.started(place.command("demo", "--ask", "--data", str(place.data)), stdin=subprocess.PIPE) as demo:
        wait_for_line(demo, "asks you")
        assert demo.stdin is not None
        demo.stdin.write("Keep it for ever.\n")
        demo.stdin.close()
        wait_for_line(demo, "the books add up")
        assert demo.wait(60) == 0
    answered = [event for event in events(place) if event["kind"] == "question_answered"]
    by_person = [event["data"] for event in answered if event["actor"] == "person"]
    assert [(data["text"], data["oracle_injection"]) for data in by_person] == [("Keep it for ever.", True)]


def test_it_needs_no_network_at_all(place: Installation) -> None:
    alone = ["unshare", "--net", "--", sys.executable, "-c", LOOPBACK_UP]
    tried = subprocess.run([*alone, "true"], capture_output=True, text=True)
    require("netns", tried.returncode == 0, f"no network namespace can be made: {tried.stderr.strip()}")
    with place.started([*alone, *place.command("demo", "--data", str(place.data))]) as demo:
        wait_for_line(demo, "the books add up")
        assert demo.wait(60) == 0


@pytest.mark.parametrize("moment", ["spawns docs", "careful is steered", "asks you", "careful submits", "selects"])
def test_ctrl_c_anywhere_leaves_no_process_behind(place: Installation, moment: str) -> None:
    with place.started(place.command("demo", "--ask", "--data", str(place.data)), stdin=subprocess.PIPE) as demo:
        if moment in ("careful submits", "selects"):
            assert demo.stdin is not None
            demo.stdin.write("Keep it.\n")
            demo.stdin.flush()
        wait_for_line(demo, moment)
        os.killpg(demo.pid, signal.SIGINT)
        demo.communicate(timeout=60)
        assert demo.returncode == 130
    assert place.survivors() == set()
    report = place.run("verify", "--json")
    assert report.returncode == 0, report.stdout


@pytest.mark.rule("E5", "E6", "E7", "B11")
@pytest.mark.parametrize("moment", ["spawns careful", "careful is steered", "goes up to you", "quick settles"])
def test_kill_9_of_the_supervisor_then_up_ends_in_a_consistent_tree(place: Installation, moment: str) -> None:
    with place.started(place.command("demo", "--ask", "--data", str(place.data)), stdin=subprocess.PIPE) as demo:
        line = wait_for_line(demo, "tree ")
        tree = line.split()[1].rstrip(":")
        if moment == "quick settles":  # the demo tells nothing while it waits for the answer
            assert demo.stdin is not None
            demo.stdin.write("Keep it.\n")
            demo.stdin.flush()
        wait_for_line(demo, moment)
        pid = json.loads((place.data / "supervisor.json").read_text())["pid"]
        os.kill(pid, signal.SIGKILL)
        demo.communicate(timeout=60)
        assert demo.returncode == 1
    before = events(place, tree)
    until(lambda: not any(b"palmette" in _environ(p) for p in place.survivors()), 30)

    assert place.run("up").returncode == 0
    assert place.supervisor() not in (None, pid)
    until(lambda: answered_and_closed(place, tree), 60)
    after = events(place, tree)
    assert after[: len(before)] == before
    nodes = nodes_by_label(place.json("tree", tree))
    assert {label: node["settlement"] for label, node in nodes.items()} == {
        "root": "done",
        "careful": "done",
        "quick": "down",
        "docs": "done",
    }
    root = nodes["root"]
    spent, free, held, granted = (root[name][0] for name in ("spent", "free", "held", "granted"))
    assert (spent + free + held, held) == (granted, 0)
    settled = [event["node"] for event in after if event["kind"] == "node_settled"]
    assert len(settled) == len(set(settled)) == 4
    spawned = [event["node"] for event in after if event["kind"] == "node_spawned"]
    assert len(spawned) == 4
    assert passes(place, ref_of(place))
    assert place.run("down").returncode == 0
    assert place.run("verify").returncode == 0
    assert place.survivors() == set()


LOOPBACK_UP = """
import fcntl, os, socket, struct, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    fcntl.ioctl(s, 0x8914, struct.pack("16sh", b"lo", 1))
os.execvp(sys.argv[1], sys.argv[1:])
"""
"""Brings the namespace's own loopback up (SIOCSIFFLAGS, IFF_UP), then becomes the command."""


def events(place: Installation, *of: str) -> list[dict[str, Any]]:
    done = place.run("events", *(word for tree in of for word in ("--tree", tree)))
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def _environ(pid: int) -> bytes:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return file.read()
    except OSError:
        return b""


def answered_and_closed(place: Installation, tree: str) -> bool:
    """Answer whatever waits for a person; a resumed node may ask again. Returns whether the tree has ended."""
    for item in place.json("inbox"):
        if item.get("question"):
            place.run("answer", item["question"], "Keep it for one more release.")
    return closed(place, tree)
