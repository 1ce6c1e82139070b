"""Who wins: only what is valid, the best on the named objectives, ties to the earliest."""

from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palmette.coordination.selection import Candidate, choose
from palmette.coordination.values import Amounts, Verdict

Status = Literal["pass", "fail", "unavailable"]


def candidate(node: str, seq: int, *verdicts: Verdict, valid: bool | None = True, **more: Any) -> Candidate:
    """A candidate that settled done unless told otherwise."""
    return Candidate(node, seq, more.get("settlement", "done"), valid, verdicts, more.get("spent", Amounts()))


def verdict(objective: str, value: float | None = None, status: Status = "pass", **more: Any) -> Verdict:
    """A verdict on an objective."""
    return Verdict(objective, status, value=value, **more)


@pytest.mark.rule("C7")
@pytest.mark.parametrize(
    ("candidates", "objectives", "winner"),
    [
        ([], [], None),
        ([candidate("a", 1, valid=False)], [], None),
        ([candidate("a", 1, valid=None)], [], None),
        ([candidate("a", 1, settlement="down")], [], None),
        ([candidate("a", 2), candidate("b", 1)], [], "b"),
        ([candidate("a", 1, verdict("t", 3)), candidate("b", 2, verdict("t", 5))], ["t"], "b"),
        ([candidate("a", 1, verdict("t", 3)), candidate("b", 2, verdict("t", 5))], [], "b"),
        ([candidate("a", 1, verdict("t", 5)), candidate("b", 2, verdict("t", 5))], ["t"], "a"),
        (
            [
                candidate("a", 1, verdict("t", 3, direction="lower")),
                candidate("b", 2, verdict("t", 5, direction="lower")),
            ],
            ["t"],
            "a",
        ),
        (
            [candidate("a", 1, verdict("t", 9, "fail")), candidate("b", 2, verdict("t", 1))],
            ["t"],
            "b",
        ),
        (
            [
                candidate("a", 1, verdict("t", 1), verdict("u", 9)),
                candidate("b", 2, verdict("t", 2), verdict("u", 1)),
            ],
            ["u", "t"],
            "a",
        ),
        ([candidate("a", 1), candidate("b", 2, verdict("t", 0, "fail"))], ["t"], "b"),
        (
            [candidate("a", 1, spent=Amounts(usd=5)), candidate("b", 2, spent=Amounts(usd=3))],
            ["usd"],
            "b",
        ),
    ],
)
def test_the_winner(candidates: list[Candidate], objectives: list[str], winner: str | None) -> None:
    assert choose(candidates, objectives, allow_unchecked=False).winner == winner


@pytest.mark.rule("C7")
def test_unchecked_results_win_only_where_they_may() -> None:
    unchecked = [candidate("a", 1, valid=None)]
    assert choose(unchecked, [], allow_unchecked=True).winner == "a"
    assert choose([candidate("a", 1, valid=False)], [], allow_unchecked=True).winner is None


@pytest.mark.rule("C7")
def test_the_choice_explains_itself() -> None:
    choice = choose(
        [
            candidate("late", 3, verdict("tests", 4, unit="tests")),
            candidate("early", 2, verdict("tests", 4, unit="tests")),
            candidate("bad", 1, valid=False),
            candidate("gone", 4, settlement="cancelled"),
        ],
        ["tests"],
        allow_unchecked=False,
    )
    assert choice.winner == "early"
    assert choice.why == "best on tests; tied with late, and it settled first"
    assert choice.ranking == (
        ("early", "tests: pass (4 tests)"),
        ("late", "tests: pass (4 tests)"),
        ("bad", "not valid"),
        ("gone", "settled cancelled"),
    )


def test_of_many_ties_a_few_are_named() -> None:
    choice = choose([candidate(f"c{n}", n) for n in range(1, 32)], [], allow_unchecked=False)
    assert choice.why == "the earliest valid result; tied with c2, c3, c4 and 27 more, and it settled first"


names = st.sampled_from(["t", "u", "v"])
verdicts = st.builds(
    Verdict,
    names,
    st.sampled_from(["pass", "fail", "unavailable"]),
    value=st.none() | st.integers(-3, 3).map(float),
    direction=st.just("higher"),
)
amounts = st.builds(Amounts, usd=st.none() | st.integers(0, 3))


@st.composite
def fields(draw: st.DrawFn) -> list[Candidate]:
    """Candidates with ids and times of their own."""
    count = draw(st.integers(0, 6))
    seqs = draw(st.permutations(range(count)))
    return [
        Candidate(
            f"n{number}",
            seq,
            draw(st.sampled_from(["done", "down", "cancelled", "lost"])),
            draw(st.sampled_from([True, False, None])),
            tuple(draw(st.lists(verdicts, max_size=3))),
            draw(amounts),
        )
        for number, seq in enumerate(seqs)
    ]


objectives = st.lists(names | st.just("usd"), max_size=3, unique=True)


@pytest.mark.rule("C7")
@given(fields(), objectives, st.booleans())
def test_only_a_valid_result_wins_and_one_wins_if_there_is_any(
    candidates: list[Candidate], named: list[str], allowed: bool
) -> None:
    choice = choose(candidates, named, allowed)
    may = {c.node for c in candidates if c.settlement == "done" and (c.valid or (c.valid is None and allowed))}
    assert (choice.winner in may) if may else choice.winner is None
    assert sorted(node for node, _ in choice.ranking) == sorted(c.node for c in candidates)


@pytest.mark.rule("C7")
@given(st.data(), fields(), objectives, st.booleans())
def test_the_order_in_which_they_are_named_does_not_matter(
    data: st.DataObject, candidates: list[Candidate], named: list[str], allowed: bool
) -> None:
    # Objectives nobody named are those of the first candidate, in its order: name them.
    named = named or ["t"]
    assert choose(data.draw(st.permutations(candidates)), named, allowed) == choose(candidates, named, allowed)


@pytest.mark.rule("C7")
@given(fields(), objectives.filter(bool), st.booleans())
def test_what_loses_can_go_and_the_winner_stays(candidates: list[Candidate], named: list[str], allowed: bool) -> None:
    choice = choose(candidates, named, allowed)
    for loser in candidates:
        if loser.node != choice.winner:
            assert choose([c for c in candidates if c is not loser], named, allowed).winner == choice.winner
