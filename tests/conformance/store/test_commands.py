"""What a command may rely on."""

from collections.abc import Sequence

import anyio
import pytest

from palmette.coordination.errors import Refused
from palmette.coordination.events import Event
from palmette.coordination.ports import Store, Transaction
from palmette.coordination.records import Attempt, Delivery, Node, Purse, Tree
from palmette.coordination.values import Amounts
from tests.fakes.clock import ManualClock
from tests.support import drafts

pytestmark = pytest.mark.anyio


def tree_of_two(tx: Transaction) -> None:
    """A root and its child, both in their first attempt."""
    tx.append(drafts.opened())
    tx.append(drafts.spawned("t1/0", Amounts(1_000, 1_000, 1_000, None)))
    tx.append(drafts.attempt("t1/0"))
    tx.append(drafts.spawned("t1/0.1", Amounts(300, 300, 300, None)))
    tx.append(drafts.attempt("t1/0.1"))


async def test_a_command_sees_its_own_changes_and_others_see_them_after_it(store: Store) -> None:
    def command(tx: Transaction) -> Purse | None:
        tree_of_two(tx)
        return tx.get(Purse, "t1/0")

    own = await store.transact(command)
    assert own is not None
    assert own.free == Amounts(700, 700, 700, None)
    assert await store.read(lambda reading: reading.get(Purse, "t1/0")) == own


@pytest.mark.rule("B2")
@pytest.mark.parametrize("error", [Refused("max_live", "all slots are taken"), RuntimeError("a bug"), StopIteration()])
async def test_a_command_that_raises_leaves_nothing_behind(store: Store, error: Exception) -> None:
    await store.transact(tree_of_two)
    before = await store.read(lambda reading: (list(reading.all(Node)), list(reading.all(Purse))))
    told: list[Event] = []
    store.subscribe(told.extend)

    def command(tx: Transaction) -> None:
        tx.append(drafts.spawned("t1/0.2", Amounts(1, 1, 1, None)))
        tx.append(drafts.note("t1/0.1"))
        tx.append(drafts.settled("t1/0.1", Amounts.zero()))
        raise error

    with pytest.raises(Exception) as raised:  # noqa: PT011 (any of the parameters)
        await store.transact(command)
    assert raised.value is error or isinstance(error, StopIteration)
    assert await store.read(lambda reading: (list(reading.all(Node)), list(reading.all(Purse)))) == before
    assert await store.read(lambda reading: list(reading.all(Delivery))) == []
    assert told == []
    assert len(await store.events()) == 5
    # What was taken back is not remembered by the next command either.
    assert await store.transact(lambda tx: tx.get(Node, "t1/0.2")) is None
    purse = await store.transact(lambda tx: tx.get(Purse, "t1/0"))
    assert purse is not None
    assert purse.free == Amounts(700, 700, 700, None)


async def test_seqs_are_whole_and_rising_whatever_is_refused_in_between(store: Store) -> None:
    def refused(tx: Transaction) -> None:
        tx.append(drafts.opened("t9"))
        raise Refused("max_live", "all slots are taken")

    for number in range(1, 4):
        assert await store.transact(lambda tx: tx.next_seq()) == number
        event = await store.transact(lambda tx, n=number: tx.append(drafts.opened(f"t{n}")))
        assert event.seq == number
        with pytest.raises(Refused):
            await store.transact(refused)
    assert [event.seq for event in await store.events()] == [1, 2, 3]


async def test_commands_run_in_the_order_of_the_calls(store: Store) -> None:
    order: list[int] = []

    async def call(number: int) -> None:
        await store.transact(lambda _: order.append(number))

    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            for number in range(50):
                group.start_soon(call, number)
    assert order == sorted(order)


async def test_events_carry_the_time_at_which_their_command_began(store: Store, clock: ManualClock) -> None:
    def command(tx: Transaction) -> tuple[int, list[int]]:
        first = tx.append(drafts.opened("t1"))
        clock.advance(5)
        return tx.now(), [first.at, tx.append(drafts.opened("t2")).at]

    begun = clock.now()
    assert await store.transact(command) == (begun, [begun, begun])
    assert [event.at for event in await store.events()] == [begun, begun]
    clock.advance(1)
    assert (await store.transact(lambda tx: tx.append(drafts.opened("t3")))).at == begun + 6_000_000


