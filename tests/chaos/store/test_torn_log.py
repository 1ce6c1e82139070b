"""A log whose end is torn: what is found is exactly what was committed before, with this system's own SQLite."""

import os
import random
import shutil
from pathlib import Path

import pytest

from palmette.coordination.store import verify
from palmette.coordination.store.engine import connect_writer
from palmette.coordination.store.schema import prepare
from palmette.coordination.store.writer import Journal
from tests.fakes.clock import ManualClock
from tests.support import drafts

COMMITS = 60
IMAGES = 60


@pytest.mark.parametrize("harm", ["cut off", "garbage", "one bit"])
def test_a_torn_log_is_as_good_as_what_is_whole_of_it(tmp_path: Path, harm: str) -> None:
    path = tmp_path / "journal.db"
    connection = connect_writer(path)
    prepare(connection, path, 1)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    journal = Journal(connection, path, ManualClock())
    log = tmp_path / "journal.db-wal"
    journal.run([lambda tx: tx.append(drafts.opened())])
    journal.run([lambda tx: tx.append(drafts.spawned("t1/0"))])
    ends = [0, log.stat().st_size]
    for number in range(COMMITS):
        journal.run([lambda tx, n=number: tx.append(drafts.note("t1/0", "x" * (37 * n)))])
        ends.append(log.stat().st_size)
    whole, database = log.read_bytes(), path.read_bytes()
    journal.close()
    chance = random.Random(harm)  # noqa: S311
    for image in range(IMAGES):
        torn = bytearray(whole)
        at = chance.randrange(ends[1], len(torn))
        if harm == "cut off":
            del torn[at:]
        elif harm == "garbage":
            torn[at:] = os.urandom(len(torn) - at)
        else:
            torn[at] ^= 1 << chance.randrange(8)
        directory = tmp_path / f"image-{image}"
        directory.mkdir()
        (directory / "journal.db").write_bytes(database)
        (directory / "journal.db-wal").write_bytes(torn)
        report = verify(directory)
        assert report.ok
        assert report.events == sum(1 for end in ends if end <= at)
        shutil.rmtree(directory)
