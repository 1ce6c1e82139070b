"""The store on SQLite: one writer thread, read-only readers on worker threads, long texts as files beside it."""

import asyncio
import os
import sqlite3
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import anyio
from anyio import CapacityLimiter, to_thread

from palmette.coordination.errors import JournalUnwritable
from palmette.coordination.events import Event
from palmette.coordination.ports import Clock, Transaction
from palmette.coordination.store.blobs import Blobs, fits_inline, well_formed
from palmette.coordination.store.engine import JOURNAL, connect_reader, connect_writer, translated
from palmette.coordination.store.lock import locked
from palmette.coordination.store.schema import prepare
from palmette.coordination.store.subscribers import Subscribers
from palmette.coordination.store.transaction import SqlReading, select_events
from palmette.coordination.store.writer import Journal, Writer
from palmette.coordination.tables import Reading
from palmette.coordination.values import TEXT_INLINE_BYTES, Blob, Text

__all__ = ["BLOBS", "SqliteStore"]

T = TypeVar("T")

BLOBS = "blobs"
"""The directory of long texts in a data directory."""
READERS = 4
"""How many queries run at once."""


class SqliteStore:
    """Fills ports.Store; made by `open`."""

    def __init__(self, writer: Writer, readers: "_Readers", blobs: Blobs, subscribers: Subscribers) -> None:
        self._writer = writer
        self._readers = readers
        self._blobs = blobs
        self._subscribers = subscribers

    @classmethod
    @asynccontextmanager
    async def open(cls, directory: Path, clock: Clock) -> AsyncGenerator["SqliteStore"]:
        """The store of a data directory, which is made (0700) if it is not there; everything queued is done at the end.

        Nothing is replayed: the tables are as the last commit left them.

        Raises:
            JournalLocked: another process owns the directory.
            JournalCorrupt: the file is not a journal; nothing was changed.
            JournalError: `journal_newer`.
            JournalUnwritable: the disk refused.
        """
        _make_private(directory)
        path = directory / JOURNAL
        with locked(directory):
            journal = await to_thread.run_sync(_open_journal, path, clock)
            subscribers = Subscribers()
            writer = Writer(journal, asyncio.get_running_loop(), subscribers)
            readers = _Readers(path)
            writer.start()
            try:
                yield cls(writer, readers, Blobs(directory / BLOBS), subscribers)
            finally:
                with anyio.CancelScope(shield=True):
                    await to_thread.run_sync(readers.close)
                    await to_thread.run_sync(writer.finish)

    async def transact(self, command: Callable[[Transaction], T]) -> T:
        """See ports.Store. It cannot be cancelled in the middle: who began a command learns what became of it."""
        return await self._writer.run(command)

    async def read(self, query: Callable[[Reading], T]) -> T:
        """See ports.Store."""
        return await self._readers.run(lambda connection: query(SqlReading(connection)))

    async def events(
        self,
        *,
        after: int = 0,
        limit: int = 500,
        tree: str | None = None,
        node: str | None = None,
        kinds: Sequence[str] = (),
        newest: bool = False,
    ) -> list[Event]:
        """See ports.Store."""
        query = partial(select_events, after=after, limit=limit, tree=tree, node=node, kinds=kinds, newest=newest)
        return await self._readers.run(query)

    def subscribe(self, receive: Callable[[Sequence[Event]], None]) -> Callable[[], None]:
        """See ports.Store."""
        return self._subscribers.add(receive)

    async def keep(self, text: str, *, inline: int = TEXT_INLINE_BYTES) -> Text:
        """See ports.Store. Lone surrogates become U+FFFD.

        Raises:
            JournalUnwritable: the disk refused.
        """
        text = well_formed(text)
        if fits_inline(text, inline):
            return text
        return await to_thread.run_sync(self._blobs.keep, text)

    async def text(self, value: Text) -> str:
        """See ports.Store.

        Raises:
            JournalCorrupt: the file is missing or is not what was written.
        """
        return value if isinstance(value, str) else await to_thread.run_sync(self._blobs.text, value)

    async def redact(self, value: Blob) -> None:
        """Delete a text for good and leave the events that name it; the same text is not kept again.

        Raises:
            JournalUnwritable: the disk refused.
        """
        await to_thread.run_sync(self._blobs.redact, value)


class _Readers:
    """Read-only connections, made when needed and used again; each query sees one snapshot."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: list[sqlite3.Connection] = []
        self._limiter = CapacityLimiter(READERS)
        self._closed = False

    async def run(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run a query on a worker thread."""
        return await to_thread.run_sync(self._run, query, limiter=self._limiter)

    def _run(self, query: Callable[[sqlite3.Connection], T]) -> T:
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = connect_reader(self._path)
        try:
            connection.execute("BEGIN")
            try:
                return query(connection)
            finally:
                connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            raise translated(error, self._path) from error
        finally:
            if self._closed:
                connection.close()
            else:
                self._idle.append(connection)

    def close(self) -> None:
        """Before the writer closes, so that it is the last and can fold the log into the database."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()


def _open_journal(path: Path, clock: Clock) -> Journal:
    connection = connect_writer(path)
    try:
        prepare(connection, path, clock.now())
        return Journal(connection, path, clock)
    except BaseException:
        connection.close()
        raise


def _make_private(directory: Path) -> None:
    """Make the directory, or take away what others may do in it.

    Raises:
        JournalUnwritable: it cannot be made or is not ours.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if directory.stat().st_mode & 0o077:
            os.chmod(directory, 0o700)
    except OSError as error:
        raise JournalUnwritable(
            f"the data directory {directory} cannot be used: {error.strerror}",
            "Name a directory of your own (--data, PALMETTE_DATA).",
        ) from error
