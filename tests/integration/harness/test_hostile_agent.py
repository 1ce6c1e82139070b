"""The driver and an agent process that does not keep to the protocol: it may be anything that got hold of the cage."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from palmette.coordination.errors import HarnessError, JournalUnwritable
from palmette.coordination.ports import Delivered, Exit, Harness, Idle, Launch, Ledger, ModelCall, Started, StepTaken
from palmette.sandbox.harness.builtin import BuiltinHarness, Tuning
from palmette.sandbox.isolation.unsafe_none import UnsafeNone
from tests.conformance.harness.stage import Driver, Played, Stage, staged
from tests.support.bounded import bounded
from tests.support.survivors import marked

pytestmark = pytest.mark.anyio

_SCRIPT = "scenarios:\n  - name: none\n    steps: [{say: Unheard.}]\n"
_SESSION = "0123456789abcdef0123456789abcdef"

_PRELUDE = f"""
import json, os, sys, time
def tell(kind, **fields):
    print(json.dumps({{"kind": kind, **fields}}), flush=True)
def hear():
    return json.loads(sys.stdin.readline())
def begin():
    tell("started", session="{_SESSION}", version="0")
    tell("ready")
def hold(name="h1", **changes):
    tell("hold", **{{"id": name, "model": "m", "input_bound": 10, "max_output": 5, **changes}})
"""

Make = Callable[[Launch, Ledger, UnsafeNone], Harness]


def _agent(code: str, *, start_s: float = 20.0, noise: int = 100) -> Driver:
    """The builtin driver with other code in the agent's place."""
    tuning = Tuning(start_s=start_s, noise=noise, end_s=0.5, agent=(sys.executable, "-I", "-c", _PRELUDE + code))

    def make(launch: Launch, ledger: Ledger, isolation: UnsafeNone) -> Harness:
        return BuiltinHarness(launch, ledger, isolation, tuning)

    return Driver("hostile", make, lambda harness: harness.pid)


async def _lived(stage: Stage) -> tuple[Played, Exit]:
    """One life, seen to its end, with nothing left of it."""
    played = await stage.start()
    left = await played.until(Exit)
    assert len(played.of(Exit)) == 1
    assert isinstance(played.events[-1], Exit)
    assert marked(played.launch.attempt) == set()
    assert stage.ledger.open == set()
    return played, left


@bounded(60)
async def test_one_that_dies_at_once(tmp_path: Path) -> None:
    async with staged(_agent("sys.exit('no such\\x1b[31m thing')"), tmp_path, _SCRIPT) as stage:
        _, left = await _lived(stage)
        assert left == Exit(1, "no such [31m thing", "start")


@bounded(60)
async def test_one_that_says_nothing_at_its_start(tmp_path: Path) -> None:
    async with staged(_agent("time.sleep(600)", start_s=0.3), tmp_path, _SCRIPT) as stage:
        _, left = await _lived(stage)
        assert left.stage == "start"
        assert "not ready within 0.3 s" in left.reason


@bounded(60)
async def test_one_that_never_reaches_mcp(tmp_path: Path) -> None:
    code = f"tell('started', session='{_SESSION}', version='0'); time.sleep(600)"
    async with staged(_agent(code, start_s=0.5), tmp_path, _SCRIPT) as stage:
        played, left = await _lived(stage)
        assert played.of(Started) == [Started(_SESSION, "0")]
        assert left.stage == "mcp"


@bounded(60)
async def test_one_that_cannot_be_run(tmp_path: Path) -> None:
    def make(launch: Launch, ledger: Ledger, isolation: UnsafeNone) -> Harness:
        return BuiltinHarness(launch, ledger, isolation, Tuning(agent=(str(tmp_path / "missing"),)))

    async with staged(Driver("missing", make, lambda harness: harness.pid), tmp_path, _SCRIPT) as stage:
        with pytest.raises(HarnessError):
            await stage.start()
        harness = stage.lives[0].harness
        assert [(event.stage, event.code) async for event in harness.events() if isinstance(event, Exit)] == [
            ("start", None)
        ]
        assert await harness.stop(1) == []


@bounded(60)
async def test_one_that_floods_with_lines(tmp_path: Path) -> None:
    async with staged(_agent("begin()\nwhile True: print('nonsense')"), tmp_path, _SCRIPT) as stage:
        _, left = await _lived(stage)
        assert "make no sense" in left.reason
        assert left.stage == "run"


