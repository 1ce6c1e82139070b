"""Connections to the one SQLite file, and what is known about the engine under them.

SQLite before 3.51.3 can corrupt a WAL database when two connections write or checkpoint at once (sqlite.org, "the
WAL-reset bug"). So exactly one connection writes and checkpoints; readers are opened read-only and can do neither; the
lock on `journal.lock` keeps a second supervisor out; nothing is memory-mapped.
"""

import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from palmette.coordination.errors import JournalCorrupt, JournalError, JournalUnwritable
from palmette.coordination.store.blobs import sync_directory

__all__ = [
    "JOURNAL",
    "WRITER_PRAGMAS",
    "EngineFacts",
    "connect_reader",
    "connect_writer",
    "engine_facts",
    "is_fatal",
    "lengthen_log",
    "set_up",
    "translated",
]

JOURNAL = "journal.db"
"""The file's name in a data directory."""

WRITER_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA mmap_size = 0",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA cache_size = -32000",
    # A long read keeps the log from being reset; it is cut back to 64 MiB at the next reset after that.
    "PRAGMA journal_size_limit = 67108864",
    "PRAGMA trusted_schema = OFF",
)
"""What the writing connection runs under. WAL with FULL syncs the log in each commit; NORMAL loses acknowledged events
at a power cut (measured), which the power loss tests keep as their control."""

_LOG_BYTES = 1100 * (4096 + 24)
"""What the log grows to before it is used from its beginning again: a checkpoint is due at 1,000 frames, and the commit
that brings it about may add some."""
_WAL_RESET_FIXED = (3, 51, 3)
_WITHDRAWN = (3, 52, 0)
_FULL, _IO, _READ_ONLY, _NO_MEMORY, _CANNOT_OPEN, _CORRUPT, _NOT_A_DATABASE = 13, 10, 8, 7, 14, 11, 26


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What doctor tells about SQLite.

    Attributes:
        version: of the library this Python is linked with.
        several_writers_safe: the WAL-reset bug is fixed in it; one writing connection does without.
    """

    version: str
    several_writers_safe: bool


def engine_facts() -> EngineFacts:
    """The SQLite under this process."""
    version = sqlite3.sqlite_version_info
    return EngineFacts(sqlite3.sqlite_version, version >= _WAL_RESET_FIXED and version != _WITHDRAWN)


def connect_writer(path: Path) -> sqlite3.Connection:
    """The one connection that will write; makes the file (0600) if there is none. Hold the directory's lock first.

    Nothing is changed in a file that is there: `schema.prepare` looks at it before anything else does.

    Raises:
        JournalCorrupt: the file lost its content, but not its log.
        JournalUnwritable: the disk refused.
    """
    log = path.with_name(path.name + "-wal")
    try:
        empty = not path.exists() or path.stat().st_size == 0
        if empty and log.exists() and log.stat().st_size > 0:
            # SQLite would take the empty file for a new database and delete the log, with all that is in it.
            raise _corrupt(path, "is empty or gone, but its log is not")
        if not path.exists():
            os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
            sync_directory(path.parent)
        return sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=512)
    except OSError as error:
        raise JournalUnwritable(f"{path} cannot be made: {error.strerror}", _room(path)) from error
    except sqlite3.Error as error:
        raise translated(error, path) from error


def set_up(connection: sqlite3.Connection, path: Path) -> None:
    """Give the writing connection its pragmas.

    Raises:
        JournalUnwritable: the disk refused, or its file system has no shared memory for the log.
    """
    try:
        for pragma in WRITER_PRAGMAS:
            connection.execute(pragma)
        mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
    except sqlite3.Error as error:
        raise translated(error, path) from error
    if mode != "wal":
        raise JournalUnwritable(
            f"SQLite cannot keep a write-ahead log on the disk of {path.parent}",
            "Use a data directory on a local file system (--data, PALMETTE_DATA).",
        )


def lengthen_log(path: Path) -> None:
    """Give the log of the database at `path` its size ahead of time; for the writer, once the tables are there.

    A sync of a file that grew also syncs where its blocks lie: until the log is as long as it ever gets, a commit would
    cost half as much again (274 beside 127 µs), and the log is deleted at each orderly end. SQLite takes the zeros for
    the end of the log. Where there is no room, the log stays as it is and grows as it must.
    """
    try:
        handle = os.open(path.with_name(path.name + "-wal"), os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        size = os.fstat(handle).st_size
        missing = bytes(max(_LOG_BYTES - size, 0))
        try:
            if os.pwrite(handle, missing, size) < len(missing):
                os.ftruncate(handle, size)
            os.fdatasync(handle)
        except OSError:
            os.ftruncate(handle, size)
    finally:
        os.close(handle)


def connect_reader(path: Path) -> sqlite3.Connection:
    """A connection that can neither write nor checkpoint.

    Raises:
        JournalCorrupt: the file is not a database.
        JournalError: `no_journal`: there is no file.
    """
    if not path.exists():
        raise JournalError(f"there is no journal at {path}", "`palmette up` begins one.", code="no_journal")
    connection = None
    try:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA query_only = 1")
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except sqlite3.Error as error:
        if connection is not None:
            connection.close()
        raise translated(error, path) from error
    return connection


def translated(error: sqlite3.Error, path: Path) -> JournalError:
    """The engine's error as one that says what to do."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (_CORRUPT, _NOT_A_DATABASE):
        return _corrupt(path, f"is damaged ({error})")
    what = "the disk is full" if code == _FULL else f"SQLite says: {error}"
    return JournalUnwritable(f"the journal {path} could not be written: {what}", _room(path))


def is_fatal(error: sqlite3.Error) -> bool:
    """Whether the error is the disk's or the file's, and so concerns the whole commit and not one command."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (_FULL, _IO, _READ_ONLY, _NO_MEMORY, _CANNOT_OPEN, _CORRUPT, _NOT_A_DATABASE)


def _corrupt(path: Path, what: str) -> JournalCorrupt:
    return JournalCorrupt(
        f"the journal {path} {what}",
        f"Nothing was changed. Copy {path.parent} away before anything else, then restore it from a backup.",
    )


def _room(path: Path) -> str:
    return f"Free some space on the disk of {path.parent} or make it writable; nothing has to be restarted."
