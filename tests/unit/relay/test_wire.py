"""Cutting a stream into lines, and what a hello may tell."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palmette.servers.relay_wire import LineCutter, TokenError, printable, read_token, root_environment

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


def _token_file(folder: Path, content: bytes, mode: int = 0o600) -> str:
    path = folder / "token"
    path.write_bytes(content)
    path.chmod(mode)
    return str(path)


def test_a_token_is_read_from_a_file_of_ours_alone(tmp_path: Path) -> None:
    assert read_token(_token_file(tmp_path, b"abc-DEF_1\n")) == "abc-DEF_1"


@pytest.mark.rule("W4")
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o700])
def test_a_token_file_of_another_mode_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(TokenError, match="mode 600"):
        read_token(_token_file(tmp_path, b"secret", mode))


@pytest.mark.rule("W4")
def test_a_token_file_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _token_file(tmp_path, b"secret")
    uid = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: uid + 1)
    with pytest.raises(TokenError, match="of this user"):
        read_token(path)


@pytest.mark.parametrize("content", [b"", b" \n", b"two words", b"x" * 1001, "schl\u00fcssel".encode(), b"a\x1b[2J"])
def test_a_file_without_a_token_is_refused_and_not_shown(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(TokenError) as refusal:
        read_token(_token_file(tmp_path, content))
    assert str(refusal.value) == f"the token file {tmp_path / 'token'} holds no token"


def test_a_token_file_that_is_a_link_a_pipe_or_missing_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "link"
    path.symlink_to(_token_file(tmp_path, b"secret"))
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name in ("link", "pipe", "missing", "nul\0"):
        with pytest.raises(TokenError):
            read_token(str(tmp_path / name))