async def test_a_transaction_is_of_no_use_after_its_command(store: Store) -> None:
    escaped = await store.transact(lambda tx: tx)
    with pytest.raises(RuntimeError, match="the command is over"):
        escaped.append(drafts.opened())
    with pytest.raises(RuntimeError, match="the command is over"):
        escaped.delete(Tree, "t1")
    assert await store.events() == []


@pytest.mark.rule("E1")
async def test_subscribers_are_told_in_order_and_before_the_caller(store: Store) -> None:
    told: list[int] = []
    store.subscribe(lambda events: told.extend(event.seq for event in events))
    for number in range(1, 6):
        event = await store.transact(lambda tx, n=number: tx.append(drafts.opened(f"t{n}")))
        assert told[-1] == event.seq
    await store.transact(lambda _: None)
    assert told == [1, 2, 3, 4, 5]


async def test_a_subscriber_that_fails_keeps_nothing_from_anybody(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(events: Sequence[Event]) -> None:
        raise RuntimeError("a bug of this subscriber")

    told: list[Event] = []
    store.subscribe(fail)
    unsubscribe = store.subscribe(told.extend)
    await store.transact(lambda tx: tx.append(drafts.opened()))
    assert [event.seq for event in told] == [1]
    assert "a bug of this subscriber" in caplog.text
    unsubscribe()
    unsubscribe()
    await store.transact(lambda tx: tx.append(drafts.opened("t2")))
    assert len(told) == 1


async def test_too_large_an_event_is_an_error_in_the_program_and_changes_nothing(store: Store) -> None:
    await store.transact(tree_of_two)
    # 2,800 characters of three bytes each, in UTF-8 more than 8 kB.
    with pytest.raises(ValueError, match="at most 8192 fit"):
        await store.transact(lambda tx: tx.append(drafts.note("t1/0.1", "…" * 2_800)))
    with pytest.raises(ValueError, match="at most 8192 fit"):
        await store.transact(lambda tx: tx.append(drafts.note("t1/0.1", "x" * 8_192)))
    assert len(await store.events()) == 5
    event = await store.transact(lambda tx: tx.append(drafts.note("t1/0.1", "x" * 8_000)))
    assert (await store.events(after=5))[0] == event


async def test_records_are_found_by_their_indexes_only(store: Store) -> None:
    await store.transact(tree_of_two)

    def query(tx: Transaction) -> tuple[list[str], list[str]]:
        return [n.id for n in tx.find(Node, parent=None)], [n.id for n in tx.find(Node, parent="t1/0", state="open")]

    assert await store.transact(query) == (["t1/0"], ["t1/0.1"])
    assert await store.read(lambda reading: [n.id for n in reading.find(Node, tree="t1", state="settled")]) == []
    with pytest.raises(LookupError):
        await store.transact(lambda tx: tx.find(Node, harness="builtin"))
    with pytest.raises(LookupError):
        await store.read(lambda reading: reading.find(Node, state="open", parent="t1/0"))


async def test_a_command_may_change_what_it_goes_through(store: Store) -> None:
    await store.transact(tree_of_two)

    def command(tx: Transaction) -> int:
        seen = 0
        for attempt in tx.all(Attempt):
            seen += 1
            tx.delete(Attempt, attempt.id)
        return seen

    assert await store.transact(command) == 2
    assert await store.read(lambda reading: list(reading.all(Attempt))) == []


@pytest.mark.rule("F2")
async def test_what_an_attempt_emits_carries_its_label(store: Store) -> None:
    def command(tx: Transaction) -> list[frozenset[str]]:
        tx.append(drafts.opened())
        tx.append(drafts.spawned("t1/0"))
        tx.append(drafts.attempt("t1/0", label=frozenset({"repository"})))
        tx.append(drafts.spawned("t1/0.1", Amounts.zero()))
        tx.append(drafts.attempt("t1/0.1"))
        return [
            tx.append(drafts.note("t1/0", actor="supervisor")).label,
            tx.append(drafts.note("t1/0", actor="t1/0#1", origin="model")).label,
            tx.append(drafts.note("t1/0.1", attempt="t1/0#1", origin="model", label=frozenset({"person"}))).label,
        ]

    labels = await store.transact(command)
    assert labels == [
        frozenset({"supervisor"}),
        frozenset({"model", "repository", "supervisor"}),
        frozenset({"model", "person", "repository", "supervisor"}),
    ]
    assert [event.label for event in await store.events(after=5)] == labels
