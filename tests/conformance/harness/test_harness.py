"""What every harness driver must do: one suite for the Harness port, against the real harness and a scripted model."""

import os
import signal
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from palmette.coordination.errors import HarnessError
from palmette.coordination.ports import Delivered, Exit, Idle, Started
from tests.conformance.harness.stage import DRIVERS, Driver, staged
from tests.support.bounded import bounded
from tests.support.polling import until
from tests.support.survivors import alive, marked

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("driver", DRIVERS, ids=str)]

_S = 60.0

_WORK = """
scenarios:
  - name: work
    steps:
      - say: I begin.
        calls:
          - {tool: %(shell)s, arguments: {command: "echo made > file.txt; cat file.txt"}}
          - {tool: echo, arguments: {text: ping}}
      - {say: "Seen ${echo.echoed}.", usage: {input: 111, output: 22, cache_read: 33, cache_write: 4}}
    afterwards:
      - say: "Again: ${user.text}"
"""

_WAITING = """
scenarios:
  - name: waiting
    steps:
      - {say: I wait., call: {tool: wait}}
      - say: "Heard ${user.text?} and ${wait.text}"
    afterwards:
      - say: "Later: ${user.text}"
"""

_SLEEPING = """
scenarios:
  - name: sleeping
    steps:
      - call: {tool: %(shell)s, arguments: {command: "touch started; exec sleep 600"}}
      - say: "Heard ${user.text?}."
    afterwards:
      - say: "Later: ${user.text}"
"""


def _states(attempt: str) -> list[str]:
    """The states of an attempt's processes, as the OS shows them."""
    return [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] for pid in marked(attempt)]


@bounded(_S)
async def test_a_prompt_becomes_steps_and_ends_idle(driver: Driver, tmp_path: Path) -> None:
    async with staged(driver, tmp_path, _WORK % {"shell": driver.shell}) as stage:
        played = await stage.start()
        idle = await played.turn("p1", "Begin.")
        assert idle == Idle("end", "Seen ping.")
        assert played.delivered == ["p1"]
        assert (tmp_path / "work/file.txt").read_text() == "made\n"
        assert stage.peer.echoed == ["ping"]
        observed = {
            call.name.rpartition("__")[2]: call.observation for step in played.steps for call in step.tool_calls
        }
        assert observed[driver.shell] == "made\n"
        assert observed["echo"] == '{"echoed":"ping"}'


@bounded(_S)
async def test_the_relay_is_who_the_token_file_says(driver: Driver, tmp_path: Path) -> None:
    async with staged(driver, tmp_path, _WORK % {"shell": driver.shell}) as stage:
        await (await stage.start()).turn("p1", "Begin.")
        assert stage.peer.tokens == ["the-token"]


@bounded(_S)
async def test_a_second_prompt_continues_the_conversation(driver: Driver, tmp_path: Path) -> None:
    async with staged(driver, tmp_path, _WORK % {"shell": driver.shell}) as stage:
        played = await stage.start()
        await played.turn("p1", "Begin.")
        assert await played.turn("p2", "More.") == Idle("end", "Again: More.")
        assert played.delivered == ["p1", "p2"]
        assert "Begin." in stage.said(-1)


@bounded(_S)
async def test_a_steer_is_in_the_next_request_before_the_turn_ends(driver: Driver, tmp_path: Path) -> None:
    async with staged(driver, tmp_path, _WAITING) as stage:
        played = await stage.start()
        await played.harness.prompt("p1", "Begin.")
        await stage.peer.entered.wait()
        await played.harness.steer("m1", "To the left.", interrupt=False)
        assert "m1" not in played.delivered
        stage.peer.release.set()
        idle = await played.until(Idle)
        assert "To the left." in idle.text
        assert "released" in idle.text
        assert "To the left." in stage.said(1)
        assert len(stage.requests) == 2
        told = [event for event in played.events if isinstance(event, Delivered | Idle)]
        assert told == [Delivered("p1"), Delivered("m1"), idle]


