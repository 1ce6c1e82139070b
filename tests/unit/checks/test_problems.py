"""What is wrong with a check is told before anybody runs it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from palmette.checks.runner import IsolatedChecks
from palmette.coordination.ports import CheckRunner
from palmette.sandbox.isolation.unsafe_none import UnsafeNone


class NoCommits:
    """No tree has any commit."""

    def checkout_source(self, tree: str, commit: str) -> Path:
        raise AssertionError("problems are seen without a commit")


@pytest.fixture
def runner(tmp_path: Path) -> CheckRunner:
    """A runner that has run nothing."""
    return IsolatedChecks(UnsafeNone(tmp_path), NoCommits(), directory=tmp_path)


@pytest.mark.parametrize("check", [{"id": "unit"}, {"id": "unit", "kind": "command", "spec": {"command": ["true"]}}])
def test_a_name_and_a_whole_definition_are_fine(runner: CheckRunner, check: Mapping[str, Any]) -> None:
    assert runner.problems(check) == []


@pytest.mark.parametrize("name", ["", "../unit", "Unit", "a" * 41, "unit\n", 7, None, ["unit"]])
def test_what_is_no_name_is_told(runner: CheckRunner, name: Any) -> None:
    (problem,) = runner.problems({"id": name})
    assert "is no check's name" in problem
    assert len(problem) < 160


def test_every_problem_of_a_definition_is_told_at_once(runner: CheckRunner) -> None:
    problems = runner.problems({"id": "\x1b[2J", "kind": "magic", "spec": {"command": []}, "more": 1})
    assert len(problems) == 4
    assert not any("\x1b" in problem for problem in problems)
    assert runner.problems({}) != []
