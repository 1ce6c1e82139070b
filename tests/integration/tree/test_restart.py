"""A supervisor that ends and comes back, in good order or not."""

import anyio
import pytest

from palmette.coordination.errors import Refused
from palmette.coordination.identity import CallKey
from palmette.coordination.ports import ModelCall, StepTaken
from palmette.coordination.records import Attempt, Hold, Node, Purse
from palmette.coordination.values import Step
from tests.support.house import House

pytestmark = pytest.mark.anyio


async def settle_pending_tasks() -> None:
    """Let every task that can run do so."""
    await anyio.wait_all_tasks_blocked()


@pytest.mark.rule("E5")
async def test_parked_attempts_are_resumed_from_their_sessions(house: House) -> None:
    with anyio.fail_after(10):
        async with house.running():
            root = await house.run()
            child = await house.spawn(root, "fix")
            child.tell(StepTaken((Step("agent", "I begin."),)))
            await settle_pending_tasks()
        attempts = await house.store.read(lambda reading: list(reading.all(Attempt)))
        assert [attempt.state for attempt in attempts] == ["parked", "parked"]
        async with house.running():
            root = await house.harnesses.of("t1/0#2")
            child = await house.harnesses.of("t1/0.1#2")
            assert (root.launch.session, child.launch.session) == ("session-of-t1/0#1", "session-of-t1/0.1#1")
            assert "interrupted by a restart" in child.said[0][2]
            assert house.supervisor.slots().live == 2


@pytest.mark.rule("E5")
async def test_a_task_that_may_never_have_reached_its_session_is_told_again(house: House) -> None:
    with anyio.fail_after(10):
        async with house.running():
            await house.run(task="Mend it.")
        async with house.running():
            root = await house.harnesses.of("t1/0#2")
            assert root.launch.session == "session-of-t1/0#1"
            assert root.said[0][2].endswith("Your task:\nMend it.")


@pytest.mark.rule("E5")
async def test_a_resumed_attempt_is_told_the_acts_whose_answers_were_never_delivered(house: House) -> None:
    with anyio.fail_after(10):
        async with house.running():
            root = await house.run()
            visitor = house.as_node(root)
            await house.verbs.spawn(visitor, CallKey("relay", "1"), task="Help.", label="fix")
            asked = await house.verbs.ask_parent(visitor, CallKey("relay", "2"), question="Which?", wait_s=0)
        async with house.running():
            told = (await house.harnesses.of("t1/0#2")).said[0][2]
            assert "spawn → node=t1/0.1, label=fix" in told
            assert f"ask_parent → question={asked['question']}" in told


@pytest.mark.rule("B11")
async def test_open_holds_are_charged_in_full_once(house: House) -> None:
    with anyio.fail_after(10):
        async with house.running():
            root = await house.run()
            await root.ledger.hold(root.launch.attempt, ModelCall("scripted", 100, 100))
        for _ in range(2):
            async with house.running():
                purse = await house.store.read(lambda reading: reading.get(Purse, "t1/0"))
                assert purse is not None
                assert (purse.spent.usd, purse.spent.turns, purse.unknown) == (200, 1, True)
                assert await house.store.read(lambda reading: list(reading.all(Hold))) == []


@pytest.mark.rule("B10")
async def test_a_restart_extends_no_deadline(house: House) -> None:
    with anyio.fail_after(10):
        async with house.running():
            await house.run(deadline_s=60)
            await settle_pending_tasks()
            house.clock.advance(30)
            await settle_pending_tasks()
        house.clock.jump(-1_000)
        async with house.running():
            await house.harnesses.of("t1/0#2")
            house.clock.advance(30)
            await settle_pending_tasks()
            node = await house.store.read(lambda reading: reading.get(Node, "t1/0"))
            assert node is not None
            assert node.cause == "deadline"


async def test_a_token_of_the_life_before_is_refused(house: House) -> None:
    with anyio.fail_after(10):
        async with house.running():
            visitor = house.as_node(await house.run())
        async with house.running():
            await house.harnesses.of("t1/0#2")
            with pytest.raises(Refused) as refused:
                await house.verbs.notify(visitor, None, summary="hello")
            assert refused.value.code == "attempt_over"


async def test_down_with_stop_ends_the_trees(house: House) -> None:
    with anyio.fail_after(10):
        async with house.running():
            await house.run()
            await house.operator.shutdown(stop=True)
        node = await house.store.read(lambda reading: reading.get(Node, "t1/0"))
        assert node is not None
        assert (node.settlement, node.settled_by) == ("cancelled", "person")
