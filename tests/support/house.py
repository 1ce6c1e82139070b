"""A running supervisor over a store in memory, a clock that the test owns, and harnesses that do what the test says."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from palmette.coordination.identity import Visitor
from palmette.coordination.operator import Operator
from palmette.coordination.ports import Store
from palmette.coordination.store import MemoryStore
from palmette.coordination.supervisor.settings import Settings
from palmette.coordination.supervisor.supervisor import Supervisor
from palmette.coordination.verbs import RunOrder, Verbs
from tests.fakes.clock import CountingIds, ManualClock
from tests.fakes.harness import FakeHarness, FakeHarnesses
from tests.fakes.outside import FakeChecks, FakeModels, FakePrices, FakeWorkspaces

__all__ = ["House"]


class House:
    """Everything a test of the running tree reaches for. `running()` may be entered again: that is a restart."""

    def __init__(self, directory: Path, *, max_live: int = 8) -> None:
        self.clock = ManualClock()
        self.ids = CountingIds()
        self.store: Store = MemoryStore(self.clock)
        self.harnesses = FakeHarnesses()
        self.workspaces = FakeWorkspaces(directory)
        self.checks = FakeChecks()
        self.settings = Settings(data=directory, version="0", relay_argv=("relay",), max_live=max_live, grace_s=5.0)
        self.supervisor: Supervisor
        self.verbs: Verbs
        self.operator: Operator

    @asynccontextmanager
    async def running(self) -> AsyncGenerator["House"]:
        """A supervisor's life."""
        self.harnesses.made.clear()
        self.supervisor = Supervisor(
            self.settings,
            store=self.store,
            clock=self.clock,
            ids=self.ids,
            harnesses=self.harnesses,
            workspaces=self.workspaces,
            checks=self.checks,
            prices=FakePrices(),
            models=FakeModels(),
        )
        self.verbs = Verbs(self.supervisor)
        self.operator = Operator(self.supervisor)
        async with self.supervisor.running():
            yield self

    async def run(self, **order: Any) -> FakeHarness:
        """Start a driven root; its harness, once prompted."""
        given: dict[str, Any] = {"task": "Do it.", "repository": "/repository"}
        started = await self.operator.run(RunOrder(**(given | order)))
        return await self.harnesses.of(f"{started['node']}#1")

    async def spawn(self, parent: FakeHarness, label: str | None = None, **arguments: Any) -> FakeHarness:
        """Let a driver spawn; the child's harness, once prompted."""
        answer = await self.verbs.spawn(self.as_node(parent), None, task="Help.", label=label, **arguments)
        return await self.harnesses.of(f"{answer['node']}#1")

    def as_node(self, harness: FakeHarness) -> Visitor:
        """The visitor that a node's relay would be."""
        token = harness.launch.token_file.read_text()
        return Visitor(f"relay-of-{harness.launch.attempt}", token=token, harness="builtin")
