"""A tree as a person runs it, looks at it, answers it and stops it: with a supervisor, and without one."""

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.installation import Installation, wait_for_line
from tests.support.polling import until


def failed(place: Installation, *arguments: str, code: int = 1) -> dict[str, Any]:
    """The error of a command that has to fail."""
    done = place.run(*arguments, "--json")
    assert done.returncode == code, (done.stdout, done.stderr)
    error = json.loads(done.stdout)["error"]
    assert error["message"]
    assert error["hint"]
    return error


def begun(place: Installation, repository: Path, model: str, *more: str) -> str:
    """A tree whose root waits for a person's answer."""
    tree = place.json("run", "--repo", str(repository), "--model", model, "--detach", *more, "Choose.")["tree"]
    until(lambda: place.json("inbox") != [], 60)
    return tree


def test_a_tree_from_run_to_its_answer(place: Installation, repository: Path, model: str) -> None:
    tree = begun(place, repository, model, "--budget-usd", "1.5", "--label", "chooser")
    (item,) = place.json("inbox")
    assert item["label"] == "chooser"
    for command in (("inbox",), ("tree", tree), ("node", "chooser"), ("events", "--limit", "100")):
        screen = place.run(*command)
        assert screen.returncode == 0, screen.stderr
        assert "\x1b" not in screen.stdout
        assert "\u202e" not in screen.stdout
    assert f"palmette answer {item['question']}" in place.run("inbox").stdout

    said = place.json("answer", item["question"], "Blue.")
    assert said == {"question": item["question"], "state": "answered"}
    until(lambda: place.json("tree", tree)["state"] == "closed", 60)

    root = place.json("tree", tree)["nodes"][0]
    assert (root["settlement"], root["granted"][0]) == ("done", 1_500_000)
    assert failed(place, "answer", item["question"], "Red.")["kind"] == "question_closed"
    assert failed(place, "answer", "../../shutdown", "x")["kind"] == "unknown_question"
    assert place.run("verify").returncode == 0


def test_what_can_be_seen_can_be_seen_without_a_supervisor(place: Installation, repository: Path, model: str) -> None:
    tree = begun(place, repository, model)
    commands = (("tree",), ("tree", tree), ("node", f"{tree}/0"), ("inbox",))
    live = {command: place.json(*command) for command in commands}
    place.json("down")
    for command in commands:
        still = place.json(*command)
        assert type(still) is type(live[command])
        assert place.run(*command).returncode == 0
    assert place.json("tree", tree)["nodes"][0]["settlement"] is None
    assert place.json("node", tree)["state"] == "at rest"
    assert place.json("inbox")[0]["question"] == live[("inbox",)][0]["question"]
    kinds = [json.loads(line)["kind"] for line in place.run("events").stdout.splitlines()]
    assert kinds[0] == "supervisor_started"
    assert kinds[-1] == "supervisor_stopped"
    for command in (("stop", tree), ("steer", tree, "x"), ("pause", tree), ("answer", "q1", "x")):
        assert failed(place, *command)["kind"] == "supervisor_down"
    assert place.supervisor() is None

    place.json("up")
    assert place.json("down", "--stop") == {"running": False, "was_running": True, "trees_stopped": True}
    assert place.json("tree", tree)["state"] == "closed"


def test_events_are_followed_across_a_restart(place: Installation, repository: Path, model: str) -> None:
    place.json("up")
    with place.started(place.command("events", "--follow", "--kinds", "supervisor_started,tree_opened")) as follow:
        wait_for_line(follow, "supervisor_started")
        begun(place, repository, model)
        wait_for_line(follow, "tree_opened")
        place.json("down")
        wait_for_line(follow, "waiting for one to come")
        place.json("up")
        wait_for_line(follow, "supervisor_started")
        follow.send_signal(signal.SIGINT)
        assert follow.wait(20) == 130
    place.json("down", "--stop")


def test_run_shows_the_course_and_ctrl_c_leaves_nothing(place: Installation, repository: Path, model: str) -> None:
    argv = place.command("run", "--repo", str(repository), "--harness", "builtin", "--model", model, "Choose.")
    with place.started(argv) as run:
        wait_for_line(run, "asks")
        run.send_signal(signal.SIGINT)
        assert run.wait(60) == 130
    until(lambda: place.survivors() == set(), 30)
    (tree,) = place.json("tree")
    assert (tree["state"], tree["nodes"][0]["settlement"]) == ("closed", "cancelled")


