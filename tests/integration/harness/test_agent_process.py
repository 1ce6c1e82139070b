"""The builtin agent's own process: what it imports, what its environment holds, how it loses its peers."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from palmette.coordination.errors import Refused
from palmette.coordination.ports import Exit, Idle, StepTaken
from palmette.sandbox.harness.builtin import BuiltinHarness
from palmette.sandbox.harness.registry import Registry
from palmette.sandbox.isolation.unsafe_none import UnsafeNone
from tests.conformance.harness.stage import DRIVERS, staged
from tests.support.bounded import bounded
from tests.support.polling import until
from tests.support.survivors import marked

pytestmark = pytest.mark.anyio

_BUILTIN = DRIVERS[0]
_ROOT = Path(__file__).parents[3]

_IMPORTS = """
import sys
sys.path.append(sys.argv[1])
import palmette.sandbox.harness.agent.process
print("\\n".join(sorted(sys.modules)))
"""


def test_the_agent_imports_the_standard_library_alone() -> None:
    found = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _IMPORTS, str(_ROOT)], capture_output=True, check=True, text=True
    ).stdout.split()
    strangers = {name for name in found if name.partition(".")[0] not in sys.stdlib_module_names | {"__main__"}}
    allowed = {"palmette", "palmette.sandbox", "palmette.sandbox.harness"}
    assert {name for name in strangers if not name.startswith("palmette.sandbox.harness.agent")} == allowed
    assert "asyncio" not in found


@bounded(60)
async def test_neither_argv_nor_environment_holds_the_token(tmp_path: Path) -> None:
    script = "scenarios:\n  - name: waiting\n    steps: [{call: {tool: wait}}]\n"
    async with staged(_BUILTIN, tmp_path, script) as stage:
        played = await stage.start()
        await played.harness.prompt("p1", "Begin.")
        await stage.peer.entered.wait()
        assert stage.peer.tokens == ["the-token"]
        assert marked("the-token") == set()


@bounded(60)
async def test_a_command_sees_a_clean_environment_and_its_own_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOMEBODYS_SECRET", "not for nodes")
    script = "scenarios:\n  - name: env\n    steps: [{call: {tool: shell, arguments: {command: env}}}, {say: Done.}]\n"
    async with staged(_BUILTIN, tmp_path, script) as stage:
        played = await stage.start()
        await played.turn("p1", "Begin.")
        ((call,),) = (step.tool_calls for event in played.of(StepTaken) for step in event.steps)
        lines = [line.partition("=") for line in str(call.observation).splitlines()]
        given = {name: value for name, _, value in lines}
        assert set(given) <= {
            *("PATH", "LANG", "LC_ALL", "TZ", "HOME", "TMPDIR", "PWD", "SHLVL", "_"),
            *("PALMETTE_ATTEMPT", "PALMETTE_ISOLATION", "GIT_TERMINAL_PROMPT"),
        }
        assert given["HOME"] == str(played.launch.directory)


@bounded(60)
async def test_calls_of_one_reply_run_at_once(tmp_path: Path) -> None:
    script = "scenarios:\n  - name: both\n    steps: [{calls: [{tool: wait}, {tool: free}]}, {say: Done.}]\n"
    async with staged(_BUILTIN, tmp_path, script) as stage:
        assert await (await stage.start()).turn("p1", "Begin.") == Idle("end", "Done.")


@bounded(60)
async def test_an_agent_whose_relay_dies_ends_with_the_stage_mcp(tmp_path: Path) -> None:
    script = "scenarios:\n  - name: waiting\n    steps: [{call: {tool: wait}}]\n"
    async with staged(_BUILTIN, tmp_path, script) as stage:
        played = await stage.start()
        await played.harness.prompt("p1", "Begin.")
        await stage.peer.entered.wait()
        (relay,) = marked("mcp.sock") & marked(played.launch.attempt)
        os.kill(relay, signal.SIGKILL)
        left = await played.until(Exit)
        assert left.stage == "mcp"
        assert stage.ledger.open == set()


@bounded(60)
async def test_a_frozen_agent_is_thawed_to_hear_its_stop(tmp_path: Path) -> None:
    script = "scenarios:\n  - name: waiting\n    steps: [{call: {tool: wait}}]\n"
    async with staged(_BUILTIN, tmp_path, script) as stage:
        played = await stage.start()
        await played.harness.prompt("p1", "Begin.")
        await stage.peer.entered.wait()
        await played.harness.pause()
        assert await played.harness.stop(20) == []
        assert (await played.until(Exit)).code == 0


@bounded(60)
async def test_an_unknown_session_is_a_failed_start(tmp_path: Path) -> None:
    async with staged(_BUILTIN, tmp_path, "scenarios:\n  - name: none\n    steps: [{say: Unheard.}]\n") as stage:
        played = await stage.start(session="f" * 32)
        left = await played.until(Exit)
        assert left.stage == "start"
        assert "no session" in left.reason


@bounded(60)
async def test_native_tools_are_those_of_the_profile(tmp_path: Path) -> None:
    async with staged(_BUILTIN, tmp_path, "scenarios:\n  - name: any\n    steps: [{say: Fine.}]\n") as stage:
        await (await stage.start(tools=("edit", "Read"))).turn("p1", "Begin.")
        names = [tool["name"] for tool in stage.requests[0]["tools"]]
        assert names == ["edit", *(f"mcp__palmette__{name}" for name in ("echo", "wait", "fail", "free"))]


@bounded(60)
async def test_the_servers_instructions_are_part_of_the_system_prompt(tmp_path: Path) -> None:
    async with staged(_BUILTIN, tmp_path, "scenarios:\n  - name: any\n    steps: [{say: Fine.}]\n") as stage:
        await (await stage.start()).turn("p1", "Begin.")
        assert stage.requests[0]["system"] == "You are on a stage.\n\nThe contract of this peer."


@bounded(60)
async def test_a_call_half_done_at_a_kill_is_answered_in_the_resumed_conversation(tmp_path: Path) -> None:
    call = "{call: {tool: shell, arguments: {command: 'touch on; sleep 600'}}}"
    script = f"scenarios:\n  - name: s\n    steps: [{call}, {{say: Ok.}}]\n"
    async with staged(_BUILTIN, tmp_path, script) as stage:
        first = await stage.start()
        await first.harness.prompt("p1", "Begin.")
        await anyio.to_thread.run_sync(until, (tmp_path / "work/on").exists)
        os.kill(_BUILTIN.pid(first.harness), signal.SIGKILL)
        await first.until(Exit)
        second = await stage.start(session=await first.session())
        await second.turn("p2", "Again.")
        result, text = stage.requests[1]["messages"][2]["content"]
        assert result["is_error"] is True
        assert result["content"].startswith("interrupted by a restart")
        assert text["text"] == "Again."


@bounded(60)
async def test_an_agent_that_is_ended_by_a_signal_takes_its_relay_with_it(tmp_path: Path) -> None:
    async with staged(_BUILTIN, tmp_path, "scenarios:\n  - name: any\n    steps: [{say: Fine.}]\n") as stage:
        played = await stage.start()
        await played.turn("p1", "Begin.")
        os.kill(_BUILTIN.pid(played.harness), signal.SIGTERM)
        assert (await played.until(Exit)).stage == "run"
        assert marked(played.launch.attempt) == set()


async def test_the_registry_knows_the_builtin_harness_and_refuses_others(tmp_path: Path) -> None:
    async with staged(_BUILTIN, tmp_path, "scenarios:\n  - name: any\n    steps: [{say: Fine.}]\n") as stage:
        registry = Registry(UnsafeNone(tmp_path / "locks"))
        assert registry.names() == ["builtin"]
        assert (await registry.probe("builtin")).available
        assert not (await registry.probe("claude")).available
        assert isinstance(registry.create("builtin", stage.launch, stage.ledger), BuiltinHarness)
        with pytest.raises(Refused) as refused:
            registry.create("claude", stage.launch, stage.ledger)
        assert refused.value.code == "unknown_harness"
