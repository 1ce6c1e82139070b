"""The journal's one writer: commands run one after another, and many share one commit.

`Journal` is the plain part: a connection and a way to run a batch of commands. `Writer` is the thread around it. A
durable commit costs a sync of the disk (a fifth of a millisecond at best), a command some tens of microseconds, so
whatever has queued up during one sync goes into the next.
"""

import os
import sqlite3
import threading
from asyncio import AbstractEventLoop, CancelledError, Future
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import inf
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from anyio import CancelScope, current_effective_deadline

from palmette.coordination.errors import JournalError, JournalUnwritable
from palmette.coordination.events import Event
from palmette.coordination.ports import Clock, Transaction
from palmette.coordination.store.engine import is_fatal, translated
from palmette.coordination.store.subscribers import Subscribers
from palmette.coordination.store.transaction import RecordCache, SqlTransaction, new_cache

__all__ = ["BATCH", "Command", "Journal", "Outcome", "Writer"]

BATCH = 512
"""The most commands that share a commit."""
CACHED = 20_000
"""When more records than this are in the cache, it is emptied."""

Command = Callable[[Transaction], Any]
Outcome = tuple[Any, BaseException | None]
"""What a command returned, or what it raised."""


class Journal:
    """Runs batches of commands on the writing connection. For one thread at a time.

    Args:
        connection: with no transaction open, the tables made.
        path: the file, for messages.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path, clock: Clock) -> None:
        self._connection = connection
        self._path = path
        self._clock = clock
        self._cache: RecordCache = new_cache()
        self._last_seq = self._newest()

    def run(self, commands: Sequence[Command]) -> tuple[list[Outcome], list[Event]]:
        """Run the commands in order and commit; returns once it is on the disk.

        A command that raises takes back what it did, and nothing else.

        Raises:
            JournalUnwritable: the disk refused; nothing of the batch was kept, not even its refusals: they were
                decided on a state that is no more.
            JournalCorrupt: the file is damaged.
        """
        if sum(map(len, self._cache.values())) > CACHED:
            self._cache = new_cache()
        execute = self._connection.execute
        before = self._last_seq
        outcomes: list[Outcome] = []
        events: list[Event] = []
        try:
            execute("BEGIN IMMEDIATE")
            for command in commands:
                outcomes.append(self._one(command, events, alone=len(commands) == 1))
            if self._connection.in_transaction:
                execute("COMMIT")
        except sqlite3.Error as error:
            self._abandon(before)
            raise translated(error, self._path) from error
        except BaseException:
            self._abandon(before)
            raise
        return outcomes, events

    def _one(self, command: Command, events: list[Event], *, alone: bool) -> Outcome:
        at = self._clock.now()
        transaction = SqlTransaction(self._connection, self._cache, self._last_seq, at, savepoint=not alone)
        try:
            result = command(transaction)
        except BaseException as error:
            transaction.open = False
            if isinstance(error, sqlite3.Error) and is_fatal(error):
                raise
            self._still_in_transaction()
            transaction.undo()
            return None, error
        self._still_in_transaction()
        transaction.close()
        self._last_seq = transaction.next_seq() - 1
        events.extend(transaction.appended)
        return result, None

    def _still_in_transaction(self) -> None:
        """On a full disk the engine may take everything back by itself, whatever the command made of the error."""
        if not self._connection.in_transaction:
            raise sqlite3.OperationalError("the transaction was rolled back under a command")

    def _abandon(self, last_seq: int) -> None:
        self._cache = new_cache()
        self._last_seq = last_seq
        if self._connection.in_transaction:
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")

    def _newest(self) -> int:
        """The highest seq ever given, also if its event were gone."""
        query = "SELECT max((SELECT coalesce(max(seq), 0) FROM event), coalesce((SELECT seq FROM sqlite_sequence), 0))"
        return self._connection.execute(query).fetchone()[0]

    def close(self) -> None:
        """Close the connection; the last one to close moves the log into the database."""
        self._connection.close()


class _Ticket:
    """A command on its way, and what became of it; only the event loop looks at the latter two."""

    __slots__ = ("command", "future", "outcome")

    def __init__(self, command: Command, future: "Future[None]") -> None:
        self.command = command
        self.future = future
        self.outcome: Outcome | None = None


class Writer:
    """The thread that runs a journal for an event loop.

    Each batch comes back to the loop in one call: its events to the subscribers first, then its results to the
    callers, so that nobody sees an event before it is on the disk (E1), and a caller finds that it was told.
    """

    def __init__(self, journal: Journal, loop: AbstractEventLoop, subscribers: Subscribers) -> None:
        self._journal = journal
        self._loop = loop
        self._subscribers = subscribers
        self._queue: SimpleQueue[_Ticket | None] = SimpleQueue()
        self._done: deque[tuple[list[_Ticket], list[Outcome], list[Event]]] = deque()
        self._thread = threading.Thread(target=self._work, name="palmette-journal", daemon=True)
        self._closed = False
        # The loop's own way to be called from a thread costs 10 µs more, a tenth of all that is not the disk's.
        self._woken, self._wake = os.pipe()

    def start(self) -> None:
        """Begin to work. On the event loop."""
        self._loop.add_reader(self._woken, self._hear)
        self._thread.start()

    async def run(self, command: Command) -> Any:
        """What the command returns, or raises, once it is durable. On the event loop only.

        A cancelled caller still learns what became of its command; it meets the cancellation at its next wait. A
        shield around each wait would say the same, for a tenth of the price of the whole append.

        Raises:
            JournalUnwritable: the store is closed, or the disk refused.
        """
        if self._closed:
            raise JournalUnwritable("the store is closed", "`palmette up` opens it again.")
        ticket = _Ticket(command, self._loop.create_future())
        self._queue.put(ticket)
        try:
            await ticket.future
        except CancelledError:
            with CancelScope(shield=True):
                if ticket.outcome is None:
                    ticket.future = self._loop.create_future()
                    await ticket.future
            if current_effective_deadline() != -inf:
                # Not a scope's, which would cancel again, but the task's own, which comes once.
                raise
        result, error = ticket.outcome or (None, None)
        if error is None:
            return result
        try:
            raise error
        finally:
            # Its traceback holds this frame: nothing here may hold it.
            del error, ticket

    def finish(self) -> None:
        """Take nothing more; blocks until everything queued is done. Call it off the loop."""
        self._closed = True
        self._queue.put(None)
        self._thread.join()
        self._loop.call_soon_threadsafe(self._detach)
        self._journal.close()

    def _work(self) -> None:
        last = False
        while not last:
            first = self._queue.get()
            if first is None:
                return
            batch = [first]
            while len(batch) < BATCH:
                try:
                    item = self._queue.get_nowait()
                except Empty:
                    break
                if item is None:
                    last = True
                    break
                batch.append(item)
            self._done.append((batch, *self._run([ticket.command for ticket in batch])))
            os.write(self._wake, b".")

    def _run(self, commands: list[Command]) -> tuple[list[Outcome], list[Event]]:
        try:
            return self._journal.run(commands)
        except JournalError as error:
            return [(None, _again(error)) for _ in commands], []
        except BaseException as error:
            # Whatever it is, callers must not wait for ever.
            wrapped = JournalError(f"the journal's writer failed: {error!r}")
            wrapped.__cause__ = error
            return [(None, _again(wrapped)) for _ in commands], []

    def _hear(self) -> None:
        os.read(self._woken, 4096)
        self._deliver()

    def _deliver(self) -> None:
        while self._done:
            batch, outcomes, events = self._done.popleft()
            self._subscribers.tell(events)
            for ticket, outcome in zip(batch, outcomes, strict=True):
                ticket.outcome = outcome
                if not ticket.future.done():
                    ticket.future.set_result(None)

    def _detach(self) -> None:
        self._deliver()
        self._loop.remove_reader(self._woken)
        os.close(self._woken)
        os.close(self._wake)


def _again(error: JournalError) -> JournalError:
    """One exception for each caller: a shared one would gather the tracebacks of them all."""
    copy = type(error)(error.message, error.hint, code=error.code)
    copy.__cause__ = error
    return copy
