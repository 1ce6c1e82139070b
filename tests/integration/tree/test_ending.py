"""How nodes end: submits, stops, deadlines, budgets, and what the parent is told."""

import anyio
import pytest

from palmette.coordination.errors import Refused
from palmette.coordination.ports import Exit, Idle, ModelCall
from palmette.coordination.records import Node, Purse, Tree
from palmette.coordination.values import Usage
from tests.fakes.harness import FakeHarness
from tests.support.house import House

pytestmark = pytest.mark.anyio

TESTS = {"id": "tests", "kind": "tests", "spec": {"command": ["true"]}}


async def settle_pending_tasks() -> None:
    """Let every task that can run do so."""
    await anyio.wait_all_tasks_blocked()


async def stands(house: House, harness: FakeHarness) -> Node:
    """The node of a harness, as it stands."""
    name = harness.launch.attempt.partition("#")[0]
    node = await house.store.read(lambda reading: reading.get(Node, name))
    assert node is not None
    return node


async def test_an_accepted_submit_settles_the_node_when_its_turn_ends(house: House) -> None:
    house.checks.says["tests"] = ["pass"]
    with anyio.fail_after(10):
        async with house.running():
            root = await house.run()
            child = await house.spawn(root, "fix", checks=[TESTS])
            got = await house.verbs.submit(house.as_node(child), None, result="Done.")
            assert (got["accepted"], got["valid"]) == (True, True)
            await settle_pending_tasks()
            assert (await stands(house, child)).state == "open"
            child.tell(Idle())
            await settle_pending_tasks()
            node = await stands(house, child)
            assert (node.settlement, node.cause, node.valid) == ("done", "submitted", True)
            assert ("deliver", node.id, "t1/0") in house.workspaces.log
            assert child.stopped


async def test_an_accepted_submit_settles_when_the_grace_is_over_and_takes_no_more_verbs(house: House) -> None:
    with anyio.fail_after(10):
        async with house.running():
            root = await house.run()
            child = await house.spawn(root)
            got = await house.verbs.submit(house.as_node(child), None, result="Done.")
            assert got["valid"] is None
            with pytest.raises(Refused) as refused:
                await house.verbs.notify(house.as_node(child), None, summary="more")
            assert refused.value.code == "already_submitted"
            await settle_pending_tasks()
            house.clock.advance(5)
            await settle_pending_tasks()
            assert (await stands(house, child)).settlement == "done"


async def test_after_an_accepted_submit_one_more_model_call_is_let_through(house: House) -> None:
    with anyio.fail_after(10):
        async with house.running():
            root = await house.run()
            child = await house.spawn(root)
            await house.verbs.submit(house.as_node(child), None, result="Done.")
            attempt, call = child.launch.attempt, ModelCall("scripted", 10, 10)
            hold = await child.ledger.hold(attempt, call)
            await child.ledger.book(attempt, hold, Usage(5, 0, 0, 5), model="scripted")
            with pytest.raises(Refused) as refused:
                await child.ledger.hold(attempt, call)
            assert refused.value.code == "already_submitted"


async def test_a_failing_check_rejects_the_submit_and_the_node_may_mend_it(house: House) -> None:
    house.checks.says["tests"] = ["fail", "pass"]
    with anyio.fail_after(10):
        async with house.running():
            root = await house.run()
            child = await house.spawn(root, checks=[TESTS])
            got = await house.verbs.submit(house.as_node(child), None, result="Done.")
            assert (got["ok"], got["accepted"], got["error"]) == (False, False, "check_failed")
            assert got["verdicts"][0]["status"] == "fail"
            assert (await stands(house, child)).state == "open"
            again = await house.verbs.submit(house.as_node(child), None, result="Now it is.")
            assert again["accepted"] is True


