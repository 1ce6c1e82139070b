"""Admission of children, command by command."""

import pytest

from palmette.coordination.commands import settling, spawning
from palmette.coordination.commands.settling import Ending
from palmette.coordination.commands.spawning import Slots
from palmette.coordination.commands.standing import child_named, node_named, the_node
from palmette.coordination.errors import Refused
from palmette.coordination.events import Draft, SessionStarted
from palmette.coordination.values import Amounts
from tests.support.trees import World

pytestmark = pytest.mark.anyio

POOL = Amounts(1_000_000, None, 1_000, None)


async def test_ids_are_paths_and_labels_default_to_their_last_part(world: World) -> None:
    root = await world.root(POOL)
    first, second = await world.spawn(root), await world.spawn(root, label="docs")
    below = await world.spawn(first)
    assert (first, second, below) == ("t1/0.1", "t1/0.2", "t1/0.1.1")
    assert (await world.store.read(lambda r: the_node(r, first))).label == "1"


async def test_a_label_is_unique_among_a_parents_children_for_ever(world: World) -> None:
    root = await world.root(POOL)
    child = await world.spawn(root, label="fix")
    await world.store.transact(lambda tx: settling.settle(tx, child, Ending("stopped")))
    with pytest.raises(Refused) as refused:
        await world.spawn(root, label="fix")
    assert refused.value.code == "label_taken"
    elsewhere = await world.spawn(root)
    assert await world.spawn(elsewhere, label="fix")


@pytest.mark.parametrize("label", ["", "Fix", "-x", "a" * 41, "a_b", "a\n", "../x"])
async def test_what_is_no_label_is_refused(world: World, label: str) -> None:
    root = await world.root(POOL)
    with pytest.raises(Refused) as refused:
        await world.spawn(root, label=label)
    assert refused.value.code == "bad_label"


async def test_at_the_depth_limit_nobody_spawns(world: World) -> None:
    root = await world.root(POOL, max_depth=1)
    child = await world.spawn(root)
    with pytest.raises(Refused) as refused:
        await world.spawn(child)
    assert refused.value.code == "depth_limit"


@pytest.mark.rule("B15")
async def test_with_no_slot_free_a_spawn_is_refused_and_says_so(world: World) -> None:
    root = await world.root(POOL)
    with pytest.raises(Refused) as refused:
        await world.spawn(root, slots=Slots(2, 2))
    assert (refused.value.code, refused.value.details) == ("max_live", {"free_slots": 0})


@pytest.mark.rule("B10")
async def test_a_childs_deadline_is_the_lesser_of_its_parents_and_its_own(world: World) -> None:
    root = await world.root(POOL)
    child = await world.spawn(root, deadline_s=100)
    short = await world.spawn(child, deadline_s=10)
    long = await world.spawn(child, deadline_s=1_000)
    none = await world.spawn(child)
    now = world.clock.now()
    found = [
        await world.store.read(lambda r, n=n: the_node(r, n).deadline_at) for n in (root, child, short, long, none)
    ]
    assert found == [None, now + 100_000_000, now + 10_000_000, now + 100_000_000, now + 100_000_000]


@pytest.mark.rule("E6")
async def test_the_same_key_and_task_run_once(world: World) -> None:
    root = await world.root(POOL)
    first = await world.spawn(root, key="k")
    before = await world.purse(root)
    assert await world.spawn(root, key="k") == first
    assert await world.purse(root) == before
    await world.store.transact(lambda tx: settling.settle(tx, first, Ending("stopped")))
    assert await world.spawn(root, key="k") == first


@pytest.mark.rule("E6")
async def test_the_same_key_for_another_task_is_a_conflict(world: World) -> None:
    root = await world.root(POOL)
    await world.spawn(root, key="k")
    with pytest.raises(Refused) as refused:
        await world.spawn(root, key="k", task_digest="another")
    assert refused.value.code == "key_conflict"


@pytest.mark.rule("E6")
async def test_a_key_is_its_parents(world: World) -> None:
    root = await world.root(POOL)
    child = await world.spawn(root, key="k")
    assert await world.spawn(child, key="k") == f"{child}.1"


@pytest.mark.rule("E6")
async def test_a_lost_keyed_node_is_in_doubt_until_somebody_decides(world: World) -> None:
    root = await world.root(POOL)
    lost = await world.spawn(root, key="k")
    await world.store.transact(lambda tx: settling.settle(tx, lost, Ending("lost")))
    with pytest.raises(Refused) as refused:
        await world.spawn(root, key="k")
    assert refused.value.code == "in_doubt"
    assert await world.spawn(root, key="k", decide="skip") == lost
    fresh = await world.spawn(root, key="k", decide="rerun")
    assert fresh != lost
    assert await world.spawn(root, key="k") == fresh


async def test_a_settled_childs_session_can_be_resumed_by_a_new_node(world: World) -> None:
    root = await world.root(POOL)
    child = await world.spawn(root, label="fix")
    attempt = await world.begin(child)
    with pytest.raises(Refused) as refused:
        await world.spawn(root, label="fix", continuity="resume")
    assert refused.value.code == "no_prior_attempt"
    session = Draft(SessionStarted("s-1", "1"), "t1", child, attempt)
    await world.store.transact(lambda tx: tx.append(session) and None)
    with pytest.raises(Refused) as refused:
        await world.spawn(root, label="fix", continuity="resume")
    assert refused.value.code == "resume_while_live"
    await world.store.transact(lambda tx: settling.settle(tx, child, Ending("stopped")))
    again = await world.spawn(root, label="fix", continuity="resume")
    assert (await world.store.read(lambda r: the_node(r, again))).resumes == child
    with pytest.raises(Refused) as refused:
        await world.spawn(root, label="fix", continuity="resume", key="k")
    assert refused.value.code == "resume_with_key"


async def test_nodes_are_addressed_by_id_or_label_and_only_as_direct_children(world: World) -> None:
    root = await world.root(POOL)
    child = await world.spawn(root, label="fix")
    below = await world.spawn(child, label="deep")
    other = await world.root(POOL)
    assert (await world.store.read(lambda r: child_named(r, root, "fix"))).id == child
    assert (await world.store.read(lambda r: child_named(r, root, "0.1"))).id == child
    for name, code in ((below, "not_your_child"), (other, "not_your_child"), ("nobody", "unknown_node")):
        with pytest.raises(Refused) as refused:
            await world.store.read(lambda r, n=name: child_named(r, root, n))
        assert refused.value.code == code
    assert (await world.store.read(lambda r: node_named(r, root, below))).id == below
    for name in (root, other, "t9/0"):
        with pytest.raises(Refused) as refused:
            await world.store.read(lambda r, n=name: node_named(r, child, n))
        assert refused.value.code == "unknown_node"


async def test_a_settled_node_begins_no_attempt(world: World) -> None:
    root = await world.root(POOL)
    await world.store.transact(lambda tx: settling.settle(tx, root, Ending("stopped")))
    with pytest.raises(Refused) as refused:
        await world.store.transact(lambda tx: spawning.begin_attempt(tx, root, "d", None))
    assert refused.value.code == "already_settled"
