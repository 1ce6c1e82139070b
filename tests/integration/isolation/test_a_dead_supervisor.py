"""E5: `kill -9` at any point leaves no process of the old life."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from palmette.sandbox.isolation.stale import Record, end_survivors, read_record, reap_stale
from tests.support.bounded import bounded
from tests.support.listing import names
from tests.support.polling import until
from tests.support.survivors import alive, marked

pytestmark = pytest.mark.anyio

PROGRAM = Path(__file__).with_name("supervisor_program.py")


@contextmanager
def supervisor(lock: Path, attempt: str, argv: list[str]) -> Generator[subprocess.Popen[bytes]]:
    """A supervisor process of its own; killed at the end if the test did not."""
    with subprocess.Popen(
        [sys.executable, str(PROGRAM), str(lock), attempt, *argv], stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def say(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def reaper_of(lock: Path) -> Record:
    record = read_record(lock.read_bytes())
    assert record is not None
    return record


@pytest.mark.rule("E5")
@pytest.mark.parametrize("seed", range(8))
def test_no_process_is_left_whenever_the_supervisor_is_killed(
    locks: Path, attempt: str, daemons: list[str], seed: int
) -> None:
    lock = locks / "a.lock"
    with supervisor(lock, attempt, daemons) as process:
        assert say(process) == b"started"
        # Into the middle of the forking: none, some or all of the daemons are there.
        time.sleep(random.Random(seed).uniform(0, 0.12))  # noqa: S311
        process.kill()
        process.wait()
        until(lambda: marked(attempt) == set(), timeout=20)
        assert reaper_of(lock).over


@pytest.mark.rule("E5")
@bounded(60)
async def test_the_next_life_waits_for_a_reaper_still_at_work(locks: Path, attempt: str, daemons: list[str]) -> None:
    with supervisor(locks / "a.lock", attempt, daemons) as process:
        assert (say(process), say(process)) == (b"started", b"ready")
        process.kill()
        (stale,) = await reap_stale(locks)
        assert (stale.attempt, stale.outcome) == (attempt, "ended")
        assert marked(attempt) == set(), "at the very moment it returns"
    assert names(locks) == []
    assert await reap_stale(locks) == []


@pytest.mark.rule("E5")
@bounded(60)
async def test_the_next_life_mends_what_a_killed_reaper_left(locks: Path, attempt: str, daemons: list[str]) -> None:
    lock = locks / "a.lock"
    with supervisor(lock, attempt, daemons) as process:
        assert (say(process), say(process)) == (b"started", b"ready")
        process.send_signal(signal.SIGSTOP)  # so that it cannot mend by itself
        os.kill(reaper_of(lock).reaper, signal.SIGKILL)
        process.kill()
        process.wait()
        main = reaper_of(lock).main
        assert alive(main)
        (stale,) = await reap_stale(locks)
        assert (stale.attempt, stale.outcome) == (attempt, "killed")
        assert main in stale.pids
        assert len(stale.pids) == 5, "the command, three daemons by their mark, an unmarked child by its descent"
        assert marked(attempt) == set()


@pytest.mark.rule("E5")
@bounded(60)
async def test_a_reaper_that_was_stopped_is_ended_with_all_it_held(
    locks: Path, attempt: str, daemons: list[str]
) -> None:
    lock = locks / "a.lock"
    with supervisor(lock, attempt, daemons) as process:
        assert (say(process), say(process)) == (b"started", b"ready")
        os.kill(reaper_of(lock).reaper, signal.SIGSTOP)
        process.kill()
        process.wait()
        (stale,) = await reap_stale(locks, wait_s=0.2)
        assert stale.outcome == "killed"
        assert len(stale.pids) == 6, "and the reaper itself"
        assert marked(attempt) == set()


def test_no_process_of_another_attempt_or_older_than_the_record_is_touched(attempt: str) -> None:
    environment = {"PATH": "/usr/bin:/bin", "PALMETTE_ATTEMPT": attempt}
    with ExitStack() as stack:
        bystander = stack.enter_context(
            subprocess.Popen(["sleep", "60"], env=environment | {"PALMETTE_ATTEMPT": attempt + "0"})
        )
        older = stack.enter_context(subprocess.Popen(["sleep", "60"], env=environment))
        stack.callback(bystander.kill)
        stack.callback(older.kill)
        ticks = time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK")
        record = Record(attempt, 2**22 - 1, int(ticks) + 2, 0, over=False)
        assert end_survivors(record) == (set(), [])
        assert end_survivors(Record(attempt, 2**22 - 1, 0, 0, over=False))[0] == {older.pid}
        assert bystander.poll() is None


@bounded(60)
async def test_a_torn_or_finished_record_is_cleared_and_a_link_is_not_followed(locks: Path, tmp_path: Path) -> None:
    (locks / "torn.lock").write_bytes(b'{"attempt": "t1/')
    (locks / "done.lock").write_bytes(b'{"attempt": "t1/0#1", "reaper": 1, "start": 1, "main": 1, "over": true}\n')
    (tmp_path / "elsewhere").write_bytes(b"{}")
    (locks / "link.lock").symlink_to(tmp_path / "elsewhere")
    outcomes = {stale.attempt: stale.outcome for stale in await reap_stale(locks)}
    assert outcomes == {"link": "gone", "torn": "gone", "t1/0#1": "gone"}
    assert names(locks) == ["link.lock"]
    assert (tmp_path / "elsewhere").exists()
