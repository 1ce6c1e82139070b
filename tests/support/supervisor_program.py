"""A real supervisor process over harnesses that do nothing: `-m tests.support.supervisor_program DATA PORT IDLE`."""

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import anyio

from palmette.coordination.errors import PalmetteError
from palmette.coordination.ports import Store
from palmette.coordination.supervisor.settings import Settings
from palmette.servers.composition import Outside, supervise
from tests.fakes.harness import FakeHarnesses
from tests.fakes.outside import FakeChecks, FakeModels, FakePrices, FakeWorkspaces

__all__ = ["main"]


@asynccontextmanager
async def _outside(settings: Settings, store: Store) -> AsyncGenerator[Outside]:
    workspaces = FakeWorkspaces(settings.data / "work")
    yield Outside(FakeHarnesses(), workspaces, FakeChecks(), FakePrices(), FakeModels())


def main(argv: list[str]) -> int:
    """Run until a signal, or until it has been idle for the third argument's seconds."""
    data, port, idle = argv[0], int(argv[1]) if argv[1:] else 0, float(argv[2]) if argv[2:] else 900.0
    settings = Settings(data=Path(data), version="0.1.0", relay_argv=())
    run = partial(supervise, settings, port=port, idle_exit_s=idle, open_outside=_outside, operator_routes=lambda _: [])
    try:
        anyio.run(run)
    except PalmetteError as error:
        print(f"{error.code}: {error.message}: {error.hint}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
