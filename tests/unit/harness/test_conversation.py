"""The session file: what it holds, what a crash leaves of it, and what is asked of the API after one."""

import json
from pathlib import Path

import pytest

from palmette.sandbox.harness.agent.conversation import (
    INTERRUPTED_BY_RESTART,
    Conversation,
    SessionError,
    ToolResult,
)
from palmette.sandbox.harness.agent.inbox import Said


def _said(number: int, text: str = "Do it.") -> Said:
    return Said(number, f"p{number}", text)


def _use(name: str) -> dict[str, object]:
    return {"type": "tool_use", "id": name, "name": "shell", "input": {}}


def _begun(directory: Path) -> tuple[Conversation, Path]:
    conversation = Conversation.open(str(directory), None)
    return conversation, directory / f"{conversation.session}.jsonl"


def _again(conversation: Conversation, directory: Path) -> Conversation:
    conversation.close()
    return Conversation.open(str(directory), conversation.session)


def test_a_resumed_session_has_the_same_messages(tmp_path: Path) -> None:
    conversation, _ = _begun(tmp_path)
    conversation.say(_said(1))
    conversation.reply([{"type": "text", "text": "Looking."}, _use("a")])
    conversation.results([ToolResult("a", "seen")])
    conversation.reply([{"type": "text", "text": "Done."}])
    messages = conversation.messages()
    assert _again(conversation, tmp_path).messages() == messages


def test_the_file_names_its_session_and_is_for_its_owner_alone(tmp_path: Path) -> None:
    conversation, path = _begun(tmp_path)
    assert json.loads(path.read_text().splitlines()[0])["session"] == conversation.session
    assert path.stat().st_mode & 0o777 == 0o600


def test_calls_without_results_are_answered_at_a_resume(tmp_path: Path) -> None:
    conversation, _ = _begun(tmp_path)
    conversation.say(_said(1))
    conversation.reply([_use("a"), _use("b")])
    resumed = _again(conversation, tmp_path)
    assert resumed.messages()[-1]["content"] == [
        {"type": "tool_result", "tool_use_id": name, "content": INTERRUPTED_BY_RESTART, "is_error": True}
        for name in ("a", "b")
    ]
    assert _again(resumed, tmp_path).messages() == resumed.messages()


def test_a_line_that_a_crash_tore_is_dropped_and_does_not_stand_in_the_way(tmp_path: Path) -> None:
    conversation, path = _begun(tmp_path)
    conversation.say(_said(1))
    with path.open("ab") as file:
        file.write(b'{"kind": "message", "role": "assis')
    resumed = _again(conversation, tmp_path)
    resumed.reply([{"type": "text", "text": "Done."}])
    assert [message["role"] for message in _again(resumed, tmp_path).messages()] == ["user", "assistant"]


@pytest.mark.parametrize(
    "line", [b"garbage", b"[]", b'{"kind":"message","role":"judge","content":[]}', b'{"kind":"session"}']
)
def test_a_damaged_line_is_named(tmp_path: Path, line: bytes) -> None:
    conversation, path = _begun(tmp_path)
    with path.open("ab") as file:
        file.write(line + b"\n")
    with pytest.raises(SessionError, match="damaged at line 2"):
        _again(conversation, tmp_path)


def test_an_empty_file_is_no_session(tmp_path: Path) -> None:
    conversation, path = _begun(tmp_path)
    path.write_bytes(b"")
    with pytest.raises(SessionError, match="is empty"):
        _again(conversation, tmp_path)


def test_a_later_format_is_refused(tmp_path: Path) -> None:
    conversation, path = _begun(tmp_path)
    path.write_text(path.read_text().replace('"format":1', '"format":2'))
    with pytest.raises(SessionError, match="format 2"):
        _again(conversation, tmp_path)


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "-x", "F" * 32, "f" * 31])
def test_a_name_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SessionError, match="is no session"):
        Conversation.open(str(tmp_path), name)


def test_a_link_in_the_files_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / f"{'f' * 32}.jsonl").symlink_to("/etc/passwd")
    with pytest.raises(OSError, match="symbolic links"):
        Conversation.open(str(tmp_path), "f" * 32)


def test_a_session_is_open_once(tmp_path: Path) -> None:
    conversation, _ = _begun(tmp_path)
    with pytest.raises(SessionError, match="open in another process"):
        Conversation.open(str(tmp_path), conversation.session)


def test_neighbours_of_one_role_are_joined_results_first(tmp_path: Path) -> None:
    conversation, _ = _begun(tmp_path)
    conversation.say(_said(1))
    conversation.say(_said(2, "Also."))
    conversation.reply([_use("a")])
    conversation.results([ToolResult("a", "seen")])
    conversation.say(_said(3, "Left."))
    first, _, last = conversation.messages()
    assert [block["text"] for block in first["content"]] == ["Do it.", "Also."]
    assert [block["type"] for block in last["content"]] == ["tool_result", "text"]


def test_a_message_sent_again_after_a_crash_stands_once_and_is_receipted_again(tmp_path: Path) -> None:
    conversation, _ = _begun(tmp_path)
    conversation.say(_said(1))
    resumed = _again(conversation, tmp_path)
    resumed.say(_said(1))
    assert len(resumed.messages()[0]["content"]) == 1
    assert resumed.take_undelivered() == ["p1"]
    assert resumed.take_undelivered() == []


def test_what_a_reply_followed_was_delivered(tmp_path: Path) -> None:
    conversation, _ = _begun(tmp_path)
    conversation.say(_said(1))
    conversation.reply([{"type": "text", "text": "Done."}])
    conversation.say(_said(2))
    assert _again(conversation, tmp_path).take_undelivered() == ["p2"]


def test_what_the_api_does_not_take_is_left_out(tmp_path: Path) -> None:
    conversation, _ = _begun(tmp_path)
    conversation.say(_said(1, "a\0b\ud800"))
    conversation.reply([])
    conversation.reply([_use("a")])
    conversation.results([ToolResult("a", "")])
    messages = conversation.messages()
    assert messages[0]["content"][0]["text"] == "a\ufffdb?"
    assert len(messages) == 3
    assert messages[2]["content"][0]["content"] == "(nothing)"
