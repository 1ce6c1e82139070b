"""The conserved pool, command by command, on the store's twin in memory."""

import pytest

from palmette.coordination.balance import budget_imbalances
from palmette.coordination.commands import budget, settling, spawning
from palmette.coordination.commands.settling import Ending
from palmette.coordination.errors import Refused
from palmette.coordination.records import Hold, Purse
from palmette.coordination.values import Amounts, Usage
from tests.support.trees import World

pytestmark = pytest.mark.anyio


@pytest.mark.rule("B1", "B3")
async def test_an_exact_fit_is_admitted_and_one_more_is_refused(world: World) -> None:
    root = await world.root(Amounts(1_000_000, None, 10, None))
    with pytest.raises(Refused) as refused:
        await world.spawn(root, asked={"usd": 1_000_001, "turns": 1})
    assert refused.value.code == "budget_exhausted"
    assert refused.value.details["shortfalls"] == [{"channel": "usd", "need": 1.000001, "free": 1.0}]
    child = await world.spawn(root, asked={"usd": 1_000_000, "turns": 10})
    assert (await world.purse(root)).free == Amounts(0, None, 0, None)
    assert (await world.purse(child)).granted == Amounts(1_000_000, None, 10, None)
    assert await world.store.read(budget_imbalances) == []


@pytest.mark.rule("B2")
async def test_a_refusal_changes_nothing(world: World) -> None:
    root = await world.root(Amounts(1_000, None, 10, None))
    before = await world.everything()
    with pytest.raises(Refused):
        await world.spawn(root, asked={"usd": 999, "turns": 11})
    assert await world.everything() == before


@pytest.mark.rule("B3")
async def test_zero_means_zero(world: World) -> None:
    root = await world.root(Amounts(1_000_000, None, 10, None))
    child = await world.spawn(root, asked={"usd": 0, "turns": 1})
    attempt = await world.begin(child)
    with pytest.raises(Refused) as refused:
        await world.store.transact(lambda tx: budget.hold(tx, attempt, Amounts(1, 10, 1, 0)))
    assert refused.value.code == "budget_exhausted"


@pytest.mark.rule("B4")
async def test_a_settlement_counts_once(world: World) -> None:
    root = await world.root(Amounts(1_000, None, 10, None))
    child = await world.spawn(root, asked={"usd": 400, "turns": 4})
    first = await world.store.transact(lambda tx: settling.settle(tx, child, Ending("stopped")))
    after = await world.everything()
    second = await world.store.transact(lambda tx: settling.settle(tx, child, Ending("stopped")))
    assert (first, second) == (True, False)
    assert await world.everything() == after
    assert (await world.purse(root)).free == Amounts(1_000, None, 10, None)


@pytest.mark.rule("B4")
async def test_a_hold_is_booked_once(world: World) -> None:
    root = await world.root(Amounts(1_000, None, 10, None))
    attempt = await world.begin(root)
    hold = await world.store.transact(lambda tx: budget.hold(tx, attempt, Amounts(100, 50, 1, 0)))
    spend = Amounts(30, 20, 1, 0)
    await world.store.transact(lambda tx: budget.book(tx, attempt, hold, spend, Usage(10, 0, 0, 10), model="m"))
    with pytest.raises(Refused) as refused:
        await world.store.transact(lambda tx: budget.book(tx, attempt, hold, spend, None, model="m"))
    assert refused.value.code == "already_booked"
    assert (await world.purse(root)).spent == Amounts(30, 20, 1, 0)


@pytest.mark.rule("B5")
async def test_true_spend_beyond_the_grant_is_booked_and_debited_from_the_parent(world: World) -> None:
    root = await world.root(Amounts(1_000, None, 10, None))
    child = await world.spawn(root, asked={"usd": 100, "turns": 2})
    attempt = await world.begin(child)
    hold = await world.store.transact(lambda tx: budget.hold(tx, attempt, Amounts(100, 50, 1, 0)))
    await world.store.transact(
        lambda tx: budget.book(tx, attempt, hold, Amounts(250, 90, 1, 0), Usage(80, 0, 0, 10), model="m")
    )
    assert (await world.purse(child)).free == Amounts(-150, None, 1, None)
    with pytest.raises(Refused):
        await world.store.transact(lambda tx: budget.hold(tx, attempt, Amounts(0, 1, 1, 0)))
    assert await world.store.read(budget_imbalances) == []
    await world.store.transact(lambda tx: settling.settle(tx, child, Ending("stopped")))
    purse = await world.purse(root)
    assert (purse.free, purse.spent) == (Amounts(750, None, 9, None), Amounts(250, 90, 1, 0))


@pytest.mark.rule("B6")
async def test_no_hold_is_open_when_a_tree_has_ended(world: World) -> None:
    root = await world.root(Amounts(1_000, None, 10, None))
    attempt = await world.begin(root)
    await world.store.transact(lambda tx: budget.hold(tx, attempt, Amounts(100, 50, 1, 0)))
    await world.store.transact(lambda tx: settling.settle(tx, root, Ending("stopped")))
    assert await world.store.read(lambda reading: list(reading.all(Hold))) == []
    purse = await world.purse(root)
    assert (purse.spent, purse.held, purse.unknown) == (Amounts(100, 50, 1, 0), Amounts.zero(), True)


@pytest.mark.rule("B7")
async def test_a_channel_the_root_never_got_is_unbudgeted_not_exhausted(world: World) -> None:
    root = await world.root(Amounts(None, None, 10, None))
    with pytest.raises(Refused) as refused:
        await world.spawn(root, asked={"usd": 1, "turns": 1})
    assert refused.value.code == "channel_unbudgeted"
    assert refused.value.details["channel"] == "usd"