@pytest.mark.rule("E8")
async def test_a_node_that_ends_after_a_rejected_submit_is_down_by_its_check(house: House) -> None:
    house.checks.says["tests"] = ["fail"]
    with anyio.fail_after(10):
        async with house.running():
            root = await house.run()
            child = await house.spawn(root, checks=[TESTS])
            await house.verbs.submit(house.as_node(child), None, result="Done.")
            child.tell(Exit(0))
            await settle_pending_tasks()
            node = await stands(house, child)
            assert (node.settlement, node.cause, node.valid) == ("down", "check_failed", False)


async def test_a_check_that_could_not_run_is_not_a_failing_one(house: House) -> None:
    house.checks.says["tests"] = ["unavailable"]
    with anyio.fail_after(10):
        async with house.running():
            root = await house.run()
            child = await house.spawn(root, checks=[TESTS])
            got = await house.verbs.submit(house.as_node(child), None, result="Done.")
            assert got["error"] == "check_unavailable"
            incomplete = await house.verbs.submit(house.as_node(child), None, result="Partly.", incomplete=True)
            assert (incomplete["accepted"], incomplete["valid"]) == (True, False)


@pytest.mark.rule("Q7")
async def test_a_submit_waits_for_the_questions_one_holds_and_the_messages_one_has_not_read(house: House) -> None:
    with anyio.fail_after(10):
        async with house.running():
            root = await house.run()
            child = await house.spawn(root)
            asked = await house.verbs.ask_parent(
                house.as_node(child), None, question="Which?", urgency="blocks_step", wait_s=0
            )
            with pytest.raises(Refused) as refused:
                await house.verbs.submit(house.as_node(root), None, result="Done.")
            assert (refused.value.code, refused.value.details["questions"]) == ("open_questions", [asked["question"]])
            await house.verbs.submit(house.as_node(child), None, result="I chose myself.")
            assert (await house.verbs.submit(house.as_node(root), None, result="Done."))["accepted"] is True


async def test_stop_ends_the_subtree_and_says_so_only_when_nothing_is_left(house: House) -> None:
    with anyio.fail_after(10):
        async with house.running():
            root = await house.run()
            child = await house.spawn(root, "fix")
            below = await house.spawn(child) if (await stands(house, child)).role == "driver" else None
            child.survivors = [4711]
            held = await house.verbs.stop(house.as_node(root), None, node="fix", reason="enough")
            assert (held["stopped"], held["held"]) == (False, [4711])
            assert (await stands(house, child)).state == "open"
            assert house.supervisor.slots().free == 8 - (3 if below else 2)
            child.survivors = []
            got = await house.verbs.stop(house.as_node(root), None, node="fix", reason="enough")
            assert got["stopped"] is True
            node = await stands(house, child)
            assert (node.settlement, node.cause, node.reason) == ("cancelled", "stopped", "enough")
            assert node.settled_by == root.launch.attempt
            again = await house.verbs.stop(house.as_node(root), None, node="fix", reason="enough")
            assert again["already"] == "cancelled"


@pytest.mark.rule("B10")
async def test_a_deadline_ends_the_node_and_everything_below(house: House) -> None:
    with anyio.fail_after(10):
        async with house.running():
            root = await house.run(deadline_s=60)
            child = await house.spawn(root)
            await settle_pending_tasks()
            house.clock.advance(60)
            await settle_pending_tasks()
            assert [(await stands(house, h)).cause for h in (root, child)] == ["deadline", "deadline"]
            tree = await house.store.read(lambda reading: reading.get(Tree, "t1"))
            assert tree is not None
            assert tree.state == "closed"


@pytest.mark.rule("B12")
async def test_a_node_whose_seconds_are_spent_is_ended(house: House) -> None:
    with anyio.fail_after(10):
        async with house.running():
            root = await house.run(pool={"seconds": 10})
            for _ in range(3):
                await settle_pending_tasks()
                house.clock.advance(5)
            await settle_pending_tasks()
            assert (await stands(house, root)).cause == "budget_exhausted"


