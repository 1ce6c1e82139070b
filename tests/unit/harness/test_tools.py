"""The agent's own tools: shell and edit."""

import threading
from pathlib import Path

import pytest

from palmette.sandbox.harness.agent import edit, shell
from palmette.sandbox.harness.agent.inbox import Cancellation
from tests.support.polling import until
from tests.support.survivors import alive


def _run(command: str, workspace: Path, seconds: float = 30.0) -> tuple[str, bool]:
    return shell.run({"command": command, "timeout_s": seconds}, str(workspace), Cancellation())


def test_output_and_errors_come_together_from_the_workspace(tmp_path: Path) -> None:
    assert _run("pwd; echo oops >&2", tmp_path) == (f"{tmp_path}\noops\n", False)


def test_another_status_than_zero_is_an_error(tmp_path: Path) -> None:
    assert _run("echo no; exit 3", tmp_path) == ("no\n\n[exit status 3]", True)


def test_nothing_can_be_typed(tmp_path: Path) -> None:
    assert _run("cat", tmp_path) == ("", False)


def test_a_command_that_takes_too_long_is_ended_with_what_it_said(tmp_path: Path) -> None:
    text, is_error = _run("echo begun; sleep 600", tmp_path, 0.3)
    assert text == "begun\n\n[ended after 0.3 s]"
    assert is_error


def test_long_output_keeps_its_beginning_and_its_end(tmp_path: Path) -> None:
    text, _ = _run("echo first; head -c 3000000 /dev/zero | tr '\\0' x; echo last", tmp_path)
    assert len(text) <= shell.OUTPUT_LIMIT
    assert text.startswith("first\n")
    assert text.endswith("last\n")
    assert "left out" in text


def test_output_that_is_no_text_is_shown_all_the_same(tmp_path: Path) -> None:
    assert _run(r"printf '\xff\xfe'", tmp_path) == ("\ufffd\ufffd", False)


def test_what_is_left_in_the_background_ends_with_the_call(tmp_path: Path) -> None:
    text, is_error = _run("sleep 600 & echo $!", tmp_path)
    assert not is_error
    until(lambda: not alive(int(text)))


def test_a_process_that_left_the_session_and_talks_on_does_not_hold_the_call(tmp_path: Path) -> None:
    text, _ = _run("setsid sh -c 'echo $$ > pid; while :; do echo y; done' & until [ -s pid ]; do :; done", tmp_path)
    pid = int((tmp_path / "pid").read_text())
    until(lambda: not alive(pid))  # its pipe has no reader any more
    assert "y" in text


@pytest.mark.parametrize("before", [True, False])
def test_an_interruption_ends_it(tmp_path: Path, before: bool) -> None:
    cancellation = Cancellation()
    if before:
        cancellation.cancel(0.0)
    else:
        threading.Thread(
            target=lambda: (until((tmp_path / "begun").exists), cancellation.cancel(0.0)), daemon=True
        ).start()
    text, is_error = shell.run({"command": "touch begun; sleep 600"}, str(tmp_path), cancellation)
    assert text.endswith("[interrupted]")
    assert is_error


@pytest.mark.parametrize(
    "arguments",
    [{}, {"command": 5}, {"command": "a\0b"}, {"command": "ls", "timeout_s": 0}, {"command": "ls", "timeout_s": True}],
)
def test_wrong_arguments_of_shell_are_refused(tmp_path: Path, arguments: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must be"):
        shell.run(arguments, str(tmp_path), Cancellation())


def _edit(workspace: Path, path: str, old: str, new: str) -> str:
    return edit.run({"path": path, "old": old, "new": new}, str(workspace))


def test_an_exact_text_is_replaced_and_the_mode_kept(tmp_path: Path) -> None:
    script = tmp_path / "run.sh"
    script.write_bytes("a\r\nñ\r\nb\r\n".encode())
    script.chmod(0o755)
    _edit(tmp_path, "run.sh", "ñ", "n")
    assert script.read_bytes() == b"a\r\nn\r\nb\r\n"
    assert script.stat().st_mode & 0o777 == 0o755
    assert [path.name for path in tmp_path.iterdir()] == ["run.sh"]


def test_a_new_file_is_made_with_its_folders(tmp_path: Path) -> None:
    _edit(tmp_path, "a/b/c.txt", "", "new")
    assert (tmp_path / "a/b/c.txt").read_text() == "new"
    with pytest.raises(ValueError, match="exists already"):
        _edit(tmp_path, "a/b/c.txt", "", "other")


@pytest.mark.parametrize(("old", "times"), [("x", "0"), ("a", "2")])
def test_a_text_that_is_not_there_exactly_once_changes_nothing(tmp_path: Path, old: str, times: str) -> None:
    (tmp_path / "f").write_text("aba")
    with pytest.raises(ValueError, match=f"occurs {times} times"):
        _edit(tmp_path, "f", old, "c")
    assert (tmp_path / "f").read_text() == "aba"


@pytest.mark.parametrize("path", ["../outside", "/etc/passwd", "link/x", "file-link", "", ".", "a\0b", ".git/config"])
def test_paths_outside_the_work_tree_are_refused(tmp_path: Path, path: str) -> None:
    workspace = tmp_path / "work"
    (workspace / ".git").mkdir(parents=True)
    (tmp_path / "elsewhere").write_text("old")
    (workspace / "link").symlink_to(tmp_path)
    (workspace / "file-link").symlink_to(tmp_path / "elsewhere")
    for old in ("", "old"):
        with pytest.raises(ValueError, match=r"outside|must name|git"):
            _edit(workspace, path, old, "new")
    assert (tmp_path / "elsewhere").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "work"]


@pytest.mark.parametrize("arguments", [{}, {"path": "f", "old": "a"}, {"path": "f", "old": "a", "new": "\ud800"}])
def test_wrong_arguments_of_edit_are_refused(tmp_path: Path, arguments: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"must be|not valid"):
        edit.run(arguments, str(tmp_path))
