"""The other ports of a supervisor, for tests of what it does between them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import anyio

from palmette.coordination.errors import Refused
from palmette.coordination.ports import Collected, ModelCall
from palmette.coordination.values import Usage, Verdict

__all__ = ["FakeChecks", "FakeModels", "FakePrices", "FakeWorkspaces"]


@dataclass
class FakeWorkspaces:
    """Fills ports.Workspaces without git; what happened is in `log`."""

    directory: Path
    log: list[tuple[str, ...]] = field(default_factory=list[tuple[str, ...]])

    async def resolve(self, repository: str, ref: str | None) -> tuple[str, list[str]]:
        if not repository.startswith("/repository"):
            raise Refused("not_a_repository", f"{repository} is no repository")
        return f"commit-of-{ref or 'HEAD'}", []

    async def create(self, tree: str, node: str, repository: str, base: str) -> Path:
        self.log.append(("create", node, base))
        return self.directory

    async def collect(self, tree: str, node: str) -> Collected:
        self.log.append(("collect", node))
        return Collected(f"result-of-{node}", "commit-of-HEAD", 1, 2, 3)

    async def working_tree(self, tree: str, node: str, repository: str) -> str:
        return f"work-tree-of-{repository}"

    async def deliver(self, tree: str, child: str, commit: str, parent: str, label: str) -> None:
        self.log.append(("deliver", child, parent))

    async def diff(self, tree: str, base: str, commit: str, *, limit: int = 20_000) -> str:
        return f"{base}..{commit}"

    async def publish(self, tree: str, repository: str, commit: str, ref: str) -> None:
        self.log.append(("publish", ref, commit))

    async def discard(self, tree: str, node: str) -> None:
        self.log.append(("discard", node))


@dataclass
class FakeChecks:
    """Fills ports.CheckRunner; `says` maps a check's id to its verdicts, one per run."""

    says: dict[str, list[Literal["pass", "fail", "unavailable"]]] = field(
        default_factory=dict[str, list[Literal["pass", "fail", "unavailable"]]]
    )

    def problems(self, check: Mapping[str, Any]) -> list[str]:
        return []

    gate: anyio.Event | None = None
    """While it is there and not set, checks do not end."""

    async def run(self, check: Mapping[str, Any], *, tree: str, repository: str, commit: str, base: str) -> Verdict:
        if self.gate is not None:
            await self.gate.wait()
        said = self.says[check["id"]]
        status = said.pop(0) if len(said) > 1 else said[0]
        return Verdict(check["id"], status, value=1.0 if status == "pass" else 0.0, evidence=f"{commit}: {status}")


class FakePrices:
    """Fills ports.Prices: a micro-dollar a token; the model `unpriced` has no price."""

    digest = "a micro-dollar a token"

    def cost(self, model: str, usage: Usage) -> int | None:
        return None if model == "unpriced" else usage.total

    def bound(self, model: str, call: ModelCall) -> int | None:
        return None if model == "unpriced" else call.input_bound + call.max_output


class FakeModels:
    """Fills ports.Models."""

    async def endpoint(self, source: str) -> str:
        if source == "broken":
            raise Refused("bad_model", "broken is no endpoint")
        return "http://127.0.0.1:1"