@pytest.mark.rule("E10")
async def test_a_node_refused_for_budget_settles_at_once_if_nothing_below_it_is_open(house: House) -> None:
    with anyio.fail_after(10):
        async with house.running():
            root = await house.run(pool={"turns": 0})
            with pytest.raises(Refused) as refused:
                await root.ledger.hold(root.launch.attempt, ModelCall("scripted", 10, 10))
            assert refused.value.code == "budget_exhausted"
            root.tell(Idle("budget"))
            await settle_pending_tasks()
            node = await stands(house, root)
            assert (node.settlement, node.cause) == ("down", "budget_exhausted")


@pytest.mark.rule("E10")
async def test_an_idle_node_is_reminded_twice_then_settled(house: House) -> None:
    with anyio.fail_after(10):
        async with house.running():
            root = await house.run()
            for _ in range(3):
                root.tell(Idle())
                await settle_pending_tasks()
            assert [how for how, _, _ in root.said] == ["prompt"] * 3
            assert (await stands(house, root)).cause == "exited_without_submit"


@pytest.mark.rule("E8")
@pytest.mark.parametrize(
    ("left", "cause"),
    [
        (Exit(1, "no such file", "start"), "harness_failed"),
        (Exit(1, "relay", "mcp"), "mcp_unreachable"),
        (Exit(0), "exited_without_submit"),
    ],
)
async def test_an_end_that_nobody_ordered_has_the_cause_of_its_stage(house: House, left: Exit, cause: str) -> None:
    with anyio.fail_after(10):
        async with house.running():
            root = await house.run()
            root.tell(left)
            await settle_pending_tasks()
            assert (await stands(house, root)).cause == cause


async def test_a_harness_that_does_not_start_is_an_infrastructure_failure(house: House) -> None:
    house.harnesses.broken.add("t1/0.1")
    with anyio.fail_after(10):
        async with house.running():
            root = await house.run()
            await house.verbs.spawn(house.as_node(root), None, task="Help.")
            await settle_pending_tasks()
            got = await house.verbs.await_event(house.as_node(root), None)
            event = got["events"][0]
            assert (event["cause"], event["retry"], event["grade"]) == ("harness_failed", "yes", False)
            assert house.supervisor.slots().live == 1


async def test_the_roots_result_becomes_a_ref(house: House) -> None:
    with anyio.fail_after(10):
        async with house.running():
            root = await house.run()
            await house.verbs.submit(house.as_node(root), None, result="Done.")
            root.tell(Idle())
            await settle_pending_tasks()
            assert ("publish", "refs/palmette/t1/root", "result-of-t1/0") in house.workspaces.log
            house.clock.advance(house.settings.grace_s)
            await settle_pending_tasks()
            kinds = [event.kind for event in await house.store.events()]
            assert kinds.count("result_published") == 1
            assert kinds.index("result_published") < kinds.index("tree_closed")


async def test_spend_of_children_adds_up_in_the_root(house: House) -> None:
    with anyio.fail_after(10):
        async with house.running():
            root = await house.run()
            child = await house.spawn(root)
            for harness in (root, child):
                attempt = harness.launch.attempt
                hold = await harness.ledger.hold(attempt, ModelCall("scripted", 100, 100))
                await harness.ledger.book(attempt, hold, Usage(60, 0, 0, 40), model="scripted")
            child.tell(Exit(0))
            await settle_pending_tasks()
            purse = await house.store.read(lambda reading: reading.get(Purse, "t1/0"))
            assert purse is not None
            assert (purse.spent.usd, purse.spent.tokens, purse.spent.turns) == (200, 200, 2)
            assert purse.free.usd == 5_000_000 - 200


async def test_a_model_without_a_price_is_refused_under_a_dollar_budget(house: House) -> None:
    with anyio.fail_after(10):
        async with house.running():
            root = await house.run()
            with pytest.raises(Refused) as refused:
                await root.ledger.hold(root.launch.attempt, ModelCall("unpriced", 10, 10))
            assert refused.value.code == "channel_unpriced"
