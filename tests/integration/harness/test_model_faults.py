"""The builtin harness and a model that fails: what is tried again, what it costs in holds, and when it is given up."""

from pathlib import Path

import anyio
import pytest

from palmette.coordination.ports import Exit, Harness, Idle, Launch, Ledger
from palmette.sandbox.harness.builtin import BuiltinHarness, Tuning
from palmette.sandbox.isolation.unsafe_none import UnsafeNone
from tests.conformance.harness.stage import DRIVERS, Driver, staged
from tests.support.bounded import bounded

pytestmark = pytest.mark.anyio

_BUILTIN = DRIVERS[0]


def _script(*steps: str) -> str:
    return "scenarios:\n  - name: faulty\n    steps:\n" + "".join(f"      - {step}\n" for step in steps)


def _impatient(launch: Launch, ledger: Ledger, isolation: UnsafeNone) -> Harness:
    return BuiltinHarness(launch, ledger, isolation, Tuning(first_pause_s=0.01, silence_s=0.3))


_IMPATIENT = Driver("builtin", _impatient, lambda harness: harness.pid)


@bounded(60)
async def test_an_overloaded_model_is_asked_again_each_time_with_a_hold_of_its_own(tmp_path: Path) -> None:
    script = _script("error: {status: 529, message: overloaded, times: 2}", "say: At last.")
    async with staged(_BUILTIN, tmp_path, script) as stage:
        assert await (await stage.start()).turn("p1", "Begin.") == Idle("end", "At last.")
        assert stage.order == ["held", "request", "booked"] * 3
        assert [booking.sent for booking in stage.ledger.booked] == [False, False, True]


@bounded(60)
async def test_retry_after_is_waited_for(tmp_path: Path) -> None:
    script = _script("error: {status: 429, message: slowly, times: 1, retry_after_s: 1}", "say: At last.")
    async with staged(_BUILTIN, tmp_path, script) as stage:
        played = await stage.start()
        await played.harness.prompt("p1", "Begin.")
        await stage.until_asked(1)
        first = anyio.current_time()
        await stage.until_asked(2)
        assert anyio.current_time() - first >= 0.9


@bounded(60)
async def test_an_endpoint_that_asks_for_an_hour_is_given_up(tmp_path: Path) -> None:
    script = _script("error: {status: 429, message: later, retry_after_s: 3600}")
    async with staged(_BUILTIN, tmp_path, script) as stage:
        assert (await (await stage.start()).turn("p1", "Begin.")).stopped_by == "model"
        assert len(stage.requests) == 1


@bounded(60)
async def test_an_endpoint_that_never_recovers_is_given_up_after_six_calls(tmp_path: Path) -> None:
    async with staged(_BUILTIN, tmp_path, _script("error: {status: 503, message: down}")) as stage:
        idle = await (await stage.start()).turn("p1", "Begin.")
        assert idle.stopped_by == "model"
        assert "down" in idle.text
        assert len(stage.requests) == 6
        assert stage.ledger.open == set()


@bounded(60)
async def test_what_the_endpoint_says_not_to_repeat_is_not_repeated(tmp_path: Path) -> None:
    script = _script("error: {status: 503, message: down, retry: false}")
    async with staged(_BUILTIN, tmp_path, script) as stage:
        assert (await (await stage.start()).turn("p1", "Begin.")).stopped_by == "model"
        assert len(stage.requests) == 1


@pytest.mark.rule("B8")
@bounded(60)
async def test_a_cut_reply_is_booked_unknown_and_asked_for_again(tmp_path: Path) -> None:
    async with staged(_BUILTIN, tmp_path, _script("{say: Whole now., fault: {kind: cut, times: 1}}")) as stage:
        assert (await (await stage.start()).turn("p1", "Begin.")).text == "Whole now."
        first, second = stage.ledger.booked
        assert (first.usage, first.sent) == (None, True)
        assert second.usage is not None


@bounded(60)
async def test_three_cut_replies_are_enough(tmp_path: Path) -> None:
    async with staged(_BUILTIN, tmp_path, _script("{say: Never whole., fault: cut}")) as stage:
        assert (await (await stage.start()).turn("p1", "Begin.")).stopped_by == "model"
        assert len(stage.requests) == 3


@bounded(60)
async def test_an_error_in_the_stream_is_a_cut(tmp_path: Path) -> None:
    fault = "{kind: stream_error, type: overloaded_error, times: 1}"
    async with staged(_BUILTIN, tmp_path, _script(f"{{say: Whole now., fault: {fault}}}")) as stage:
        assert (await (await stage.start()).turn("p1", "Begin.")).text == "Whole now."
        assert stage.ledger.booked[0].usage is None


@bounded(60)
async def test_usage_that_never_comes_is_unknown(tmp_path: Path) -> None:
    async with staged(_BUILTIN, tmp_path, _script("{say: Untold., usage: missing}")) as stage:
        assert (await (await stage.start()).turn("p1", "Begin.")).text == "Untold."
        assert [(booking.usage, booking.sent) for booking in stage.ledger.booked] == [(None, True)]


@bounded(60)
async def test_a_silent_model_is_given_up(tmp_path: Path) -> None:
    async with staged(_IMPATIENT, tmp_path, _script("{say: Never., fault: {kind: silent, times: 1}}")) as stage:
        assert (await (await stage.start()).turn("p1", "Begin.")).text == "Never."
        assert len(stage.requests) == 2


@bounded(60)
async def test_a_model_that_cannot_be_reached_costs_nothing(tmp_path: Path) -> None:
    async with staged(_BUILTIN, tmp_path, _script("say: Unheard.")) as stage:
        played = await stage.start(model_url="http://127.0.0.1:9")
        assert (await played.turn("p1", "Begin.")).stopped_by == "model"
        assert {booking.sent for booking in stage.ledger.booked} == {False}


@bounded(60)
async def test_a_url_that_is_none_ends_the_turn(tmp_path: Path) -> None:
    async with staged(_BUILTIN, tmp_path, _script("say: Unheard.")) as stage:
        played = await stage.start(model_url="ftp://nowhere")
        idle = await played.turn("p1", "Begin.")
        assert idle.stopped_by == "model"
        assert "no http URL" in idle.text


@bounded(60)
async def test_a_stop_lets_a_reply_in_flight_come_to_its_end(tmp_path: Path) -> None:
    async with staged(_BUILTIN, tmp_path, _script("{say: Slowly., fault: {kind: slow, first_s: 0.5}}")) as stage:
        played = await stage.start()
        await played.harness.prompt("p1", "Begin.")
        await stage.until_asked(1)
        assert await played.harness.stop(10) == []
        await played.until(Exit)
        assert stage.ledger.booked[0].usage is not None


@bounded(60)
async def test_a_stop_does_not_wait_for_a_silent_model(tmp_path: Path) -> None:
    async with staged(_BUILTIN, tmp_path, _script("{say: Never., fault: silent}")) as stage:
        played = await stage.start()
        await played.harness.prompt("p1", "Begin.")
        await stage.until_asked(1)
        with anyio.fail_after(20):
            assert await played.harness.stop(10) == []
        left = await played.until(Exit)
        assert left.code == 0
        assert [(booking.usage, booking.sent) for booking in stage.ledger.booked] == [(None, True)]


@bounded(60)
async def test_a_reply_cut_at_the_output_limit_ends_the_turn(tmp_path: Path) -> None:
    async with staged(_BUILTIN, tmp_path, _script("{say: Unfini, stop: length}")) as stage:
        assert await (await stage.start()).turn("p1", "Begin.") == Idle("end", "Unfini")
