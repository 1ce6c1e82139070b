"""A check of a commit: what passes, what fails, and what is no verdict at all."""

import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest

from palmette.coordination.values import Verdict

pytestmark = pytest.mark.anyio

Judge = Callable[[Mapping[str, Any]], Awaitable[Verdict]]


def command(*argv: str, kind: str = "command", **more: Any) -> dict[str, Any]:
    """A check that runs a command."""
    return {"id": "check", "kind": kind, "spec": {"command": list(argv), "timeout_s": 20}, **more}


def writes_report(cases: str, code: int = 0) -> dict[str, Any]:
    """A check of the kind `tests` whose runner writes these test cases and exits so."""
    script = f'printf "%s" "$1" > "$2"; exit {code}'
    return command("sh", "-c", script, "runner", f"<testsuite>{cases}</testsuite>", "{junit}", kind="tests")


@pytest.mark.parametrize(("code", "status"), [(0, "pass"), (1, "fail"), (77, "fail")])
async def test_the_exit_code_is_the_verdict(judge: Judge, code: int, status: str) -> None:
    with anyio.fail_after(60):
        verdict = await judge(command("sh", "-c", f"echo seen; exit {code}", objective="works"))
    assert (verdict.objective, verdict.status, verdict.check) == ("works", status, "check")
    assert "seen" in str(verdict.evidence)
    assert len(verdict.check_digest) == 64
    assert verdict.does_not_prove


@pytest.mark.rule("C2")
async def test_it_runs_on_the_work_tree_as_it_stood_and_changes_nothing_there(judge: Judge, workspace: Path) -> None:
    (workspace / "greet.py").write_text("pass\n")
    with anyio.fail_after(60):
        assert (await judge(command("grep", "-q", "return", "greet.py"))).status == "fail"
        (workspace / "greet.py").write_text("def greet():\n    return 1\n")
        assert (await judge(command("sh", "-c", "grep -q return greet.py && rm greet.py"))).status == "pass"
    assert (workspace / "greet.py").exists()


@pytest.mark.rule("C3")
@pytest.mark.parametrize(
    ("check", "reason"),
    [
        (command("/nonexistent/runner"), "could not be started"),
        (command("sh", "-c", "no-such-runner-here"), "exit code 127"),
        (command("sh", "-c", "kill -9 $$"), "signal 9"),
        (command("sh", "-c", "yes"), "printed more than"),
        (command("sh", "-c", "exit 0 # {junit}", kind="tests"), "no test report"),
        (command("sh", "-c", "echo '<x/>' > {junit}", kind="tests"), "no JUnit report"),
        (command("true", kind="clock"), "kind"),
        ({"id": "check"}, "has no check 'check'"),
        ({"id": "../../etc/passwd"}, "has no check"),
    ],
)
async def test_what_could_not_be_run_is_unavailable_with_its_reason(
    judge: Judge, check: dict[str, Any], reason: str
) -> None:
    with anyio.fail_after(60):
        verdict = await judge(check)
    assert verdict.status == "unavailable"
    assert reason in str(verdict.evidence)


async def test_a_test_run_that_hangs_fails_and_is_ended(judge: Judge) -> None:
    with anyio.fail_after(60):
        verdict = await judge({**command(), "spec": {"command": ["sleep", "100"], "timeout_s": 0.2}})
    assert verdict.status == "fail"
    assert "longer than 0.2 s" in str(verdict.evidence)


@pytest.mark.parametrize(
    ("cases", "code", "status", "passed"),
    [
        ("<testcase name='a'/><testcase name='b'><skipped/></testcase>", 0, "pass", 1),
        ("<testcase name='a'/><testcase name='b'><failure/></testcase>", 1, "fail", 1),
        ("<testcase name='a'/><testcase name='b'><failure/></testcase>", 0, "fail", 1),
        ("<testcase name='a'/>", 1, "fail", 1),
        ("", 0, "fail", 0),
    ],
)
async def test_tests_pass_by_report_and_exit_code_together(
    judge: Judge, cases: str, code: int, status: str, passed: int
) -> None:
    with anyio.fail_after(60):
        verdict = await judge(writes_report(cases, code))
    assert (verdict.status, verdict.value, verdict.unit) == (status, float(passed), "tests")


async def test_deleting_tests_does_not_help(judge: Judge) -> None:
    check = writes_report("<testcase name='a'/>") | {"pass_if": {"at_least": 2}}
    with anyio.fail_after(60):
        verdict = await judge(check)
    assert verdict.status == "fail"
    assert "it takes 2" in str(verdict.evidence)


async def test_a_bare_name_is_read_from_the_base_not_from_the_result(judge: Judge, workspace: Path) -> None:
    (workspace / ".palmette/checks/returns.toml").write_text('kind = "command"\nspec = {command = ["false"]}\n')
    with anyio.fail_after(60):
        verdict = await judge({"id": "returns"})
    assert (verdict.status, verdict.check) == ("pass", "returns")


async def test_nothing_of_a_check_outlives_its_verdict(judge: Judge, clones: Path, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    script = f"mkdir -p locked/in && chmod 0 locked && (setsid sleep 1000 & echo $! > {pid_file}); exit 0"
    with anyio.fail_after(60):
        assert (await judge(command("sh", "-c", script))).status == "pass"
    assert pid_file.read_text().strip() not in os.listdir("/proc")
    assert os.listdir(clones) == []


async def test_it_sees_no_variable_of_the_supervisor(judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_SUPERVISOR", "1")
    with anyio.fail_after(60):
        verdict = await judge(command("sh", "-c", 'test -z "$SECRET_OF_THE_SUPERVISOR" && test -d "$HOME"'))
    assert verdict.status == "pass"


@pytest.mark.rule("C4")
async def test_the_same_check_of_the_same_commit_runs_once(judge: Judge, tmp_path: Path) -> None:
    count = tmp_path / "count"
    with anyio.fail_after(60):
        first = await judge(command("sh", "-c", f"echo run >> {count}"))
        assert await judge(command("sh", "-c", f"echo run >> {count}")) == first
        await judge(command("sh", "-c", f"echo run >> {count}; true"))
    assert count.read_text() == "run\nrun\n"


@pytest.mark.rule("C3", "C4")
async def test_unavailable_is_tried_again(judge: Judge, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    check = command("sh", "-c", f"test -e {flag} || {{ touch {flag}; exit 127; }}")
    with anyio.fail_after(60):
        assert (await judge(check)).status == "unavailable"
        assert (await judge(check)).status == "pass"


async def test_evidence_carries_no_terminal_escapes(judge: Judge) -> None:
    with anyio.fail_after(60):
        verdict = await judge(command("printf", r"\033]0;title\007\033[31mred\033[0m\000end"))
    assert verdict.evidence == "redend"
