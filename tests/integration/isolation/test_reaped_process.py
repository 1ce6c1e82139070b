"""A command under its reaper: streams, ends, pauses, and nothing left behind."""

import os
import signal
import sys
from pathlib import Path

import anyio
import pytest
from anyio.streams.text import TextReceiveStream

from palmette.sandbox.errors import IsolationError
from palmette.sandbox.isolation.process import ReapedProcess, run_reaped
from tests.support.bounded import bounded
from tests.support.listing import names
from tests.support.polling import until
from tests.support.survivors import alive, marked

pytestmark = pytest.mark.anyio

PYTHON = [sys.executable, "-I", "-S", "-c"]


async def first_line(process: ReapedProcess) -> str:
    text = ""
    async for chunk in TextReceiveStream(process.stdout):
        text += chunk
        if "\n" in text:
            break
    return text.splitlines()[0]


@bounded(60)
async def test_streams_exit_code_and_environment_are_the_commands_own(
    tmp_path: Path, locks: Path, attempt: str, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_SECRET_OF_THE_SUPERVISOR", "x")
    program = (
        "import os,sys; print(sorted(os.environ), os.getcwd(), sys.stdin.read(), sorted(os.listdir('/proc/self/fd')))"
        "\nsys.exit(7)"
    )
    result = await run_reaped(
        [*PYTHON, program],
        attempt=attempt,
        env=environment,
        cwd=tmp_path,
        lock=locks / "a.lock",
        timeout_s=30,
        stdin=b"hello",
    )
    variables = sorted({*environment, "PALMETTE_ATTEMPT", "LC_CTYPE"})
    # 0, 1, 2 and the one that lists the directory: nothing of the supervisor or the reaper.
    assert result.stdout.decode() == f"{variables} {tmp_path} hello ['0', '1', '2', '3']\n"
    assert (result.exit.code, result.exit.signal, result.exit.confirmed) == (7, None, True)
    assert names(locks) == []


@pytest.mark.rule("E5")
@bounded(60)
async def test_when_the_command_ends_its_daemons_end_with_it(
    tmp_path: Path, locks: Path, attempt: str, environment: dict[str, str], daemons: list[str]
) -> None:
    daemons[-2] = daemons[-2].removesuffix("\ntime.sleep(300)\n")
    result = await run_reaped(
        daemons, attempt=attempt, env=environment, cwd=tmp_path, lock=locks / "a.lock", timeout_s=30
    )
    assert (result.exit.code, result.exit.killed, result.exit.held, result.timed_out) == (0, 4, (), False)
    assert marked(attempt) == set()


@bounded(60)
async def test_terminate_gives_grace_first_and_confirms(
    tmp_path: Path, locks: Path, attempt: str, environment: dict[str, str]
) -> None:
    program = (
        "import os,signal,time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (os.write(1, b'saved\\n'), os._exit(0)))\n"
        "print('ready', flush=True)\ntime.sleep(300)"
    )
    async with await ReapedProcess.start(
        [*PYTHON, program], attempt=attempt, env=environment, cwd=tmp_path, lock=locks / "a.lock"
    ) as process:
        assert await first_line(process) == "ready"
        ended = await process.terminate(20)
        assert (ended.code, ended.killed, ended.confirmed) == (0, 0, True)
        assert await first_line(process) == "saved"


@bounded(60)
async def test_who_ignores_the_grace_is_killed_with_all_his_daemons(
    tmp_path: Path, locks: Path, attempt: str, environment: dict[str, str], daemons: list[str]
) -> None:
    daemons[-2] = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + daemons[-2]
    async with await ReapedProcess.start(
        daemons, attempt=attempt, env=environment, cwd=tmp_path, lock=locks / "a.lock"
    ) as process:
        assert await first_line(process) == "ready"
        ended = await process.terminate(0.2)
        assert (ended.signal, ended.confirmed) == (signal.SIGKILL, True)
    assert marked(attempt) == set()


@bounded(60)
async def test_pause_freezes_every_descendant_and_resume_thaws_them(
    tmp_path: Path, locks: Path, attempt: str, environment: dict[str, str], daemons: list[str]
) -> None:
    async with await ReapedProcess.start(
        daemons, attempt=attempt, env=environment, cwd=tmp_path, lock=locks / "a.lock"
    ) as process:
        assert await first_line(process) == "ready"
        below = {pid for pid in marked(attempt) if not _is_reaper(pid)}
        assert len(below) == 5
        await process.pause()
        assert {_state(pid) for pid in below} == {"T"}
        await process.resume()
        assert "T" not in {_state(pid) for pid in below}
        await process.pause()
        assert (await process.terminate(0.1)).confirmed, "a paused one can be ended"
    assert marked(attempt) == set()


@bounded(60)
async def test_a_task_may_wait_while_another_pauses(
    tmp_path: Path, locks: Path, attempt: str, environment: dict[str, str]
) -> None:
    async with await ReapedProcess.start(
        ["sleep", "300"], attempt=attempt, env=environment, cwd=tmp_path, lock=locks / "a.lock"
    ) as process:
        with anyio.move_on_after(0):
            await process.wait()  # a waiter that is cancelled hands the reading on
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(process.wait)
            tasks.start_soon(process.wait)
            await anyio.lowlevel.checkpoint()
            await process.pause()
            await process.resume()
            await process.kill()
        assert process.exit is not None
        assert process.exit.signal == signal.SIGKILL


@bounded(90)
async def test_a_fork_bomb_is_overtaken(tmp_path: Path, locks: Path, attempt: str, environment: dict[str, str]) -> None:
    # Bounded: every process is born with a generation, the 9th has no children, all die by themselves in 60 s.
    bomb = (
        "import os,time\nend=time.monotonic()+60\ngeneration=0\nprint('ready',flush=True)\n"
        "while time.monotonic()<end:\n"
        "    if generation<9 and os.fork()==0: generation+=1\n"
        "    else: time.sleep(0.01 if generation<9 else 0.05); generation+=1\n"
        "    if generation>=9: time.sleep(0.05)\n"
    )
    async with await ReapedProcess.start(
        [*PYTHON, bomb], attempt=attempt, env=environment, cwd=tmp_path, lock=locks / "a.lock"
    ) as process:
        assert await first_line(process) == "ready"
        await anyio.to_thread.run_sync(_until_crowded, attempt)
        ended = await process.kill()
        assert ended.confirmed
        assert ended.killed > 20
    assert marked(attempt) == set()


@pytest.mark.rule("E5")
@bounded(60)
async def test_a_reaper_that_is_killed_is_noticed_and_its_work_done(
    tmp_path: Path, locks: Path, attempt: str, environment: dict[str, str], daemons: list[str]
) -> None:
    async with await ReapedProcess.start(
        daemons, attempt=attempt, env=environment, cwd=tmp_path, lock=locks / "a.lock"
    ) as process:
        assert await first_line(process) == "ready"
        (reaper,) = [pid for pid in marked(attempt) if _is_reaper(pid)]
        os.kill(reaper, signal.SIGKILL)
        ended = await process.wait()
        assert (ended.code, ended.reaper_lost, ended.confirmed) == (None, True, True)
    assert {pid for pid in marked(attempt) if alive(pid)} == set()


@bounded(60)
async def test_output_and_time_are_bounded(
    tmp_path: Path, locks: Path, attempt: str, environment: dict[str, str]
) -> None:
    loud = await run_reaped(
        ["yes"], attempt=attempt, env=environment, cwd=tmp_path, lock=locks / "a.lock", timeout_s=30, max_output=100_000
    )
    assert (loud.truncated, loud.timed_out, len(loud.stdout), loud.exit.confirmed) == (True, False, 100_000, True)
    slow = await run_reaped(
        ["sleep", "300"], attempt=attempt, env=environment, cwd=tmp_path, lock=locks / "b.lock", timeout_s=0.3
    )
    assert (slow.timed_out, slow.exit.signal, slow.exit.confirmed) == (True, signal.SIGKILL, True)


@bounded(60)
async def test_what_cannot_be_started_says_why(
    tmp_path: Path, locks: Path, attempt: str, environment: dict[str, str]
) -> None:
    for argv, cwd in (
        (["/no/such/program"], tmp_path),
        ([str(tmp_path)], tmp_path),
        (["true"], tmp_path / "nowhere"),
        (["tr\0ue"], tmp_path),
    ):
        with pytest.raises(IsolationError) as caught:
            await run_reaped(argv, attempt=attempt, env=environment, cwd=cwd, lock=locks / "a.lock", timeout_s=9)
        assert caught.value.code == "launch_failed"
    assert marked(attempt) == set()


def _until_crowded(attempt: str) -> None:
    until(lambda: len(marked(attempt)) > 40)


def _is_reaper(pid: int) -> bool:
    return b"reaper.py" in Path(f"/proc/{pid}/cmdline").read_bytes()


def _state(pid: int) -> str:
    text = Path(f"/proc/{pid}/stat").read_text()
    return text[text.rindex(")") + 2]
