"""What a supervisor of this installation reaches the world through, filled with what there is to fill it."""

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from palmette.checks.runner import IsolatedChecks
from palmette.coordination.ports import Store
from palmette.coordination.supervisor.settings import Settings
from palmette.sandbox.gateway.prices import TablePrices
from palmette.sandbox.gateway.upstreams import Upstreams
from palmette.sandbox.harness.registry import Registry
from palmette.sandbox.isolation.unsafe_none import UnsafeNone
from palmette.sandbox.workspace.workspaces import GitWorkspaces
from palmette.servers.composition import Outside

__all__ = ["open_outside"]

logger = logging.getLogger(__name__)


@asynccontextmanager
async def open_outside(settings: Settings, store: Store) -> AsyncGenerator[Outside]:
    """The ports for one life of a supervisor: first whatever an earlier life left is ended and cleared away (E5)."""
    isolation = UnsafeNone(Path(settings.data, "reapers"))
    stale = await isolation.reap()
    if stale:
        logger.info("ended %d processes of an earlier life", len(stale))
    workspaces = GitWorkspaces(Path(settings.data, "workspaces"), isolation.command)
    await workspaces.sweep()
    checks = IsolatedChecks(isolation, workspaces, directory=Path(settings.data, "checks"))
    await checks.sweep()
    models = Upstreams()
    async with models.running():
        yield Outside(
            harnesses=Registry(isolation),
            workspaces=workspaces,
            checks=checks,
            prices=TablePrices(),
            models=models,
        )
