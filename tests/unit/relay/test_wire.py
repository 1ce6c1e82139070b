"""Cutting a stream into lines, and what a hello may tell."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palmette.servers.relay_wire import LineCutter, printable, root_environment

LINES = st.lists(st.binary(min_size=1, max_size=20).filter(lambda line: b"\n" not in line and line.strip() == line))


@given(LINES, st.lists(st.integers(1, 7), min_size=1))
def test_lines_come_out_as_they_went_in_however_they_are_cut(lines: list[bytes], sizes: list[int]) -> None:
    stream = b"".join(line + b"\n" for line in lines)
    found: list[bytes | None] = []
    cutter, place, turn = LineCutter(), 0, 0
    while place < len(stream):
        size = sizes[turn % len(sizes)]
        found += list(cutter.feed(stream[place : place + size]))
        place, turn = place + size, turn + 1
    assert found == lines


@pytest.mark.rule("R6")
@pytest.mark.parametrize("size", [1, 3, 100])
def test_a_line_over_the_limit_is_one_gap_and_its_neighbours_are_whole(size: int) -> None:
    stream = b"before\n" + b"x" * 50 + b"\nafter\n" + b"12345678\n" + b"123456789\n"
    cutter = LineCutter(limit=8)
    found: list[bytes | None] = []
    for place in range(0, len(stream), size):
        found += cutter.feed(stream[place : place + size])
    assert found == [b"before", None, b"after", b"12345678", None]


def test_separators_of_unicode_stand_inside_a_line() -> None:
    line = '{"text":"a\u2028b\u0085c"}'.encode()
    assert list(LineCutter().feed(line + b"\r\n\n  \n")) == [line + b"\r"]


def test_what_others_wrote_cannot_steer_a_terminal_or_fake_a_line() -> None:
    assert printable("a\x1b[2J\nb\u202ec\r", 100) == "a [2J b c"
    assert len(printable("x" * 1000)) == 300


@pytest.mark.rule("R10", "R11")
def test_no_secret_of_the_environment_is_told() -> None:
    environment = {"CLAUDE_CODE_SESSION_ID": "s", "CLAUDE_CODE_MESSAGING_TOKEN": "t", "OPENCODE_PID": "1", "PATH": "/"}
    assert root_environment(environment) == {"CLAUDE_CODE_SESSION_ID": "s", "OPENCODE_PID": "1"}