@bounded(60)
async def test_one_that_floods_with_one_line(tmp_path: Path) -> None:
    async with staged(_agent("begin()\nwhile True: sys.stdout.write('x' * 65536)"), tmp_path, _SCRIPT) as stage:
        _, left = await _lived(stage)
        assert "without an end" in left.reason


@bounded(60)
async def test_one_that_floods_its_log(tmp_path: Path) -> None:
    code = "begin()\nfor _ in range(200): sys.stderr.write('x' * 65536)\nsys.exit('the last line')"
    async with staged(
        _agent(code.replace("sys.exit(", "sys.stderr.write('\\n'); sys.exit(")), tmp_path, _SCRIPT
    ) as stage:
        _, left = await _lived(stage)
        assert left == Exit(1, "the last line", "run")


@bounded(60)
async def test_one_that_ends_in_half_a_line(tmp_path: Path) -> None:
    async with staged(_agent('begin(); sys.stdout.write(\'{"kind": "idl\')'), tmp_path, _SCRIPT) as stage:
        played, left = await _lived(stage)
        assert left.code == 0
        assert played.of(Idle) == []


@bounded(60)
async def test_one_that_closes_its_output_and_stays(tmp_path: Path) -> None:
    async with staged(_agent("begin(); os.close(1); time.sleep(600)"), tmp_path, _SCRIPT) as stage:
        _, left = await _lived(stage)
        assert "went on running" in left.reason


@bounded(60)
async def test_one_that_leaves_a_child_behind_holding_its_output(tmp_path: Path) -> None:
    code = "begin()\nif os.fork() == 0:\n    os.setsid(); time.sleep(600)\nsys.stdout.flush(); os._exit(0)"
    async with staged(_agent(code), tmp_path, _SCRIPT) as stage:
        await _lived(stage)


@bounded(60)
async def test_what_is_not_understood_is_counted_and_the_rest_goes_on(tmp_path: Path) -> None:
    code = """
begin()
for line in ("", "[]", "null", "{", "[" * 100000, '{"kind": "later"}', '{"kind": "idle"}', '{"kind": 7}'):
    print(line)
tell("started", session="../../etc/passwd", version="0")
tell("step", steps="none")
tell("hold", id="h", model="m", input_bound=-1, max_output=5)
tell("hold", id="h", model="m", input_bound=True, max_output=5)
tell("booked", id="h", model="m", sent=True, usage=None, steps=[])
said = hear()
tell("delivered", message="m99")
tell("delivered", message=said["message"])
tell("delivered", message=said["message"])
tell("idle", stopped_by="end", text="Still here.", heard=said["seq"] + 1)
tell("idle", stopped_by="end", text="Still here.", heard=said["seq"])
tell("idle", stopped_by="end", text="Twice.", heard=said["seq"])
hear()
"""
    async with staged(_agent(code), tmp_path, _SCRIPT) as stage:
        played = await stage.start()
        assert await played.turn("p1", "Hello.") == Idle("end", "Still here.")
        await played.harness.stop(5)
        await played.until(Exit)
        assert played.of(Started) == [Started(_SESSION, "0")]
        assert played.of(Delivered) == [Delivered("p1")]
        assert len(played.of(Idle)) == 1
        assert isinstance(played.harness, BuiltinHarness)
        assert played.harness.noise == 15
        assert stage.ledger.calls == {}


@bounded(60)
async def test_a_session_that_is_none_is_not_taken(tmp_path: Path) -> None:
    code = "tell('started', session='../../../etc/passwd', version='0'); tell('ready'); time.sleep(600)"
    async with staged(_agent(code, start_s=0.5), tmp_path, _SCRIPT) as stage:
        played, left = await _lived(stage)
        assert played.of(Started) == []
        assert left.stage == "start"


