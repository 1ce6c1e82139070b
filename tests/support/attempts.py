"""One live attempt in a journal, for tests of its token."""

from palmette.coordination.commands import settling, spawning
from palmette.coordination.ports import Store
from palmette.coordination.supervisor.supervisor import token_digest
from palmette.coordination.values import Amounts
from tests.fakes.clock import CountingIds, ManualClock
from tests.support.trees import World

__all__ = ["end_attempt", "live_attempt"]

_ROOT = "t1/0"
_TOKEN = "an-attempts-own-token"


async def live_attempt(store: Store) -> str:
    """Open a tree whose root has a live attempt; returns the attempt's token."""
    root = await World(store, ManualClock(), CountingIds()).root(Amounts(turns=10))
    assert root == _ROOT
    await store.transact(lambda tx: spawning.begin_attempt(tx, root, token_digest(_TOKEN), None))
    return _TOKEN


async def end_attempt(store: Store) -> None:
    """End it."""
    await store.transact(lambda tx: settling.end_attempt(tx, _ROOT, "crashed"))
