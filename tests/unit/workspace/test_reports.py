"""What comes from the node's side is parsed with suspicion."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palmette.sandbox.errors import QuarantineError, RepositoryError, SandboxError, WorkspaceError
from palmette.sandbox.workspace.changes import Change, parse_changes, parse_targets
from palmette.sandbox.workspace.collector import escapes
from palmette.sandbox.workspace.snapshot import Snapshot, SnapshotCaps, collector_command, read_report

OUT = Path("/out/result.bundle")
ID = "0123456789" * 4


def report(**fields: object) -> bytes:
    return json.dumps(
        {"commit": ID, "head": ID, "tree": ID, "bundle": True, "skipped": [], "skipped_total": 0} | fields
    ).encode()


def test_a_report_tells_commit_head_and_what_was_left_out() -> None:
    read = read_report(report(skipped=[{"path": "pipe", "why": "fifo"}], skipped_total=3), OUT)
    assert read == Snapshot(ID, ID, ID, OUT, (("pipe", "fifo"),), 3)
    assert read_report(report(bundle=False), OUT).bundle is None


@pytest.mark.parametrize("output", [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b'{"error": "launch_missiles"}'])
def test_what_is_no_report_is_a_failed_snapshot(output: bytes) -> None:
    with pytest.raises(WorkspaceError) as caught:
        read_report(output, OUT)
    assert caught.value.code == "snapshot_failed"


def test_a_commit_that_is_none_is_refused() -> None:
    for word in ("--output=x", "HEAD", 7, None):
        with pytest.raises(RepositoryError):
            read_report(report(commit=word), OUT)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(
                    ["commit", "head", "bundle", "skipped", "skipped_total", "error", "message", "path", "why"]
                ),
                inner,
            )
        ),
    )
)
def test_no_report_is_read_with_another_error(raw: object) -> None:
    try:
        read_report(json.dumps(raw).encode(), OUT)
    except SandboxError:
        return
    raise AssertionError("nothing but a whole report is read, and hypothesis makes no commit ids")


def test_what_is_said_about_left_out_files_is_bounded() -> None:
    rows = [{"path": "x" * 5000, "why": "y" * 5000}] * 1000
    read = read_report(report(skipped=rows, skipped_total=1000), OUT)
    assert len(read.skipped) == 100
    assert max(len(path) + len(why) for path, why in read.skipped) == 1200


def test_the_collector_gets_every_word_bound_to_its_option() -> None:
    command = collector_command("-w", ID, "t1/0", "--out", SnapshotCaps())
    assert "--work=-w" in command
    assert "--out=--out" in command
    with pytest.raises(WorkspaceError):
        collector_command("/w", ID, "t1/0\nX: y", "/o", SnapshotCaps())


def test_changes_are_read_and_a_cut_record_is_dropped() -> None:
    one = b":100644 000000 " + b"a" * 40 + b" " + b"0" * 40 + b" D\0gone\nname\0"
    two = b":000000 120000 " + b"0" * 40 + b" " + b"b" * 40 + b" A\0link\0"
    assert parse_changes(one + two) == [Change(b"gone\nname", "000000", "0" * 40), Change(b"link", "120000", "b" * 40)]
    assert parse_changes(one + two[:-2]) == parse_changes(one)
    assert parse_changes(b"") == []
    with pytest.raises(QuarantineError):
        parse_changes(b"warning: something\0name\0")


def test_link_targets_are_read_until_the_output_is_cut() -> None:
    whole = f"{ID} blob 3\na\nb\n{ID} blob 0\n\n{ID} blob 4\nabcd\n".encode()
    assert parse_targets(whole) == [b"a\nb", b"", b"abcd"]
    assert parse_targets(whole[:-2]) == [b"a\nb", b""]
    assert parse_targets(f"{ID} missing\n".encode()) == []


@pytest.mark.parametrize(
    ("directory", "target", "out"),
    [
        ("", "a", False),
        ("", "a/../b", False),
        ("a/b", "../../c", False),
        ("a", "./../c", False),
        ("", "..", True),
        ("a", "../../c", True),
        ("a", "b/../../../c", True),
        ("", "/etc/passwd", True),
        ("a", "//x", True),
    ],
)
def test_whether_a_link_leaves_the_tree(directory: str, target: str, out: bool) -> None:
    assert escapes(directory, target) is out