def test_a_person_steers_pauses_and_stops_by_label(place: Installation, repository: Path, model: str) -> None:
    tree = begun(place, repository, model)
    assert place.json("steer", "root", "Blue is fine.")["outcome"] in ("delivered", "queued")
    assert place.json("pause", f"{tree}/root")["paused"] is True
    assert place.json("resume", tree)["paused"] is False
    assert failed(place, "resume", tree)["kind"] == "not_paused"
    assert failed(place, "stop", "nobody")["kind"] == "unknown_node"
    assert failed(place, "stop", "tnone/0.1")["kind"] == "unknown_node"
    assert failed(place, "tree", "adopt", tree)["kind"] == "not_eligible"
    assert place.json("stop", tree, "--reason", "enough") == {"stopped": True, "node": f"{tree}/0"}
    assert place.json("stop", tree)["already"] == "cancelled"
    assert place.json("down")["was_running"]


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (("--model", "http://127.0.0.1:1", "--repo", "/nowhere", "x"), "not_a_repository"),
        (("--model", "nonsense", "x"), "bad_model"),
        (("--model", "scripted:/nowhere.yaml", "x"), "bad_model"),
        (("--model", "http://127.0.0.1:1", "--harness", "nonsense", "x"), "unknown_harness"),
        (("--model", "http://127.0.0.1:1", "--profile", "nonsense", "x"), "unknown_profile"),
        (("--budget-usd", "-1", "x"), "bad_budget"),
        (("--budget-usd", "0.0000001", "x"), "bad_budget"),
        (("--budget-usd", "many", "x"), "bad_budget"),
        (("x" * 100_000 + "\udcff",), "bad_text"),
    ],
)
def test_a_run_that_cannot_begin_says_why(place: Installation, arguments: tuple[str, ...], kind: str) -> None:
    assert failed(place, "run", *arguments)["kind"] == kind
    status = place.json("up", "--status")
    if status["running"]:
        assert place.json("tree") == []
        place.json("down")


def test_a_dirty_repository_is_said_to_be_and_an_empty_one_refused(
    place: Installation, repository: Path, model: str
) -> None:
    (repository / "a.txt").write_text("changed\n")
    done = place.run("run", "--repo", str(repository), "--model", model, "--detach", "Choose.")
    assert "not committed, so not seen: a.txt" in done.stdout
    empty = place.directory / "empty"
    subprocess.run(["git", "init", "-q", str(empty)], check=True)
    assert failed(place, "run", "--repo", str(empty), "--model", model, "x")["kind"] == "repository_empty"
    place.json("down", "--stop")


def test_wrong_usage_is_exit_2_and_errors_are_words_with_a_next_step(place: Installation) -> None:
    assert failed(place, "nonsense", code=2)["kind"] == "usage"
    assert failed(place, "steer", code=2)["kind"] == "usage"
    assert failed(place, "up", "--port", "70000", code=2)["kind"] == "usage"
    done = place.run("tree", "--data", str(place.directory / "nothing"))
    assert done.returncode == 1
    assert done.stdout == ""
    first, second = done.stderr.splitlines()
    assert first.startswith("error: there is no journal")
    assert second.startswith("  → ")


def test_doctor_and_config_are_json_and_words(place: Installation) -> None:
    told = place.json("doctor")
    assert told["ok"] is True
    assert {"git", "sqlite", "data directory", "isolation", "harness builtin"} <= {f["what"] for f in told["findings"]}
    assert place.run("doctor").returncode == 0
    assert place.json("config")["turns"] == {"value": 400, "source": "default"}
    assert "default" in place.run("config").stdout
    assert not place.data.exists()


def test_doctor_names_what_blocks(place: Installation) -> None:
    place.data.write_text("in the way")
    done = place.run("doctor", "--json")
    assert done.returncode == 1
    assert any(f["state"] == "blocking" and f["remedy"] for f in json.loads(done.stdout)["findings"])


def test_model_serves_until_it_is_told_to_end(place: Installation, model: str) -> None:
    path = model.removeprefix("scripted:")
    with place.started(place.command("model", "--script", path, "--json")) as served:
        told = json.loads(wait_for_line(served, "url"))
        assert told["scenarios"] == ["root"]
        served.send_signal(signal.SIGINT)
        assert served.wait(20) == 0
    assert failed(place, "model", "--script", "/nowhere.yaml")["kind"]
