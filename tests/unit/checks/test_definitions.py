"""What a definition may say, and that everything wrong with one is told at once."""

from typing import Any

import pytest

from palmette.checks.definitions import MAX_BYTES, digest, from_data, parse
from palmette.checks.errors import CheckError


def definition(**more: Any) -> dict[str, Any]:
    """A sound definition, changed so."""
    return {"id": "tests", "kind": "tests", "spec": {"command": ["runner", "{junit}"]}, **more}


def problems(data: dict[str, Any]) -> str:
    """What is wrong with a definition."""
    with pytest.raises(CheckError) as caught:
        from_data(data, "check")
    assert caught.value.code == "bad_check"
    return "\n".join(caught.value.problems)


def test_a_definition_is_told_apart_by_what_changes_its_verdict() -> None:
    first = from_data(definition(), "check")
    assert digest(first) == digest(from_data(definition(description="words", direction="higher"), "check"))
    for change in (
        {"direction": "lower"},
        {"objective": "speed"},
        {"deliverable": False},
        {"pass_if": {"at_least": 2}},
        {"spec": {"command": ["runner", "{junit}", "-q"]}},
        {"spec": {"command": ["runner", "{junit}"], "timeout_s": 1}},
    ):
        assert digest(from_data(definition(**change), "check")) != digest(first), change


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"id": "../x"}, "id"),
        ({"id": "a" * 41}, "id"),
        ({"kind": "clock"}, "kind"),
        ({"spec": {"command": []}}, "spec.command"),
        ({"spec": {"command": [""]}}, "names no program"),
        ({"spec": {"command": "runner"}}, "spec.command"),
        ({"spec": {"command": ["a\0b"]}}, "spec.command.0"),
        ({"spec": {"command": ["a"], "timeout_s": 0}}, "spec.timeout_s"),
        ({"spec": {"command": ["a"], "shell": True}}, "spec.shell"),
        ({"direction": "up"}, "direction"),
        ({"deliverable": "yes"}, "deliverable"),
        ({"unknown": 1}, "unknown"),
        ({"pass_if": {"at_least": 0}}, "at_least"),
        ({"pass_if": {"at_least": 1}, "spec": {"command": ["runner"]}}, "writes a report"),
        ({"pass_if": {"at_least": 1}, "kind": "command"}, "writes a report"),
        ({"spec": {"command": ["a"], "timeout_s": float("inf")}}, "no plain data|Out of range|check"),
        ({"description": object()}, "check"),
        ({"description": "x" * MAX_BYTES}, "too large"),
    ],
)
def test_what_cannot_be_run_is_refused(change: dict[str, Any], named: str) -> None:
    assert any(part in problems(definition(**change)) for part in named.split("|"))


def test_every_problem_is_told_at_once() -> None:
    told = problems({"id": "No", "kind": "none", "spec": {"command": []}, "more": 1})
    assert [name for name in ("id", "kind", "spec.command", "more") if name in told] == [
        "id",
        "kind",
        "spec.command",
        "more",
    ]


def test_a_file_gives_its_name_to_its_check() -> None:
    found = parse(b'kind = "command"\n[spec]\ncommand = ["true"]\n', "works", "works.toml")
    assert (found.id, found.measures, found.kind) == ("works", "works", "command")


@pytest.mark.parametrize(
    "raw", [b'id = "other"\nkind = "command"\n', b"kind = ", b"\xff", b"a = " + b"[" * 5000, b"#" * (MAX_BYTES + 1)]
)
def test_a_file_that_is_none_is_refused(raw: bytes) -> None:
    with pytest.raises(CheckError) as caught:
        parse(raw, "works", "works.toml")
    assert "works.toml" in caught.value.problems[0]
