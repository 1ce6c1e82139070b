"""What the driver says and when the loop hears it."""

import threading

import pytest

from palmette.sandbox.harness.agent.inbox import Cancellation, Failure, HoldAnswer, Inbox, Said


def _say(inbox: Inbox, seq: int, *, kind: str = "prompt", interrupt: bool = False) -> None:
    inbox.take({"kind": kind, "seq": seq, "message": f"m{seq}", "text": "t", "interrupt": interrupt})


def test_a_text_begins_a_turn_and_is_taken_once() -> None:
    inbox = Inbox()
    _say(inbox, 1)
    assert inbox.begin_turn()
    assert inbox.begin_round()[0] == [Said(1, "m1", "t")]
    assert inbox.begin_round()[0] == []
    assert inbox.end_turn() == 1


def test_a_turn_does_not_end_idle_while_texts_wait() -> None:
    inbox = Inbox()
    _say(inbox, 1)
    inbox.begin_turn()
    inbox.begin_round()
    _say(inbox, 2, kind="steer")
    assert inbox.waiting
    assert inbox.end_turn() is None
    assert inbox.begin_turn()


def test_only_an_interrupting_text_ends_the_round() -> None:
    inbox = Inbox()
    _, round_ = inbox.begin_round()
    _say(inbox, 1, kind="steer")
    assert not round_.cancelled
    _say(inbox, 2, kind="steer", interrupt=True)
    assert round_.cancelled
    assert not inbox.ends_turn
    assert not inbox.begin_round()[1].cancelled


def test_an_interrupt_ends_the_turn_and_no_later_one() -> None:
    inbox = Inbox()
    _say(inbox, 1)
    inbox.begin_turn()
    _, round_ = inbox.begin_round()
    inbox.take({"kind": "interrupt"})
    assert round_.cancelled
    assert inbox.ends_turn
    inbox.end_turn()
    assert not inbox.ends_turn


def test_an_interrupt_of_an_idle_agent_is_forgotten() -> None:
    inbox = Inbox()
    inbox.take({"kind": "interrupt"})
    _say(inbox, 1)
    inbox.begin_turn()
    assert not inbox.ends_turn


def test_a_stop_wakes_whoever_waits_and_the_first_failure_is_told() -> None:
    inbox = Inbox()
    answers: list[object] = []
    waiting = [
        threading.Thread(target=lambda: answers.append(inbox.begin_turn())),
        threading.Thread(target=lambda: answers.append(inbox.await_hold("h1"))),
    ]
    for thread in waiting:
        thread.start()
    inbox.stop(Failure("mcp", "first"))
    inbox.stop(Failure("mcp", "second"))
    for thread in waiting:
        thread.join(10)
    assert sorted(map(str, answers)) == ["False", "None"]
    assert inbox.failure == Failure("mcp", "first")


def test_a_loss_that_a_stop_brought_about_is_no_failure() -> None:
    inbox = Inbox()
    inbox.stop()
    inbox.stop(Failure("mcp", "the relay ended"))
    assert inbox.failure is None


def test_holds_are_answered_by_name() -> None:
    inbox = Inbox()
    inbox.take({"kind": "hold_refused", "id": "h2", "code": "budget_exhausted", "reason": "none left"})
    inbox.take({"kind": "hold_granted", "id": "h1", "hold": "x"})
    assert inbox.await_hold("h1") == HoldAnswer("x")
    assert inbox.await_hold("h2") == HoldAnswer(None, "none left")


@pytest.mark.parametrize("line", [{}, {"kind": "prompt"}, {"kind": "steer", "seq": "1"}, {"kind": "later"}])
def test_what_is_not_understood_is_left_alone(line: dict[str, object]) -> None:
    inbox = Inbox()
    inbox.take(line)
    assert not inbox.waiting


def test_a_hook_runs_at_each_cancellation_while_it_hangs_and_at_once_if_late() -> None:
    cancellation, called = Cancellation(), list[float]()
    with cancellation.hooked(called.append):
        cancellation.cancel(20.0)
        cancellation.cancel(2.0)
    cancellation.cancel(1.0)
    assert called == [20.0, 2.0]
    with cancellation.hooked(called.append):
        pass
    assert called == [20.0, 2.0, 1.0]
