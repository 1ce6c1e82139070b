"""A candidate is not the better one for having no number."""

import math
from typing import Literal

import pytest

from palmette.coordination.selection import Candidate, choose
from palmette.coordination.values import Amounts, Verdict


def candidate(node: str, seq: int, value: float | None, direction: Literal["higher", "lower"]) -> Candidate:
    verdict = Verdict("clock", "pass", value, direction=direction)
    return Candidate(node, seq, "done", valid=True, verdicts=(verdict,), spent=Amounts.zero())


@pytest.mark.parametrize("direction", ["higher", "lower"])
@pytest.mark.parametrize("missing", [None, math.nan])
@pytest.mark.parametrize("measured", [-3.0, 0.0, 5.0])
def test_what_was_not_measured_does_not_win(
    direction: Literal["higher", "lower"], missing: float | None, measured: float
) -> None:
    choice = choose([candidate("a", 1, missing, direction), candidate("b", 2, measured, direction)], ["clock"], False)
    assert choice.winner == "b"
