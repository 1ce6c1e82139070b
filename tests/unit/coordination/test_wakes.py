"""What an idle node is told: rule E10 as a table of cases."""

from dataclasses import replace

import pytest

from palmette.coordination.supervisor.wakes import MAX_REMINDERS, Standing, next_act

IDLE = Standing(stopped_by="end", submit="none", messages=0, unread=(), ignored=0, children=0, questions=0, reminders=0)


@pytest.mark.rule("E10")
def test_a_turn_that_ends_with_unread_events_is_prompted_with_one_line_that_names_them() -> None:
    act = next_act(replace(IDLE, unread=("settled fix-a", "question q7 from docs"), children=1))
    assert act.kind == "wake"
    assert "settled fix-a" in act.text
    assert "question q7 from docs" in act.text
    assert "\n" not in act.text


@pytest.mark.rule("E10")
def test_idle_with_live_children_it_sleeps() -> None:
    assert next_act(replace(IDLE, children=2)).kind == "sleep"


@pytest.mark.rule("E10")
def test_idle_with_an_own_question_open_it_sleeps() -> None:
    assert next_act(replace(IDLE, questions=1)).kind == "sleep"


@pytest.mark.rule("E10")
def test_idle_with_nothing_live_it_is_reminded_twice_and_then_settled() -> None:
    told = [next_act(replace(IDLE, reminders=n)) for n in range(MAX_REMINDERS + 1)]
    assert [act.kind for act in told] == ["remind", "remind", "settle"]
    assert told[-1].cause == "exited_without_submit"


@pytest.mark.rule("E10")
def test_a_node_that_ignores_its_wakes_is_not_prompted_for_ever() -> None:
    stubborn = replace(IDLE, unread=("settled a",), ignored=2, reminders=MAX_REMINDERS)
    assert next_act(stubborn).kind == "settle"
    assert next_act(replace(stubborn, children=1)).kind == "sleep"


@pytest.mark.rule("E10")
def test_refused_for_budget_with_children_open_it_sleeps_and_is_prompted_at_the_refund() -> None:
    refused = replace(IDLE, stopped_by="budget", children=1)
    assert next_act(refused).kind == "sleep"
    assert next_act(replace(refused, unread=("settled a",))).kind == "refund"


@pytest.mark.rule("E10")
def test_refused_for_budget_with_no_child_open_it_settles_at_once() -> None:
    act = next_act(replace(IDLE, stopped_by="budget"))
    assert (act.kind, act.cause) == ("settle", "budget_exhausted")


@pytest.mark.rule("E8")
@pytest.mark.parametrize(
    ("submit", "cause"),
    [("rejected", "check_failed"), ("unavailable", "check_unavailable"), ("none", "exited_without_submit")],
)
def test_without_an_accepted_submit_the_cause_is_that_of_the_last_one(submit: str, cause: str) -> None:
    act = next_act(replace(IDLE, submit=submit, reminders=MAX_REMINDERS))  # type: ignore[arg-type]
    assert (act.kind, act.cause) == ("settle", cause)


def test_an_accepted_submit_settles_whatever_else_waits() -> None:
    act = next_act(replace(IDLE, submit="accepted", unread=("settled a",), messages=3, children=1))
    assert (act.kind, act.cause) == ("settle", "submitted")


def test_a_message_begins_a_turn_of_an_idle_node() -> None:
    assert next_act(replace(IDLE, messages=1, children=1)).kind == "message"


def test_a_paused_node_is_told_nothing() -> None:
    assert next_act(replace(IDLE, paused=True, messages=1, unread=("settled a",))).kind == "sleep"
