"""The store in memory: the same protocol and the same answers, for tests of commands and for dry decisions.

Nothing outlives the object. What the disk would check (a known kind, an event's size) is checked here too, and events
go through their stored form, so that a command that works here works on disk.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import anyio.lowlevel

from palmette.coordination import fold
from palmette.coordination.events import Draft, Event
from palmette.coordination.ports import Clock, Transaction
from palmette.coordination.records import Record
from palmette.coordination.store.blobs import REDACTED, fits_inline, well_formed
from palmette.coordination.store.journal import event_of, row_of, seal
from palmette.coordination.store.subscribers import Subscribers
from palmette.coordination.tables import MemoryTables, Reading, key_of
from palmette.coordination.values import TEXT_INLINE_BYTES, Blob, Text

__all__ = ["MemoryStore"]

T = TypeVar("T")
R = TypeVar("R", bound=Record)


class MemoryStore:
    """Fills ports.Store without a disk."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tables = MemoryTables()
        self._events: list[Event] = []
        self._texts: dict[str, str] = {}
        self._subscribers = Subscribers()

    async def transact(self, command: Callable[[Transaction], T]) -> T:
        """See ports.Store."""
        transaction = _MemoryTransaction(self._tables, len(self._events), self._clock.now())
        try:
            result = command(transaction)
        except BaseException:
            transaction.undo()
            raise
        finally:
            transaction.open = False
        self._events.extend(transaction.appended)
        self._subscribers.tell(transaction.appended)
        await anyio.lowlevel.cancel_shielded_checkpoint()
        return result

    async def read(self, query: Callable[[Reading], T]) -> T:
        """See ports.Store."""
        result = query(self._tables)
        await anyio.lowlevel.checkpoint()
        return result

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
        await anyio.lowlevel.checkpoint()
        chosen = [
            event
            for event in self._events[max(after, 0) :]
            if (tree is None or event.tree == tree)
            and (node is None or (event.node is not None and (event.node + ".").startswith(node + ".")))
            and (not kinds or event.kind in kinds)
        ]
        limit = max(limit, 0)
        return chosen[len(chosen) - min(limit, len(chosen)) :] if newest else chosen[:limit]

    def subscribe(self, receive: Callable[[Sequence[Event]], None]) -> Callable[[], None]:
        """See ports.Store."""
        return self._subscribers.add(receive)

    async def keep(self, text: str, *, inline: int = TEXT_INLINE_BYTES) -> Text:
        """See ports.Store."""
        await anyio.lowlevel.checkpoint()
        text = well_formed(text)
        if fits_inline(text, inline):
            return text
        content = text.encode()
        blob = Blob(hashlib.sha256(content).hexdigest(), len(content))
        self._texts.setdefault(blob.sha256, text)
        return blob

    async def text(self, value: Text) -> str:
        """See ports.Store."""
        await anyio.lowlevel.checkpoint()
        return value if isinstance(value, str) else self._texts[value.sha256]

    async def redact(self, value: Blob) -> None:
        """See SqliteStore.redact."""
        await anyio.lowlevel.checkpoint()
        self._texts[value.sha256] = REDACTED


class _MemoryTransaction:
    """One command's view, which remembers how to take back what it changed."""

    def __init__(self, tables: MemoryTables, last_seq: int, at: int) -> None:
        self._tables = tables
        self._last_seq = last_seq
        self._at = at
        self._changes: list[tuple[type[Record], str, Record | None]] = []
        self.appended: list[Event] = []
        self.open = True

    def get(self, kind: type[R], key: str) -> R | None:
        return self._tables.get(kind, key)

    def find(self, kind: type[R], **equals: Any) -> list[R]:
        return self._tables.find(kind, **equals)

    def all(self, kind: type[R]) -> Any:
        return iter(list(self._tables.all(kind)))

    def put(self, record: Record) -> None:
        self._remember(type(record), key_of(record))
        self._tables.put(record)

    def delete(self, kind: type[Record], key: str) -> None:
        self._remember(kind, key)
        self._tables.delete(kind, key)

    def append(self, draft: Draft) -> Event:
        if not self.open:
            raise RuntimeError("the command is over: nothing can be appended any more")
        event, data = seal(draft, self.next_seq(), self._at, self._tables)
        stored = event_of(row_of(event, data))
        self.appended.append(stored)
        fold.apply(self, stored)
        return stored

    def now(self) -> int:
        return self._at

    def next_seq(self) -> int:
        return self._last_seq + len(self.appended) + 1

    def undo(self) -> None:
        """Take everything back, the last change first."""
        for kind, key, old in reversed(self._changes):
            if old is None:
                self._tables.delete(kind, key)
            else:
                self._tables.put(old)

    def _remember(self, kind: type[Record], key: str) -> None:
        if not self.open:
            raise RuntimeError("the command is over: nothing can be changed any more")
        self._changes.append((kind, key, self._tables.get(kind, key)))