@bounded(_S)
async def test_an_interrupting_steer_ends_the_running_call_and_follows_it(driver: Driver, tmp_path: Path) -> None:
    async with staged(driver, tmp_path, _WAITING) as stage:
        played = await stage.start()
        await played.harness.prompt("p1", "Begin.")
        await stage.peer.entered.wait()
        await played.harness.steer("m1", "Stop that.", interrupt=True)
        idle = await played.until(Idle)
        await stage.peer.cancelled.wait()
        assert "Stop that." in idle.text
        assert "m1" in played.delivered
        assert not stage.peer.release.is_set()


@bounded(_S)
async def test_an_interrupting_steer_ends_a_shell_command(driver: Driver, tmp_path: Path) -> None:
    async with staged(driver, tmp_path, _SLEEPING % {"shell": driver.shell}) as stage:
        played = await stage.start()
        await played.harness.prompt("p1", "Begin.")
        await anyio.to_thread.run_sync(until, (tmp_path / "work/started").exists)
        await played.harness.steer("m1", "Enough.", interrupt=True)
        assert (await played.until(Idle)).text == "Heard Enough.."


@bounded(_S)
async def test_an_interrupt_ends_the_turn_and_the_next_prompt_goes_on(driver: Driver, tmp_path: Path) -> None:
    async with staged(driver, tmp_path, _WAITING) as stage:
        played = await stage.start()
        await played.harness.prompt("p1", "Begin.")
        await stage.peer.entered.wait()
        await played.harness.interrupt()
        assert (await played.until(Idle)).stopped_by == "interrupt"
        assert len(stage.requests) == 1
        assert "And now?" in (await played.turn("p2", "And now?")).text


@bounded(_S)
async def test_a_steer_that_comes_when_it_is_idle_begins_a_turn(driver: Driver, tmp_path: Path) -> None:
    async with staged(driver, tmp_path, _WAITING) as stage:
        played = await stage.start()
        await played.harness.prompt("p1", "Begin.")
        stage.peer.release.set()
        await played.until(Idle)
        for count, (message, interrupt) in enumerate((("m1", False), ("m2", True)), 2):
            await played.harness.steer(message, f"Late {message}.", interrupt=interrupt)
            idle = await played.until(Idle, count)
            assert (idle.stopped_by, idle.text) == ("end", f"Later: Late {message}.")
        assert played.delivered == ["p1", "m1", "m2"]


@bounded(_S)
async def test_a_prompt_that_comes_in_a_turn_joins_it(driver: Driver, tmp_path: Path) -> None:
    async with staged(driver, tmp_path, _WAITING) as stage:
        played = await stage.start()
        await played.harness.prompt("p1", "Begin.")
        await stage.peer.entered.wait()
        await played.harness.prompt("p2", "To the right.")
        stage.peer.release.set()
        assert "Heard To the right." in (await played.until(Idle)).text
        assert played.delivered == ["p1", "p2"]


@bounded(_S)
async def test_a_session_goes_on_after_kill_9_in_the_middle_of_a_call(driver: Driver, tmp_path: Path) -> None:
    async with staged(driver, tmp_path, _WAITING) as stage:
        first = await stage.start()
        await first.harness.prompt("p1", "Begin.")
        await stage.peer.entered.wait()
        session = await first.session()
        os.kill(driver.pid(first.harness), signal.SIGKILL)
        left = await first.until(Exit)
        assert left.code is None
        assert left.stage == "run"
        second = await stage.start(session=session)
        idle = await second.turn("p2", "Where were we?")
        assert await second.session() == session
        assert "Where were we?" in idle.text
        assert "Begin." in stage.said(-1)
        assert "p2" in second.delivered


@bounded(_S)
async def test_a_session_goes_on_after_a_stop(driver: Driver, tmp_path: Path) -> None:
    async with staged(driver, tmp_path, _WORK % {"shell": driver.shell}) as stage:
        first = await stage.start()
        await first.turn("p1", "Begin.")
        assert await first.harness.stop(5) == []
        second = await stage.start(session=await first.session())
        assert await second.turn("p2", "More.") == Idle("end", "Again: More.")


