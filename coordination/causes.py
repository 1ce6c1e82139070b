"""From how a node ended to what that means: one table, one function (E8)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

__all__ = ["CAUSES", "CauseRow", "ExitFacts", "classify", "row"]


@dataclass(frozen=True, slots=True)
class CauseRow:
    """What a cause means.

    Attributes:
        retry: whether trying again helps: no; the driver decides; once; yes; ask (somebody has to decide).
        grade: whether the outcome says anything about the work; an infrastructure failure never does.
    """

    cause: str
    settlement: Literal["done", "down", "cancelled", "lost"]
    retry: Literal["no", "driver", "once", "yes", "ask"]
    grade: bool
    infrastructure: bool = False


CAUSES: Mapping[str, CauseRow] = {
    row.cause: row
    for row in (
        CauseRow("submitted", "done", "no", grade=True),
        CauseRow("check_failed", "down", "driver", grade=True),
        CauseRow("exited_without_submit", "down", "once", grade=True),
        CauseRow("budget_exhausted", "down", "no", grade=True),
        CauseRow("deadline", "down", "no", grade=True),
        CauseRow("stopped", "cancelled", "no", grade=False),
        CauseRow("parent_settled", "cancelled", "no", grade=False),
        CauseRow("harness_failed", "down", "yes", grade=False, infrastructure=True),
        CauseRow("model_failed", "down", "yes", grade=False, infrastructure=True),
        CauseRow("sandbox_failed", "down", "yes", grade=False, infrastructure=True),
        CauseRow("setup_failed", "down", "yes", grade=False, infrastructure=True),
        CauseRow("check_unavailable", "down", "yes", grade=False, infrastructure=True),
        CauseRow("mcp_unreachable", "down", "yes", grade=False, infrastructure=True),
        CauseRow("lost", "lost", "ask", grade=False),
    )
}
"""Every cause there is. `depth_limit`, `max_live` and `channel_unbudgeted` are refusals, not causes."""


def row(cause: str) -> CauseRow:
    """The table's row.

    Raises:
        KeyError: not a cause.
    """
    return CAUSES[cause]


@dataclass(frozen=True, slots=True)
class ExitFacts:
    """What is known of an end that nobody ordered.

    Attributes:
        submit: the node's last submit.
        refused_for_budget: its last turn ended because a model call was refused for budget.
        stage: how far the harness had come: before its session, before MCP was reached, or later.
        model_failed: its last turn ended because the model failed for good.
        killed: a signal ended it that nobody here sent (the system's out-of-memory killer, say).
    """

    submit: Literal["none", "judging", "accepted", "rejected", "unavailable"]
    refused_for_budget: bool = False
    stage: Literal["start", "mcp", "run"] = "run"
    exit_code: int | None = None
    model_failed: bool = False
    killed: bool = False


def classify(facts: ExitFacts) -> str:
    """The cause of an end that nobody ordered.

    An accepted submit stands whatever came after it; then infrastructure, which is never graded; then the last
    submit; and an exit code alone is no cause (C6).
    """
    if facts.submit == "accepted":
        return "submitted"
    if facts.stage == "start":
        return "harness_failed"
    if facts.stage == "mcp":
        return "mcp_unreachable"
    if facts.killed:
        return "harness_failed"
    if facts.model_failed:
        return "model_failed"
    if facts.refused_for_budget:
        return "budget_exhausted"
    if facts.submit == "rejected":
        return "check_failed"
    if facts.submit == "unavailable":
        return "check_unavailable"
    return "exited_without_submit"
