"""What an earlier life left (E5): reapers at work are waited for, what a killed reaper left is found and ended."""

import fcntl
import json
import os
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import anyio.to_thread

from palmette.sandbox.isolation.reaper import Process, descendants, process_table, read_process, send

__all__ = ["ATTEMPT_VARIABLE", "Record", "Stale", "end_survivors", "read_record", "reap_stale", "survivors"]

ATTEMPT_VARIABLE = "PALMETTE_ATTEMPT"
"""Set for every process of an attempt; how its processes are known when their reaper is gone."""

_POLL_S = 0.02
_KILL_BOUND_S = 10.0


@dataclass(frozen=True)
class Record:
    """What a reaper keeps in its lock file.

    Attributes:
        attempt: whose processes it holds.
        reaper: its pid.
        start: its start time in clock ticks since boot; nothing older can be its descendant.
        main: pid, and so session, of the command; 0 before it began.
        over: nothing was left when it ended.
    """

    attempt: str
    reaper: int
    start: int
    main: int
    over: bool


@dataclass(frozen=True)
class Stale:
    """One lock file of an earlier life, and what became of it.

    Attributes:
        attempt: as recorded; the file's name if the record was torn.
        outcome: `gone` (nothing was left), `ended` (its reaper finished while we waited), `killed` (by us), `held`
            (something could not be killed: `pids`; the file stays).
        pids: processes that were killed, or are held.
    """

    attempt: str
    outcome: Literal["gone", "ended", "killed", "held"]
    pids: tuple[int, ...] = ()


def read_record(text: bytes) -> Record | None:
    """Parse a lock file; None if it is empty or torn."""
    try:
        raw: object = json.loads(text)
    except ValueError:
        return None
    if not isinstance(raw, dict):
        return None
    fields = cast("Mapping[str, object]", raw)
    try:
        return Record(
            str(fields["attempt"]),
            int(cast("int", fields["reaper"])),
            int(cast("int", fields["start"])),
            int(cast("int", fields["main"])),
            fields["over"] is True,
        )
    except (KeyError, TypeError, ValueError):
        return None


def survivors(record: Record) -> list[Process]:
    """Return the living processes of that attempt: marked in their environment, in its session, or below such a one.

    A process that emptied its environment, left the session and lost its parent is not found; a cage's pid namespace
    is the answer to that, this is the answer where there is no cage.
    """
    table = {
        pid: process
        for pid, process in process_table().items()
        if process.start >= record.start and process.state not in "ZX" and pid not in (os.getpid(), record.reaper)
    }
    marker = f"{ATTEMPT_VARIABLE}={record.attempt}".encode()
    found = {
        pid
        for pid, process in table.items()
        if (record.main > 1 and process.session == record.main) or marker in _environment(pid)
    }
    found |= {process.pid for process in descendants(found | {record.reaper}, table)}
    return [table[pid] for pid in sorted(found) if pid in table]


def end_survivors(record: Record, *, bound_s: float = _KILL_BOUND_S) -> tuple[set[int], list[int]]:
    """Stop, then kill what is left of an attempt, until a pass finds nothing. Blocks up to `bound_s` seconds.

    Returns:
        The pids that were killed, and those that are still there.
    """
    killed: set[int] = set()
    deadline = time.monotonic() + bound_s
    while left := survivors(record):
        if time.monotonic() > deadline:
            return killed, [process.pid for process in left]
        for process in left:
            send(process, signal.SIGSTOP)
        for process in left:
            if send(process, signal.SIGKILL):
                killed.add(process.pid)
        time.sleep(_POLL_S)
    return killed, []


async def reap_stale(directory: Path, *, wait_s: float = 15.0) -> list[Stale]:
    """Make sure that nothing of an earlier life runs: one entry for each lock file in `directory`. Idempotent.

    To be called at a supervisor's start, before it starts anything.

    Args:
        directory: where reapers keep their lock files (`*.lock`).
        wait_s: seconds that a living reaper is given to finish by itself, once its supervisor is gone.
    """
    deadline = time.monotonic() + wait_s
    paths = await anyio.to_thread.run_sync(lambda: sorted(directory.glob("*.lock")))
    return [await anyio.to_thread.run_sync(_mend, path, deadline) for path in paths]


def _mend(path: Path, deadline: float) -> Stale:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:  # gone meanwhile, or a link or directory that no reaper of ours made
        return Stale(path.stem, "gone")
    try:
        waited = False
        while not (free := _try_lock(descriptor)) and time.monotonic() < deadline:
            waited = True
            time.sleep(_POLL_S)
        record = read_record(os.pread(descriptor, 4096, 0))
        if record is None or (free and record.over):
            # A torn record was never followed by a command: the record is written first.
            path.unlink(missing_ok=True)
            return Stale(record.attempt if record else path.stem, "ended" if waited else "gone")
        killed, left = end_survivors(record)
        if not free:  # the reaper itself hangs, or is stopped
            killed |= _kill_reaper(record)
            more, left = end_survivors(record)
            killed |= more
        if left:
            return Stale(record.attempt, "held", tuple(left))
        path.unlink(missing_ok=True)
        return Stale(record.attempt, "killed" if killed else "gone", tuple(sorted(killed)))
    finally:
        os.close(descriptor)


def _kill_reaper(record: Record) -> set[int]:
    reaper = read_process(record.reaper)
    if reaper is None or reaper.start != record.start or not send(reaper, signal.SIGKILL):
        return set()
    return {reaper.pid}


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _environment(pid: int) -> list[bytes]:
    with suppress(OSError):
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return []
