"""The table of causes, written out, and the way from what is known of an end to its cause."""

from itertools import product

import pytest

from palmette.coordination.causes import CAUSES, ExitFacts, classify, row
from palmette.coordination.errors import REFUSALS

# cause: settlement, infrastructure, retry, grade: as the design's table has it
TABLE = {
    "submitted": ("done", False, "no", True),
    "check_failed": ("down", False, "driver", True),
    "exited_without_submit": ("down", False, "once", True),
    "budget_exhausted": ("down", False, "no", True),
    "deadline": ("down", False, "no", True),
    "stopped": ("cancelled", False, "no", False),
    "parent_settled": ("cancelled", False, "no", False),
    "harness_failed": ("down", True, "yes", False),
    "model_failed": ("down", True, "yes", False),
    "sandbox_failed": ("down", True, "yes", False),
    "setup_failed": ("down", True, "yes", False),
    "check_unavailable": ("down", True, "yes", False),
    "mcp_unreachable": ("down", True, "yes", False),
    "lost": ("lost", False, "ask", False),
}


@pytest.mark.rule("E8")
def test_the_table_is_the_design_s() -> None:
    assert {
        name: (found.settlement, found.infrastructure, found.retry, found.grade) for name, found in CAUSES.items()
    } == TABLE


@pytest.mark.rule("E8")
def test_refusals_are_no_causes() -> None:
    for code in ("depth_limit", "max_live", "channel_unbudgeted"):
        assert code in REFUSALS
        with pytest.raises(KeyError):
            row(code)


@pytest.mark.rule("E8")
@pytest.mark.parametrize(
    ("facts", "cause"),
    [
        (ExitFacts("none"), "exited_without_submit"),
        (ExitFacts("none", exit_code=0), "exited_without_submit"),
        (ExitFacts("none", exit_code=1), "exited_without_submit"),
        (ExitFacts("judging"), "exited_without_submit"),
        (ExitFacts("accepted"), "submitted"),
        (ExitFacts("accepted", exit_code=137), "submitted"),
        (ExitFacts("accepted", model_failed=True, refused_for_budget=True, stage="mcp"), "submitted"),
        (ExitFacts("rejected"), "check_failed"),
        (ExitFacts("unavailable"), "check_unavailable"),
        (ExitFacts("none", stage="start"), "harness_failed"),
        (ExitFacts("none", stage="mcp"), "mcp_unreachable"),
        (ExitFacts("rejected", model_failed=True), "model_failed"),
        (ExitFacts("none", model_failed=True, refused_for_budget=True), "model_failed"),
        (ExitFacts("rejected", refused_for_budget=True), "budget_exhausted"),
        (ExitFacts("none", refused_for_budget=True), "budget_exhausted"),
    ],
)
def test_an_end_that_nobody_ordered_has_the_cause_of_what_is_known(facts: ExitFacts, cause: str) -> None:
    assert classify(facts) == cause


@pytest.mark.rule("E8")
def test_every_end_has_a_cause_of_the_table_and_no_exit_code_is_one() -> None:
    submits = ("none", "judging", "accepted", "rejected", "unavailable")
    stages = ("start", "mcp", "run")
    for submit, stage, refused, failed in product(submits, stages, (False, True), (False, True)):
        causes = {
            classify(ExitFacts(submit, refused, stage, code, failed))  # pyright: ignore[reportArgumentType]
            for code in (None, 0, 1, 137)
        }
        assert len(causes) == 1
        assert causes <= CAUSES.keys()
        if submit == "accepted":
            assert causes == {"submitted"}
