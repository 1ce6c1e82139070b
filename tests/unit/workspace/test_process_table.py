"""Reading the process table and a reaper's record."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from palmette.sandbox.isolation.reaper import Process, crowds, descendants, read_process
from palmette.sandbox.isolation.stale import Record, read_record


def row(pid: int, parent: int, group: int = 0, session: int = 0) -> Process:
    return Process(pid, parent, group, session, 1, "S")


def test_descendants_are_all_below_and_only_those() -> None:
    table = {process.pid: process for process in (row(2, 1), row(3, 2), row(4, 3), row(5, 1), row(6, 5), row(7, 4))}
    assert [process.pid for process in descendants({2}, table)] == [3, 4, 7]
    assert {process.pid for process in descendants({3, 5}, table)} == {4, 6, 7}
    assert descendants({99}, table) == []


def test_only_groups_of_several_outside_our_session_are_crowds() -> None:
    rows = [row(2, 1, 2, 2), row(3, 2, 2, 2), row(4, 2, 4, 4), row(5, 1, 9, 1), row(6, 1, 9, 1)]
    assert crowds(rows, own_session=1) == {2}


def test_a_name_full_of_parentheses_does_not_confuse_the_reading() -> None:
    program = (
        "import ctypes,sys; ctypes.CDLL(None).prctl(15, b') R 1 1 (x', 0, 0, 0); print('ready', flush=True);"
        "sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        read = read_process(process.pid)
        assert b") R 1 1 (x" in Path(f"/proc/{process.pid}/stat").read_bytes()
        process.communicate()
    assert read is not None
    assert (read.parent, read.session) == (os.getpid(), os.getsid(0))
    assert read_process(process.pid) is None


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"{}", b'{"attempt": "a", "reaper": "x", "start": 1, "main": 1}'])
def test_a_torn_record_is_none(text: bytes) -> None:
    assert read_record(text) is None


def test_a_record_is_read() -> None:
    text = b'{"attempt": "t1/0#1", "reaper": 5, "start": 6, "main": 7, "over": false}\n'
    assert read_record(text) == Record("t1/0#1", 5, 6, 7, over=False)


def test_the_reaper_needs_nothing_but_the_standard_library() -> None:
    from palmette.sandbox.isolation import reaper

    done = subprocess.run(
        [sys.executable, "-I", "-S", str(reaper.__file__), "--help"], capture_output=True, check=False
    )
    assert done.returncode == 0
    assert hasattr(ctypes.CDLL(None), "prctl")