@pytest.mark.rule("B8")
async def test_unknown_dollars_under_a_dollar_cap_close_the_channel(world: World) -> None:
    root = await world.root(Amounts(1_000, None, 10, None))
    attempt = await world.begin(root)
    hold = await world.store.transact(lambda tx: budget.hold(tx, attempt, Amounts(100, 50, 1, 0)))
    unpriced = Amounts(None, 20, 1, 0)
    await world.store.transact(lambda tx: budget.book(tx, attempt, hold, unpriced, Usage(10, 0, 0, 10), model="m"))
    purse = await world.purse(root)
    assert (purse.unknown, purse.usd_closed) == (True, True)
    with pytest.raises(Refused) as refused:
        await world.store.transact(lambda tx: budget.hold(tx, attempt, Amounts(1, 1, 1, 0)))
    assert refused.value.code == "channel_closed"


@pytest.mark.rule("B8")
async def test_usage_that_never_came_is_booked_at_its_bound_and_marked_never_zero(world: World) -> None:
    root = await world.root(Amounts(1_000, None, 10, None))
    attempt = await world.begin(root)
    hold = await world.store.transact(lambda tx: budget.hold(tx, attempt, Amounts(100, 50, 1, 0)))
    await world.store.transact(lambda tx: budget.book(tx, attempt, hold, None, None, model="m"))
    purse = await world.purse(root)
    assert (purse.spent, purse.unknown, purse.usd_closed) == (Amounts(100, 50, 1, 0), True, False)


async def test_a_call_that_was_never_made_costs_nothing(world: World) -> None:
    root = await world.root(Amounts(1_000, None, 10, None))
    attempt = await world.begin(root)
    hold = await world.store.transact(lambda tx: budget.hold(tx, attempt, Amounts(100, 50, 1, 0)))
    await world.store.transact(lambda tx: budget.book(tx, attempt, hold, None, None, model="m", sent=False))
    purse = await world.purse(root)
    assert (purse.free, purse.spent, purse.unknown) == (Amounts(1_000, None, 10, None), Amounts.zero(), False)


@pytest.mark.rule("B11")
async def test_a_restart_charges_open_holds_in_full_and_nothing_else(world: World) -> None:
    root = await world.root(Amounts(1_000, None, 10, None))
    child = await world.spawn(root, asked={"usd": 400, "turns": 4})
    attempt = await world.begin(child)
    await world.store.transact(lambda tx: budget.hold(tx, attempt, Amounts(100, 50, 1, 0)))
    charged = await world.store.transact(lambda tx: budget.charge_open_holds(tx, child))
    again = await world.store.transact(lambda tx: budget.charge_open_holds(tx, child))
    assert (charged, again) == (1, 0)
    purse = await world.purse(child)
    assert (purse.free, purse.spent) == (Amounts(300, None, 3, None), Amounts(100, 50, 1, 0))
    assert (await world.purse(root)).free == Amounts(600, None, 6, None)


@pytest.mark.rule("B15")
async def test_an_unnamed_channel_gets_the_profiles_default_or_a_share_never_everything(world: World) -> None:
    root = await world.root(Amounts(1_000, None, 100, None))
    child = await world.spawn(root, slots=spawning.Slots(4, 1), defaults={"turns": 30})
    assert (await world.purse(child)).granted == Amounts(1_000 // 4, None, 30, None)
    greedy = await world.spawn(root, slots=spawning.Slots(4, 1), defaults={"turns": 70})
    assert (await world.purse(greedy)).granted.turns == 70 // 4


@pytest.mark.rule("B15")
async def test_a_share_of_zero_is_budget_exhausted(world: World) -> None:
    root = await world.root(Amounts(3, None, 100, None))
    with pytest.raises(Refused) as refused:
        await world.spawn(root, slots=spawning.Slots(8, 1))
    assert refused.value.code == "budget_exhausted"


@pytest.mark.rule("B13")
async def test_settling_a_node_settles_its_open_children_first_depth_first(world: World) -> None:
    root = await world.root(Amounts(1_000, None, 100, None))
    child = await world.spawn(root, asked={"usd": 500, "turns": 50})
    grandchild = await world.spawn(child, asked={"usd": 200, "turns": 20})
    await world.store.transact(lambda tx: settling.settle(tx, root, Ending("deadline")))
    settled = [event for event in await world.store.events() if event.kind == "node_settled"]
    assert [event.node for event in settled] == [grandchild, child, root]
    assert [event.data.cause for event in settled] == ["parent_settled", "parent_settled", "deadline"]
    assert (await world.purse(root)).free == Amounts(1_000, None, 100, None)
    assert not (await world.store.read(lambda reading: [p for p in reading.all(Purse) if p.open]))


@pytest.mark.rule("B9")
async def test_a_drivers_own_turns_are_charged_to_it(world: World) -> None:
    root = await world.root(Amounts(1_000, None, 2, None))
    attempt = await world.begin(root)
    spend = Amounts(10, 5, 1, 0)
    for _ in range(2):
        hold = await world.store.transact(lambda tx: budget.hold(tx, attempt, Amounts(10, 5, 1, 0)))
        await world.store.transact(lambda tx, h=hold: budget.book(tx, attempt, h, spend, Usage(4, 0, 0, 1), model="m"))
    with pytest.raises(Refused):
        await world.store.transact(lambda tx: budget.hold(tx, attempt, Amounts(10, 5, 1, 0)))
