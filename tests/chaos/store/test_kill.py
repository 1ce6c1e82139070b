"""kill -9 in the middle of everything. (This tests our transactions, not the disk: even without a sync it passes.)"""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from palmette.coordination.store import verify

ROOT = Path(__file__).parents[3]
TRIALS = 8


@pytest.mark.rule("E5")
def test_whatever_was_acknowledged_is_there_after_a_kill_and_nothing_is_half_there(tmp_path: Path) -> None:
    moments = random.Random(20261125)  # noqa: S311
    acknowledged: set[int] = set()
    for _ in range(TRIALS):
        log = tmp_path / "acknowledged"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.store.appender", str(tmp_path / "data")], cwd=ROOT, stdout=out
            )
        try:
            end = time.monotonic() + 30
            while log.stat().st_size == 0:
                assert process.poll() is None
                assert time.monotonic() < end
                time.sleep(0.005)
            # Somewhere in the next fifth of a second: the moment is what is being tried.
            time.sleep(moments.uniform(0, 0.2))
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait(20)
        told = log.read_bytes()
        acknowledged |= {int(line) for line in told.splitlines()}
        report = verify(tmp_path / "data")
        assert report.ok, report
        # Three events of the beginning, then two per command.
        assert report.events % 2 == 1
        assert report.last_seq == report.events >= max(acknowledged)
    assert len(acknowledged) > 50 * TRIALS
