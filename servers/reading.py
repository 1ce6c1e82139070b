"""The journal of an installation whose supervisor is down: the reading half of the operator API over the file."""

import sqlite3
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import anyio
from anyio import to_thread
from starlette.routing import Route, Router

from palmette import __version__
from palmette.coordination.errors import PalmetteError
from palmette.coordination.events import Event
from palmette.coordination.operator import Operator
from palmette.coordination.ports import Transaction
from palmette.coordination.store.blobs import Blobs
from palmette.coordination.store.engine import JOURNAL, connect_reader, translated
from palmette.coordination.store.schema import version_of
from palmette.coordination.store.sqlite import BLOBS
from palmette.coordination.store.transaction import SqlReading, select_events
from palmette.coordination.supervisor.settings import Settings
from palmette.coordination.supervisor.supervisor import Supervisor
from palmette.coordination.tables import Reading
from palmette.coordination.timepieces import RandomIds, SystemClock
from palmette.coordination.values import TEXT_INLINE_BYTES, Text
from palmette.sandbox.isolation.unsafe_none import UnsafeNone
from palmette.sandbox.workspace.workspaces import GitWorkspaces
from palmette.servers.operator import operator_routes

__all__ = ["ReadOnlyStore", "journal_application"]

T = TypeVar("T")


class ReadOnlyStore:
    """Fills ports.Store over a journal that nobody writes; every writing method is refused with `supervisor_down`."""

    def __init__(self, directory: Path, connection: sqlite3.Connection) -> None:
        self._path = directory / JOURNAL
        self._connection = connection
        self._blobs = Blobs(directory / BLOBS)
        self._one_at_a_time = anyio.Lock()

    async def read(self, query: Callable[[Reading], T]) -> T:
        """See ports.Store."""
        return await self._run(lambda connection: query(SqlReading(connection)))

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
        return await self._run(query)

    async def text(self, value: Text) -> str:
        """See ports.Store."""
        return value if isinstance(value, str) else await to_thread.run_sync(self._blobs.text, value)

    def subscribe(self, receive: Callable[[Sequence[Event]], None]) -> Callable[[], None]:
        """Nothing will come: nobody writes."""
        return lambda: None

    async def transact(self, command: Callable[[Transaction], T]) -> T:
        """Refused."""
        raise _down()

    async def keep(self, text: str, *, inline: int = TEXT_INLINE_BYTES) -> Text:
        """Refused."""
        raise _down()

    async def _run(self, query: Callable[[sqlite3.Connection], T]) -> T:
        async with self._one_at_a_time:
            return await to_thread.run_sync(self._query, query)

    def _query(self, query: Callable[[sqlite3.Connection], T]) -> T:
        try:
            self._connection.execute("BEGIN")
            try:
                return query(self._connection)
            finally:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            raise translated(error, self._path) from error


class _StillOperator(Operator):
    """What a person may see of trees that nobody moves."""

    async def status(self) -> dict[str, Any]:
        """See Operator."""
        return {**await super().status(), "live": 0, "running": False}

    async def node(self, node_id: str, after: int | None = None, limit: int = 50) -> dict[str, Any]:
        """See Operator; an open node neither starts nor works while its supervisor is down: it is at rest."""
        told = await super().node(node_id, after=after, limit=limit)
        for row in (told, *told.get("children", ())):
            if row.get("state") == "starting":
                row["state"] = "at rest"
        return told


@asynccontextmanager
async def journal_application(data: str) -> AsyncGenerator[Router]:
    """The GET routes of the operator API, answered from the data directory's journal.

    Raises:
        JournalError: `no_journal`, `journal_newer`. JournalCorrupt: the file is no journal.
    """
    directory = Path(data)
    with closing(await to_thread.run_sync(_opened, directory)) as connection:
        # Only what writes reaches the ports that are left out, and no route of those is served.
        absent = cast(Any, None)
        supervisor = Supervisor(
            Settings(directory, __version__, ()),
            store=ReadOnlyStore(directory, connection),
            clock=SystemClock(),
            ids=RandomIds(),
            harnesses=absent,
            workspaces=GitWorkspaces(directory / "workspaces", UnsafeNone(directory / "reapers").command),
            checks=absent,
            prices=absent,
            models=absent,
        )
        routes = [
            route
            for route in operator_routes(_StillOperator(supervisor))
            if isinstance(route, Route) and "GET" in (route.methods or ())
        ]
        yield Router(routes, redirect_slashes=False)


def _opened(directory: Path) -> sqlite3.Connection:
    path = directory / JOURNAL
    connection = connect_reader(path)
    try:
        version_of(connection, path)
    except sqlite3.Error as error:
        connection.close()
        raise translated(error, path) from error
    except BaseException:
        connection.close()
        raise
    return connection


def _down() -> PalmetteError:
    return PalmetteError("no supervisor runs here", "palmette up", code="supervisor_down")
