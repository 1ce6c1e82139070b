"""A disk that is really full: a small tmpfs in a mount namespace of its own, gone with the process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.require import require

ROOT = Path(__file__).parents[3]


def namespace() -> list[str]:
    """How to get a mount namespace here."""
    return ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]


@pytest.fixture
def mountable(tmp_path: Path) -> None:
    """Skip where nothing may be mounted, unless the environment says that nothing may be skipped."""
    tried = subprocess.run(
        [*namespace(), "mount", "-t", "tmpfs", "tmpfs", str(tmp_path)], capture_output=True, check=False, timeout=20
    )
    require("mount", tried.returncode == 0, f"nothing can be mounted: {tried.stderr.decode(errors='replace').strip()}")


@pytest.mark.usefixtures("mountable")
def test_on_a_full_disk_nothing_is_half_kept_and_with_space_it_goes_on(tmp_path: Path) -> None:
    script = 'mount -t tmpfs -o size=2m tmpfs "$1" && exec "$2" -m tests.integration.store.full_disk "$1"'
    done = subprocess.run(
        [*namespace(), "sh", "-c", script, "sh", str(tmp_path), sys.executable],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["before"] > 20
    # The first of those together may find room for itself; whoever shared the failed commit did not.
    assert told["together"] >= 30
    assert told["said"] == ["the disk is full"]
    assert told["kept"] is False
    assert told["left"] == []
    assert told["while_full"] is True
    assert told["after"] >= 10
    assert told["in_order"] is True
    assert told["events"] == told["acknowledged"]
    assert told["verified"] is True
