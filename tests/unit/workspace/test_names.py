"""Words from outside, before they become arguments, refs or file names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palmette.sandbox.errors import PublishError, QuarantineError, RepositoryError, SandboxError, WorkspaceError
from palmette.sandbox.workspace.changes import check_path
from palmette.sandbox.workspace.names import (
    check_base,
    check_commit,
    check_label,
    check_node,
    check_result_ref,
    directory_name,
    mailbox,
)


@pytest.mark.parametrize("text", ["main", "v1.2", "origin/main", "HEAD~3", "a" * 40, "feature/ünï"])
def test_a_base_may_be_any_revision(text: str) -> None:
    assert check_base(text) == text


@pytest.mark.parametrize("text", ["", "-x", "--output=/etc/x", "a b", "a\nb", "a\0b", "x" * 513, "\x1b[31m"])
def test_a_base_is_never_an_option_and_holds_no_control_character(text: str) -> None:
    with pytest.raises(RepositoryError):
        check_base(text)


@pytest.mark.parametrize("text", ["", "abc", "A" * 40, "g" * 40, "a" * 41, "a" * 40 + "\n", "HEAD"])
def test_a_commit_is_a_full_id(text: str) -> None:
    with pytest.raises(RepositoryError):
        check_commit(text)


@pytest.mark.parametrize("text", ["", "-a", "A", "a/b", "..", "a" * 41, "a\n", "ä"])
def test_a_label_is_what_the_design_says(text: str) -> None:
    with pytest.raises(WorkspaceError):
        check_label(text)


@pytest.mark.parametrize(
    "text", ["", "/", "../x", "a/../b", "/a", "a/", "-x", "a b", "a+b", "a\n", "a/.git", "x" * 201]
)
def test_an_id_cannot_leave_its_directory(text: str) -> None:
    with pytest.raises(WorkspaceError):
        check_node(text)


@given(st.lists(st.from_regex(r"[a-z0-9][a-z0-9.#-]{0,8}", fullmatch=True), min_size=1, max_size=4).map("/".join))
def test_an_id_becomes_one_component_and_can_be_told_again(node: str) -> None:
    try:
        name = directory_name(node)
    except WorkspaceError:
        assert ".." in node
        return
    assert "/" not in name
    assert name.replace("+", "/") == node


def test_a_mailbox_is_one_word_that_nobody_owns() -> None:
    assert mailbox("t7f3/0.2.1#2") == "t7f3.0.2.1.2@palmette.invalid"


def test_a_result_ref_is_two_plain_words_below_ours() -> None:
    assert check_result_ref("refs/palmette/t7f3/fix") == "refs/palmette/t7f3/fix"


@pytest.mark.parametrize(
    "name",
    [
        "refs/heads/main",
        "refs/palmette/t1",
        "refs/palmette/t1/a/b",
        "refs/palmette/../heads/main",
        "refs/palmette/t1/a\n",
        "+refs/palmette/t1/a",
        "refs/palmette/t1/a.lock",
        "x refs/palmette/t1/a",
        "",
    ],
)
def test_no_other_ref_is_ours(name: str) -> None:
    with pytest.raises(PublishError):
        check_result_ref(name)


@pytest.mark.parametrize(
    "path", [b"a", b"a/b.txt", b".gitignore", b".github/x", b"a/...", b"git", b"caf\xe9", "日本/語".encode(), b"a b"]
)
def test_ordinary_paths_pass(path: bytes) -> None:
    check_path(path)


@pytest.mark.parametrize(
    "path",
    [
        b".git/config",
        b"a/.GIT/hooks/x",
        b"a/.git",
        b".git. /x",
        b"git~1/x",
        b".git::$INDEX_ALLOCATION/x",
        ".g\u200cit/config".encode(),
        b"../x",
        b"a/../../x",
        b"/etc/passwd",
        b"a//b",
        b"..\\x",
        b"a\\..\\..\\x",
        b"a\nb",
        b"a\x1b[2J",
        b"a\x00b",
        b"a\x7f",
        "a\u009bm".encode(),
        b"x" * 256,
        b"x/" * 2001 + b"x",
        b"",
    ],
)
def test_paths_that_lie_are_refused(path: bytes) -> None:
    with pytest.raises(QuarantineError) as caught:
        check_path(path)
    assert caught.value.code == "unusual_name"


def test_an_error_reads_as_one_line_for_people_and_three_fields_for_machines() -> None:
    error = SandboxError("bad_base", "no such branch", "git branch -a")
    assert str(error) == "no such branch [bad_base] (git branch -a)"
    assert error.as_dict() == {"kind": "bad_base", "message": "no such branch", "hint": "git branch -a"}
