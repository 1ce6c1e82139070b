"""Reading the journal."""

from typing import Any

import pytest

from palmette.coordination.ports import Store, Transaction
from palmette.coordination.values import Amounts
from tests.support import drafts

pytestmark = pytest.mark.anyio


@pytest.fixture
async def filled(store: Store) -> Store:
    """Two trees whose events alternate; ids that begin alike, to be told apart."""

    def command(tx: Transaction) -> None:
        nothing = Amounts.zero()
        for tree in ("t1", "t10"):
            tx.append(drafts.opened(tree))
            for node in ("0", "0.1", "0.1.1", "0.2"):
                tx.append(drafts.spawned(f"{tree}/{node}", nothing))
        for number in range(3, 13):
            tx.append(drafts.spawned(f"t1/0.{number}", nothing))
        for node in ("0.1", "0.1.1", "0.10", "0.11", "0.2"):
            tx.append(drafts.note(f"t1/{node}"))
        tx.append(drafts.note("t10/0.1"))

    await store.transact(command)
    return store


async def nodes(store: Store, **which: Any) -> list[str]:
    return [f"{event.seq} {event.node}" for event in await store.events(**which)]


async def test_events_come_in_order_page_by_page(filled: Store) -> None:
    everything = await filled.events()
    assert [event.seq for event in everything] == list(range(1, 27))
    pages: list[int] = []
    after = 0
    while page := await filled.events(after=after, limit=4):
        assert len(page) <= 4
        pages += [event.seq for event in page]
        after = page[-1].seq
    assert pages == list(range(1, 27))
    assert await filled.events(limit=0) == []
    assert await filled.events(after=26) == []


async def test_the_newest_come_in_order_too(filled: Store) -> None:
    assert [event.seq for event in await filled.events(limit=3, newest=True)] == [24, 25, 26]
    assert await nodes(filled, tree="t10", limit=2, newest=True) == ["10 t10/0.2", "26 t10/0.1"]
    assert [e.seq for e in await filled.events(kinds=["tree_opened"], limit=1, newest=True)] == [6]


async def test_a_tree_alone(filled: Store) -> None:
    assert await nodes(filled, tree="t10") == [
        "6 None",
        "7 t10/0",
        "8 t10/0.1",
        "9 t10/0.1.1",
        "10 t10/0.2",
        "26 t10/0.1",
    ]
    assert await nodes(filled, tree="t1/0") == []


async def test_a_node_brings_its_subtree_and_no_node_that_only_begins_alike(filled: Store) -> None:
    assert await nodes(filled, node="t1/0.1") == ["3 t1/0.1", "4 t1/0.1.1", "21 t1/0.1", "22 t1/0.1.1"]
    assert await nodes(filled, node="t1/0.1", after=4, limit=1) == ["21 t1/0.1"]
    assert await nodes(filled, node="t1/0.1", tree="t10") == []
    assert len(await filled.events(node="t1/0")) == 19


async def test_kinds_alone_and_with_everything_else(filled: Store) -> None:
    assert [e.seq for e in await filled.events(kinds=["tree_opened", "notified"])] == [1, 6, 21, 22, 23, 24, 25, 26]
    assert [e.seq for e in await filled.events(kinds=["tree_opened", "notified"], after=1, limit=2)] == [6, 21]
    assert [e.seq for e in await filled.events(kinds=["notified"], tree="t1", newest=True, limit=2)] == [24, 25]
    assert [e.seq for e in await filled.events(kinds=["notified"], node="t1/0.1")] == [21, 22]
    assert await filled.events(kinds=["no_such_kind"]) == []


async def test_what_is_read_is_what_was_written(filled: Store) -> None:
    written = await filled.transact(lambda tx: tx.append(drafts.spawned("t1/0.13", Amounts(1, None, 0, 2**61))))
    read = (await filled.events(after=26))[0]
    assert read == written
    assert type(read.data) is type(written.data)
    assert read.data.granted == Amounts(1, None, 0, 2**61)
