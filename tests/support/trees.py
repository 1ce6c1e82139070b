"""Trees built by commands alone, for tests of decisions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from palmette.coordination.commands import spawning
from palmette.coordination.commands.standing import the_purse
from palmette.coordination.ports import Store
from palmette.coordination.records import RECORD_TYPES, Purse
from palmette.coordination.tables import Reading, key_of
from palmette.coordination.values import Amounts, Channel
from tests.fakes.clock import CountingIds, ManualClock

__all__ = ["World"]


@dataclass
class World:
    """A store with a clock that the test owns."""

    store: Store
    clock: ManualClock
    ids: CountingIds

    async def root(self, pool: Amounts, *, person: bool = True, mode: Any = "driven", max_depth: int = 4) -> str:
        """Open a tree; returns its root's id."""
        order = spawning.TreeOrder(
            tree=self.ids.tree(),
            mode=mode,
            root=_order(role="driver"),
            pool=pool,
            max_depth=max_depth,
            person=person,
            root_key="harness:session" if mode == "attached" else None,
        )
        return (await self.store.transact(lambda tx: spawning.open_tree(tx, order))).id

    async def spawn(
        self,
        parent: str,
        *,
        asked: Mapping[Channel, int] | None = None,
        defaults: Mapping[Channel, int] | None = None,
        slots: spawning.Slots | None = None,
        **fields: Any,
    ) -> str:
        """Admit a child; returns its id."""
        order = _order(role=fields.pop("role", "worker"), asked=asked or {}, defaults=defaults or {}, **fields)
        room = slots or spawning.Slots(8, 1)
        admitted = await self.store.transact(lambda tx: spawning.admit_child(tx, f"{parent}#1", parent, order, room))
        return admitted.node.id

    async def begin(self, node: str, session: str | None = None) -> str:
        """Begin the node's next attempt; returns its id."""
        digest = f"digest of {node}"
        return await self.store.transact(lambda tx: spawning.begin_attempt(tx, node, digest, session))

    async def purse(self, node: str) -> Purse:
        """The node's account."""
        return await self.store.read(lambda reading: the_purse(reading, node))

    async def everything(self) -> dict[str, Any]:
        """Every record there is, to compare before and after."""

        def query(reading: Reading) -> dict[str, Any]:
            return {f"{kind.table}:{key_of(record)}": record for kind in RECORD_TYPES for record in reading.all(kind)}

        return await self.store.read(query)


def _order(**fields: Any) -> spawning.NodeOrder:
    given: dict[str, Any] = {
        "task": "do it",
        "task_digest": "digest",
        "profile_name": "worker",
        "profile": {},
        "profile_body": "",
        "harness": "builtin",
        "model": "scripted",
    }
    return spawning.NodeOrder(**(given | fields))
