"""One supervisor per data directory: a lock that the kernel gives back when its holder dies."""

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from palmette.coordination.errors import JournalLocked, JournalUnwritable

__all__ = ["LOCK", "locked"]

LOCK = "journal.lock"
"""The file's name in a data directory. It holds the pid of its holder and is never deleted: a deleted lock file can be
held twice."""


@contextmanager
def locked(directory: Path) -> Generator[None]:
    """Hold the directory.

    Raises:
        JournalLocked: another process holds it.
        JournalUnwritable: the file cannot be made.
    """
    path = directory / LOCK
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise JournalUnwritable(f"{path} cannot be opened: {error.strerror}", "Make the directory yours.") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _taken(directory, handle) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(handle)


def _taken(directory: Path, handle: int) -> JournalLocked:
    said = os.pread(handle, 32, 0).decode("ascii", "replace").strip()
    who = f"the supervisor with pid {said}" if said.isdigit() else "another supervisor"
    return JournalLocked(
        f"{who} owns {directory}",
        "Use it as it is (`palmette tree`), end it with `palmette down`, or name another data directory.",
    )