@bounded(_S)
async def test_stop_leaves_no_process(driver: Driver, tmp_path: Path) -> None:
    async with staged(driver, tmp_path, _SLEEPING % {"shell": driver.shell}) as stage:
        played = await stage.start()
        await played.harness.prompt("p1", "Begin.")
        await anyio.to_thread.run_sync(until, (tmp_path / "work/started").exists)
        pids = marked(played.launch.attempt)
        assert len(pids) >= 3  # the reaper, the harness, its relay and its shell, whatever else it runs
        assert await played.harness.stop(5) == []
        assert not [pid for pid in pids if alive(pid)]
        assert marked(played.launch.attempt) == set()
        await played.until(Exit)
        assert await played.harness.stop(5) == []


@bounded(_S)
async def test_a_stop_before_the_first_prompt_ends_it(driver: Driver, tmp_path: Path) -> None:
    async with staged(driver, tmp_path, _WORK % {"shell": driver.shell}) as stage:
        played = await stage.start()
        assert await played.harness.stop(5) == []
        await played.until(Exit)
        assert marked(played.launch.attempt) == set()


@bounded(_S)
async def test_a_frozen_harness_makes_no_progress(driver: Driver, tmp_path: Path) -> None:
    script = """
    scenarios:
      - name: counting
        steps:
          - call: {tool: %(shell)s, arguments: {command: "while :; do echo x >> ticks; sleep 0.02; done"}}
          - say: Done.
    """
    ticks = tmp_path / "work/ticks"
    async with staged(driver, tmp_path, script % {"shell": driver.shell}) as stage:
        played = await stage.start()
        await played.harness.prompt("p1", "Begin.")
        await anyio.to_thread.run_sync(until, ticks.exists)
        await played.harness.pause()
        before = ticks.stat().st_size
        assert len([state for state in _states(played.launch.attempt) if state != "T"]) == 1  # the reaper is awake
        assert ticks.stat().st_size == before
        await played.harness.resume()
        await anyio.to_thread.run_sync(until, lambda: ticks.stat().st_size > before)


@bounded(_S)
async def test_a_frozen_harness_can_be_stopped(driver: Driver, tmp_path: Path) -> None:
    async with staged(driver, tmp_path, _WAITING) as stage:
        played = await stage.start()
        await played.harness.prompt("p1", "Begin.")
        await stage.peer.entered.wait()
        await played.harness.pause()
        assert await played.harness.stop(2) == []
        assert marked(played.launch.attempt) == set()
        await played.until(Exit)


@bounded(_S)
async def test_exit_comes_last_and_once(driver: Driver, tmp_path: Path) -> None:
    async with staged(driver, tmp_path, _WORK % {"shell": driver.shell}) as stage:
        played = await stage.start()
        await played.turn("p1", "Begin.")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(played.harness.stop, 5.0)
            tasks.start_soon(played.harness.stop, 5.0)
        await played.until(Exit)
        assert [event async for event in played.harness.events()] == []
        assert len(played.of(Exit)) == 1
        assert isinstance(played.events[-1], Exit)
        assert isinstance(played.events[0], Started)
        with pytest.raises(HarnessError):
            await played.harness.prompt("p2", "Hello?")


@bounded(_S)
async def test_without_mcp_it_ends_and_says_so(driver: Driver, tmp_path: Path) -> None:
    async with staged(driver, tmp_path, _WORK % {"shell": driver.shell}) as stage:
        broken = (*stage.launch.relay_argv[:-1], str(tmp_path / "nobody.sock"), "--only", "nothing")
        played = await stage.start(relay_argv=broken)
        await played.harness.prompt("p1", "Begin.")
        left = await played.until(Exit)
        assert left.stage == "mcp"
        assert left.reason
        assert stage.requests == []