@bounded(60)
async def test_text_that_no_store_takes_is_mended(tmp_path: Path) -> None:
    code = """
begin(); said = hear(); hold(); hear()
tell("booked", id="h1", model="m", sent=True, usage={"input": 1, "output": 2, "cache_read": 0, "cache_write": 0},
     steps=[{"source": "agent", "message": "a\\0b\\ud800c", "tool_calls": [
     {"id": "1", "name": "t", "arguments": "\\0"}]}])
tell("step", steps=[{"source": "agent", "message": "", "tool_calls": [
     {"id": "1", "name": "t", "arguments": "", "observation": "x\\udfff"}]}])
tell("step", steps=[{"source": "agent", "message": "told without a reply"}])
tell("idle", stopped_by="end", text="\\0", heard=said["seq"])
hear()
"""
    async with staged(_agent(code), tmp_path, _SCRIPT) as stage:
        played = await stage.start()
        assert await played.turn("p1", "Hello.") == Idle("end", "\ufffd")
        json.dumps([step.message for step in stage.ledger.booked[0].steps], ensure_ascii=False).encode()
        assert stage.ledger.booked[0].steps[0].message == "a\ufffdb?c"
        (told,) = played.of(StepTaken)
        assert told.steps[0].tool_calls[0].observation == "x?"


@bounded(60)
async def test_usage_that_is_no_usage_leaves_the_hold_to_be_charged_whole(tmp_path: Path) -> None:
    code = """
begin(); hear(); hold(); hear()
tell("booked", id="h1", model="m", sent=True, steps=[],
     usage={"input": -5, "output": 2, "cache_read": 0, "cache_write": 0})
"""
    async with staged(_agent(code), tmp_path, _SCRIPT) as stage:
        played = await stage.start()
        await played.harness.prompt("p1", "Hello.")
        await played.until(Exit)
        assert [(booking.usage, booking.sent) for booking in stage.ledger.booked] == [(None, True)]


@bounded(60)
async def test_more_output_than_the_launch_allows_is_no_hold(tmp_path: Path) -> None:
    code = """
begin(); said = hear(); hold(max_output=1001)
tell("idle", stopped_by="end", text=hear()["kind"], heard=said["seq"])
hear()
"""
    async with staged(_agent(code), tmp_path, _SCRIPT) as stage:
        played = await stage.start()
        assert (await played.turn("p1", "Hello.")).text == "hold_refused"
        assert stage.ledger.calls == {}


@bounded(60)
async def test_a_ledger_that_fails_refuses_the_call(tmp_path: Path) -> None:
    code = "begin(); said = hear(); hold(); tell('idle', stopped_by='end', text=hear()['reason'], heard=said['seq'])"
    async with staged(_agent(code + "\nhear()"), tmp_path, _SCRIPT) as stage:

        async def hold(attempt: str, call: ModelCall) -> str:
            raise JournalUnwritable("the disk is full")

        stage.ledger.hold = hold
        played = await stage.start()
        assert (await played.turn("p1", "Hello.")).text == "the disk is full"


@bounded(60)
async def test_one_that_is_deaf_to_stop_and_sigterm_is_killed(tmp_path: Path) -> None:
    code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); begin(); time.sleep(600)"
    async with staged(_agent(code), tmp_path, _SCRIPT) as stage:
        played = await stage.start()
        await played.until(Started)
        assert await played.harness.stop(0.5) == []
        assert marked(played.launch.attempt) == set()
        assert (await played.until(Exit)).code is None


@bounded(60)
async def test_a_stop_needs_nobody_who_reads_the_events(tmp_path: Path) -> None:
    async with staged(_agent("begin(); hear(); hold(); time.sleep(600)"), tmp_path, _SCRIPT) as stage:
        harness = stage.driver.create(stage.launch, stage.ledger, stage.isolation)
        await harness.start()
        assert await harness.stop(0.5) == []
        assert marked(stage.launch.attempt) == set()
        told = [event async for event in harness.events()]
        assert isinstance(told[-1], Exit)


@bounded(60)
async def test_a_text_said_as_the_turn_ends_makes_that_end_none(tmp_path: Path) -> None:
    code = """
begin(); first = hear(); second = hear()
tell("idle", stopped_by="end", text="Too early.", heard=first["seq"])
tell("delivered", message=second["message"])
tell("idle", stopped_by="end", text="After both.", heard=second["seq"])
hear()
"""
    async with staged(_agent(code), tmp_path, _SCRIPT) as stage:
        played = await stage.start()
        await played.harness.prompt("p1", "Hello.")
        await played.harness.steer("m1", "One more thing.", interrupt=False)
        assert (await played.until(Idle)).text == "After both."
        assert len(played.of(Idle)) == 1
