"""What an idle node is told, if anything: rule E10 as one pure function."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["MAX_REMINDERS", "Act", "Standing", "next_act"]

MAX_REMINDERS = 2
"""E10: idle with nothing live and no submit, a node is reminded twice, then settled."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an idle node stands.

    Attributes:
        stopped_by: how its last turn ended.
        submit: its last submit.
        messages: messages waiting to be said to it.
        unread: lines that name the events in its queue which were never handed over.
        ignored: how often it was prompted for exactly these events.
        children: open children.
        questions: own questions without an answer yet.
        reminders: reminders so far.
    """

    stopped_by: Literal["end", "interrupt", "budget", "model"]
    submit: Literal["none", "judging", "accepted", "rejected", "unavailable"]
    messages: int
    unread: tuple[str, ...]
    ignored: int
    children: int
    questions: int
    reminders: int
    paused: bool = False


@dataclass(frozen=True, slots=True)
class Act:
    """What to do with an idle node.

    Attributes:
        kind: `settle` with `cause`; `message`: say the oldest waiting message; `wake`, `refund` or `remind` with
            `text`; `sleep`: nothing, until something happens.
    """

    kind: Literal["settle", "message", "wake", "refund", "remind", "sleep"]
    cause: str = ""
    text: str = ""


def next_act(standing: Standing) -> Act:
    """E10, in order: an accepted submit ends it; what waits is told; then sleep, remind, or settle."""
    if standing.submit == "accepted":
        return Act("settle", "submitted")
    if standing.paused:
        return Act("sleep")
    if standing.stopped_by == "model":
        return Act("settle", "model_failed")
    refused = standing.stopped_by == "budget"
    if refused and not standing.children:
        return Act("settle", "budget_exhausted")
    if standing.messages and not refused:
        return Act("message")
    if standing.unread and standing.ignored < MAX_REMINDERS:
        named = "; ".join(standing.unread[:8]) + (" …" if len(standing.unread) > 8 else "")
        return Act("refund" if refused else "wake", text=f"{len(standing.unread)} unread: {named}. Call await_event.")
    if standing.children or standing.questions:
        return Act("sleep")
    if standing.reminders < MAX_REMINDERS:
        return Act(
            "remind",
            text="Your turn ended without a submit and nothing of yours is running. Call submit with your result, "
            "or with incomplete=true and what you have.",
        )
    return Act("settle", _cause_without_submit(standing))


def _cause_without_submit(standing: Standing) -> str:
    """E8: a node that ends without an accepted submit has the cause of its last one."""
    return {"rejected": "check_failed", "unavailable": "check_unavailable"}.get(
        standing.submit, "exited_without_submit"
    )