@bounded(_S)
async def test_a_refused_hold_ends_the_turn_and_reaches_no_model(driver: Driver, tmp_path: Path) -> None:
    if not driver.metered:
        pytest.skip("its calls are held by the gateway")
    async with staged(driver, tmp_path, _WORK % {"shell": driver.shell}) as stage:
        stage.ledger.admits = 1
        played = await stage.start()
        idle = await played.turn("p1", "Begin.")
        assert (idle.stopped_by, idle.text) == ("budget", "nothing is left")
        assert stage.order == ["held", "request", "booked", "refused"]
        stage.ledger.admits = None
        assert (await played.turn("p2", "There is more now.")).text == "Seen ping."


@pytest.mark.rule("B9")
@bounded(_S)
async def test_no_call_is_made_before_its_hold_and_each_is_booked_with_its_usage(
    driver: Driver, tmp_path: Path
) -> None:
    if not driver.metered:
        pytest.skip("its calls are held by the gateway")
    async with staged(driver, tmp_path, _WORK % {"shell": driver.shell}) as stage:
        await (await stage.start()).turn("p1", "Begin.")
        assert stage.order == ["held", "request", "booked"] * 2
        usage = stage.ledger.booked[1].usage
        assert usage is not None
        assert (usage.input, usage.output, usage.cache_read, usage.cache_write) == (111, 22, 33, 4)
        for call, request in zip(stage.ledger.calls.values(), stage.requests, strict=True):
            assert call.max_output == request["max_tokens"] == 1000
        first, second = stage.ledger.booked
        assert [step.source for step in first.steps] == ["user", "agent"]
        assert first.steps[0].message == "Begin."
        assert [step.message for step in second.steps] == ["Seen ping."]


@pytest.mark.rule("B8")
@bounded(_S)
async def test_a_call_cut_off_by_the_end_of_the_process_is_booked_whole(driver: Driver, tmp_path: Path) -> None:
    if not driver.metered:
        pytest.skip("its calls are held by the gateway")
    script = "scenarios:\n  - name: silent\n    steps: [{say: Never., fault: silent}]\n"
    async with staged(driver, tmp_path, script) as stage:
        played = await stage.start()
        await played.harness.prompt("p1", "Begin.")
        await stage.until_asked(1)
        os.kill(driver.pid(played.harness), signal.SIGKILL)
        await played.until(Exit)
        assert stage.ledger.open == set()
        assert [(booking.usage, booking.sent) for booking in stage.ledger.booked] == [(None, True)]


@bounded(_S)
async def test_a_model_that_fails_for_good_ends_the_turn(driver: Driver, tmp_path: Path) -> None:
    script = "scenarios:\n  - name: failing\n    steps: [{error: {status: 400, message: no such thing}}]\n"
    async with staged(driver, tmp_path, script) as stage:
        idle = await (await stage.start()).turn("p1", "Begin.")
        assert idle.stopped_by == "model"
        assert "no such thing" in idle.text


@bounded(_S)
async def test_a_refusal_for_budget_by_the_gateway_ends_the_turn(driver: Driver, tmp_path: Path) -> None:
    script = (
        "scenarios:\n  - name: poor\n    steps: [{error: {status: 402, type: billing_error, message: all is spent}}]\n"
    )
    async with staged(driver, tmp_path, script) as stage:
        idle = await (await stage.start()).turn("p1", "Begin.")
        assert idle.stopped_by == "budget"
        assert "all is spent" in idle.text
        assert len(stage.requests) == 1


@bounded(_S)
async def test_texts_of_any_content_arrive_whole(driver: Driver, tmp_path: Path) -> None:
    text = '\u2028 line\u0085 \x1b[31m "quoted" \\ \U0001f333 --option\n' + "x" * 500_000
    async with staged(driver, tmp_path, "scenarios:\n  - name: any\n    steps: [{say: Fine.}]\n") as stage:
        assert (await (await stage.start()).turn("p1", text)).text == "Fine."
        content = stage.requests[0]["messages"][0]["content"]
        assert (content if isinstance(content, str) else content[0]["text"]) == text
