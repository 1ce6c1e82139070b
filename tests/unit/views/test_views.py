"""The view of a tree: what is drawn, and that nothing an agent writes can do more than be read."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palmette.coordination.commands import budget, questions, settling
from palmette.coordination.commands.questions import Asking
from palmette.coordination.commands.settling import Ending
from palmette.coordination.events import Draft, SubmitJudged, Submitted
from palmette.coordination.ports import Transaction
from palmette.coordination.store import MemoryStore
from palmette.coordination.values import Amounts, Usage, Verdict
from palmette.coordination.views import plain, render_text, tree_view
from tests.fakes.clock import CountingIds, ManualClock
from tests.support.trees import World


@pytest.fixture
def world() -> World:
    clock = ManualClock()
    return World(MemoryStore(clock), clock, CountingIds())


@pytest.mark.anyio
async def test_a_tree_is_drawn_with_states_money_verdicts_and_questions(world: World) -> None:
    root = await world.root(Amounts(2_000_000, None, 100, None))
    fixed = await world.spawn(root, label="careful", role="driver", asked={"usd": 600_000, "turns": 20})
    below = await world.spawn(fixed, label="helper", asked={"usd": 100_000, "turns": 5})
    broken = await world.spawn(root, label="quick", asked={"usd": 400_000, "turns": 20})
    docs = await world.spawn(root, label="docs", asked={"usd": 400_000, "turns": 20})
    await world.spawn(root, label="late", asked={"usd": 1, "turns": 1})
    spend = Amounts(4_500, 9, 1, 0)
    for node in (root, fixed, below, broken, docs):
        attempt = await world.begin(node)
        hold = await world.store.transact(lambda tx, a=attempt: budget.hold(tx, a, Amounts(9_000, 9, 1, 0)))
        await world.store.transact(
            lambda tx, a=attempt, h=hold: budget.book(tx, a, h, spend, Usage(5, 0, 0, 4), model="m")
        )

    def judged(tx: Transaction, node: str, status: str, outcome: str) -> None:
        verdict = Verdict("tests", status, value=4.0, unit="/4")  # type: ignore[arg-type]
        stat = {"files": 1, "insertions": 14, "deletions": 3}
        tx.append(Draft(Submitted("done", None, False, "c0ffee", stat), "t1", node, f"{node}#1"))
        tx.append(Draft(SubmitJudged(outcome, (verdict,)), "t1", node, f"{node}#1"))  # type: ignore[arg-type]

    await world.store.transact(lambda tx: judged(tx, fixed, "pass", "accepted"))
    await world.store.transact(lambda tx: settling.settle(tx, fixed, Ending("submitted")) and None)
    await world.store.transact(lambda tx: judged(tx, broken, "fail", "check_failed"))
    await world.store.transact(lambda tx: settling.settle(tx, broken, Ending("check_failed")) and None)
    asking = Asking("Delete the\nlegacy flag?\x1b[2J", "", "blocks_step", options=["yes", "no"])
    asked = await world.store.transact(lambda tx: questions.ask(tx, f"{docs}#1", asking))
    await world.store.transact(
        lambda tx: questions.escalate(tx, asked.id, root, "not mine", actor=f"{root}#1") and None
    )
    world.clock.advance(150)
    view = await world.store.read(lambda reading: tree_view(reading, "t1", world.clock.now()))
    assert render_text(view, width=120) == [
        "tree t1  open  $0.018 of $2.00 spent, $0.40 set aside, 4 turns",
        "● root  working  builtin/scripted  driver  $0.018/2.00  4 turns  2m",
        "├─ ✓ careful  done  builtin/scripted  driver  $0.009/0.60  2 turns  0s  tests ✓ 4/4  +14 −3",
        "│  └─ ■ helper  cancelled  builtin/scripted  worker  parent_settled  $0.0045/0.10  1 turns  0s",
        "├─ ✗ quick  down  builtin/scripted  worker  check_failed  $0.0045/0.40  1 turns  0s  tests ✗ 4/4  +14 −3",
        f"├─ ? docs  asks  builtin/scripted  worker  $0.0045/0.40  1 turns  2m  asks {asked.id}",
        "└─ ○ late  starting  builtin/scripted  worker  $0.00/0.00  0 turns  2m",
        f"  {asked.id} docs asks you: Delete the legacy flag?␛[2J [yes | no]",
    ]


@pytest.mark.anyio
async def test_no_line_is_longer_than_asked_for(world: World) -> None:
    root = await world.root(Amounts(2_000_000, None, 100, None))
    await world.spawn(root, label="a" * 40)
    view = await world.store.read(lambda reading: tree_view(reading, "t1", world.clock.now()))
    assert max(len(line) for line in render_text(view, width=30)) == 30


def marked(line: str) -> int:
    """How many characters take no column of their own."""
    return sum(unicodedata.category(character).startswith("M") for character in line)


@given(st.text(), st.none() | st.integers(1, 200))
def test_plain_text_is_one_line_without_anything_a_terminal_acts_on(text: str, limit: int | None) -> None:
    line = plain(text, limit)
    assert not any(unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") for character in line)
    assert limit is None or sum(
        2 if unicodedata.east_asian_width(c) in ("W", "F") else 1 for c in line
    ) <= limit + marked(line)
    marks = 0
    for character in line:
        marks = marks + 1 if unicodedata.category(character).startswith("M") else 0
        assert marks <= 2


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;title\x07", "␛]0;title␇"),
        ("a\u202eb", "a·b"),
        ("a\r\n\tb", "a b"),
        ("z" + "\u0301" * 40, "z\u0301\u0301"),
        ("\x9b31m", "·31m"),
        ("\n" * 5_000 + "Delete everything?", "Delete everything?"),
        ("\u3164\u2800", "··"),
    ],
)
def test_known_tricks_are_shown_not_played(text: str, shown: str) -> None:
    assert plain(text) == shown
    assert plain(text, 60) == shown


def test_a_limit_counts_terminal_columns_not_characters() -> None:
    assert plain("漢" * 50, 20) == "漢" * 9 + "…"
    assert plain("z\u0301" * 50, 10) == "z\u0301" * 9 + "…"
