"""Screens: what they say, that each names the next command, and that no agent's text can act on the terminal."""

from typing import Any

import pytest

from palmette.servers.cli import screens

HOSTILE = "a\x1b[2J\x07\u202eb\r\nc\x9b31m"


def node(**given: Any) -> dict[str, Any]:
    """A node as the operator API tells it."""
    told: dict[str, Any] = {
        "node": "t1/0.1",
        "label": "fixer",
        "state": "working",
        "settlement": None,
        "cause": None,
        "reason": "",
        "role": "worker",
        "harness": "builtin",
        "submit": "none",
        "budget": {"granted": {"usd": 0.5, "turns": 10}, "free": {}, "spent": {"usd": 0.1234}},
        "spent_unknown": True,
        "diffstat": None,
        "open_questions": [],
        "children": [],
        "steps": [],
        "result": "",
    }
    return told | given


def test_a_node() -> None:
    told = node(
        children=[{"node": "t1/0.1.1", "label": "sub", "state": "down", "cause": "deadline"}],
        steps=[{"seq": 9, "source": "agent", "text": "I look.", "calls": ["shell"]}],
        open_questions=[{"question": "q7", "urgency": "blocks_run", "holder": None}],
        result="Mended.",
    )
    assert screens.node_screen(told, 100) == [
        "t1/0.1  fixer  working",
        "  worker on builtin, submit: none",
        "  granted: $0.5000, 10 turns",
        "  free: —",
        "  spent: $0.1234 ?",
        "  asks nobody: q7 (blocks_run)",
        "  child t1/0.1.1  sub  down (deadline)",
        "  9 agent: I look. [shell]",
        "  result: Mended.",
        "→ palmette events --node t1/0.1",
    ]


def test_an_inbox() -> None:
    items = [
        {
            "type": "question",
            "question": "q7",
            "label": "fixer",
            "node": "t1/0.1",
            "urgency": "blocks_run",
            "text": "Which?",
            "why": "Both work.",
            "options": ["red", "blue"],
        },
        {"type": "unread", "event": 12, "kind": "settled", "node": "t1/0.2"},
    ]
    assert screens.inbox_screen(items) == [
        "q7  fixer (t1/0.1), blocks_run",
        "    Which? [red | blue]",
        "    why: Both work.",
        "event 12  settled of t1/0.2, left unread",
        "→ palmette answer q7 TEXT",
    ]
    assert screens.inbox_screen([]) == ["nothing waits for you", "→ palmette tree"]


def test_a_diff_keeps_its_indentation() -> None:
    assert screens.diff_screen({"node": "t1/0", "diff": "+    return 1\n \tx\n"}) == [
        "+    return 1",
        "    x",
        "→ palmette node t1/0",
    ]


def test_a_result_without_a_change_says_so() -> None:
    assert screens.diff_screen({"node": "t1/0", "diff": ""})[0] == "no change"


def hostile_screens() -> list[list[str]]:
    question = {
        "type": "question",
        "question": "q7",
        "label": HOSTILE,
        "node": "t1/0",
        "urgency": "blocks_run",
        "text": HOSTILE,
        "why": HOSTILE,
        "options": [HOSTILE],
    }
    report = {
        "events": 1,
        "last_seq": 1,
        "records": 0,
        "texts": 0,
        "seconds": 0.0,
        "problems": [{"kind": "fold", "seq": 1, "what": HOSTILE}],
        "differences": [{"table": "node", "key": HOSTILE, "field": "*", "journal": HOSTILE, "projection": HOSTILE}],
        "imbalances": [HOSTILE],
        "ok": False,
    }
    step = {"seq": 1, "source": "agent", "text": HOSTILE, "calls": [HOSTILE]}
    asked = {"kind": "question_asked", "seq": 7, "node": "t1/0", "data": {"question": HOSTILE}}
    return [
        screens.node_screen(node(label=HOSTILE, reason=HOSTILE, steps=[step], result=HOSTILE), 300),
        screens.inbox_screen([question]),
        screens.diff_screen({"node": "t1/0", "diff": HOSTILE + "\n\x1b]0;x\x07"}),
        screens.verify_screen(report, "/data"),
        [screens.event_line(asked) or ""],
        [screens.short(HOSTILE)],
    ]


@pytest.mark.parametrize("lines", hostile_screens())
def test_no_text_of_an_agent_reaches_the_terminal_as_anything_but_text(lines: list[str]) -> None:
    assert any("a" in line for line in lines)
    for line in lines:
        assert all(character.isprintable() for character in line), line
