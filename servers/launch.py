"""Starting a supervisor in the background for a person, and ending one."""

import fcntl
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, cast

from palmette.coordination.errors import PalmetteError
from palmette.servers import places

__all__ = ["START_S", "is_running", "recorded", "start", "wait_until_gone"]

START_S = 30.0
"""Seconds that a supervisor may take to come up: a cold one takes about 1, with a million events 3."""

_LOOK_EVERY_S = 0.03


def start(data: str, arguments: Sequence[str] = ()) -> dict[str, Any]:
    """Start a supervisor that is nobody's child, with this environment, and return its record once it serves.

    If another comes first, that one's record is returned.

    Raises:
        PalmetteError: what the supervisor said as it ended; `start_timeout`.
        PlaceError: the data directory cannot be used.
    """
    places.ensure_data_directory(data)
    log = places.supervisor_log(data)
    begun = _size(log)
    command = [sys.executable, "-m", "palmette", "up", "--foreground", "--json", "--data", data, *arguments]
    ended = _launch(command, log)
    try:
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            # The record is written when every road is served.
            if is_running(data) and (record := recorded(data)):
                return record
            if select.select([ended], [], [], _LOOK_EVERY_S)[0] and not is_running(data):
                raise _last_error(log, begun)
    finally:
        os.close(ended)
    raise PalmetteError(f"the supervisor did not come up within {START_S:.0f} s", f"see {log}", code="start_timeout")


def is_running(data: str) -> bool:
    """Whether a supervisor owns the data directory (R2: it holds the lock for its whole life)."""
    try:
        descriptor = os.open(places.supervisor_lock(data), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def recorded(data: str) -> dict[str, Any]:
    """What the running supervisor wrote of itself (pid, version, addresses); empty before it serves."""
    with suppress(OSError, ValueError), open(os.path.join(data, "supervisor.json"), encoding="utf-8") as file:
        found: object = json.load(file)
        if isinstance(found, dict):
            return cast(dict[str, Any], found)
    return {}


def wait_until_gone(data: str, seconds: float, pid: int | None = None) -> bool:
    """Whether the supervisor lets go of the data directory, and its process ends, within so many seconds.

    `pid` is its process, as recorded before it was asked to go; None waits for the directory alone.
    """
    end = time.monotonic() + seconds
    while is_running(data):
        if time.monotonic() > end:
            return False
        time.sleep(_LOOK_EVERY_S)
    return pid is None or _ended(pid, max(end - time.monotonic(), 0))


def _ended(pid: int, seconds: float) -> bool:
    if sys.platform != "linux":
        return True
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        # Readable at its end, also while nobody has reaped it.
        return bool(select.select([process], [], [], seconds)[0])
    finally:
        os.close(process)


def _launch(command: Sequence[str], log: str) -> int:
    """Double fork, so that no shell or harness that ends its descendants ends this one (R1).

    Returns a descriptor whose end of file says that the process has ended.
    """
    read, write = os.pipe()
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    errors = os.open(log, flags, 0o600)
    child = os.fork()
    if child:
        os.close(write)
        os.close(errors)
        _, status = os.waitpid(child, 0)
        if status:
            os.close(read)
            raise PalmetteError(f"{command[0]} cannot be started", "palmette doctor", code="start_failed")
        return read
    code = 1
    try:
        subprocess.Popen(  # the grandchild outlives us on purpose
            command,
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
            cwd="/",
            env=_environment(os.environ),
            start_new_session=True,
            pass_fds=(write,),
        )
        code = 0
    finally:
        os._exit(code)


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The person's own (DESIGN §2), but for what belongs to an agent's attempt."""
    return {name: value for name, value in environ.items() if name != "PALMETTE_TOKEN"}


def _last_error(log: str, begun: int) -> PalmetteError:
    """The error that the supervisor wrote as JSON in its last line, or that line."""
    with suppress(OSError), open(log, "rb") as file:
        file.seek(max(begun, _size(log) - 8192))
        lines = file.read(8192).decode(errors="replace").strip().splitlines()
        with suppress(ValueError, KeyError, TypeError, IndexError):
            told = json.loads(lines[-1])["error"]
            return PalmetteError(str(told["message"]), str(told["hint"]), code=str(told["kind"]))
        if lines:
            return PalmetteError(f"the supervisor ended while starting: {lines[-1]}", f"see {log}", code="start_failed")
    if places.is_full(os.path.dirname(log)):  # then there was no room for its last words either
        return PalmetteError(
            f"the disk of {os.path.dirname(log)} is full", "free space or give --data DIR", code="disk_full"
        )
    return PalmetteError("the supervisor ended while starting", f"see {log}", code="start_failed")


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0
