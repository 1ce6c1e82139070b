"""Active time and deadlines, on a clock that the test owns."""

import pytest

from palmette.coordination.supervisor.activity import Activity
from palmette.coordination.supervisor.deadlines import Deadlines
from tests.fakes.clock import ManualClock


@pytest.mark.rule("B12")
def test_time_counts_while_a_turn_is_on_and_no_wait_is_open() -> None:
    clock = ManualClock()
    activity = Activity(clock)
    clock.advance(5)
    assert activity.take() == 0
    activity.turn(True)
    clock.advance(3)
    activity.wait_begins()
    clock.advance(100)
    activity.wait_ends()
    clock.advance(2)
    activity.turn(False)
    clock.advance(50)
    assert activity.take() == 5


@pytest.mark.rule("B12")
def test_overlapping_waits_count_once() -> None:
    clock = ManualClock()
    activity = Activity(clock)
    activity.turn(True)
    activity.wait_begins()
    activity.wait_begins()
    clock.advance(10)
    activity.wait_ends()
    clock.advance(10)
    assert activity.take() == 0
    activity.wait_ends()
    clock.advance(4)
    assert activity.take() == 4


@pytest.mark.rule("B12")
def test_a_paused_node_spends_no_seconds() -> None:
    clock = ManualClock()
    activity = Activity(clock)
    activity.turn(True)
    activity.freeze(True)
    clock.advance(30)
    activity.freeze(False)
    clock.advance(1)
    assert activity.take() == 1


def test_fractions_are_kept_for_the_next_booking() -> None:
    clock = ManualClock()
    activity = Activity(clock)
    activity.turn(True)
    taken: list[int] = []
    for _ in range(4):
        clock.advance(0.75)
        taken.append(activity.take())
    assert taken == [0, 1, 1, 1]


@pytest.mark.rule("B10", "E9")
def test_a_clock_jump_neither_extends_nor_shortens_a_deadline() -> None:
    clock = ManualClock()
    deadlines = Deadlines(clock)
    deadlines.set("t1/0", clock.now() + 60_000_000)
    clock.jump(-3_600)
    clock.advance(59)
    assert deadlines.over() == []
    clock.jump(7_200)
    assert deadlines.over() == []
    clock.advance(1)
    assert deadlines.over() == ["t1/0"]


@pytest.mark.rule("B10")
def test_after_a_restart_the_lesser_of_the_wall_clocks_rest_and_the_journaled_rest_counts() -> None:
    clock = ManualClock()
    deadlines = Deadlines(clock)
    deadlines.set("t1/0", clock.now() + 500_000_000, last_rest=40)
    deadlines.set("t2/0", clock.now() + 20_000_000, last_rest=40)
    assert deadlines.rests() == {"t1/0": 40, "t2/0": 20}
