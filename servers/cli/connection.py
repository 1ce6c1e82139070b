"""How a command reaches the trees: through a running supervisor, else, to read, through the journal."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import anyio

from palmette.servers.cli.output import data_of
from palmette.servers.client import Client, connect

__all__ = ["ask"]

T = TypeVar("T")


def ask(data: Path | None, act: Callable[[Client], Awaitable[T]]) -> T:
    """Run `act` with a client of the data directory.

    Raises:
        PalmetteError: see `connect` and what `act` calls. PlaceError: the directories are unusable.
    """

    async def within() -> T:
        async with connect(data_of(data)) as client:
            return await act(client)

    return anyio.run(within)
