"""await_event and ask_parent, through the verbs, on a clock that the test owns."""

from typing import Any

import anyio
import pytest

from palmette.coordination.errors import Refused
from palmette.coordination.identity import CallKey, Visitor
from palmette.coordination.ports import Exit, Idle
from palmette.coordination.records import Question
from tests.support.house import House

pytestmark = pytest.mark.anyio


async def settle_pending_tasks() -> None:
    """Let every task that can run do so."""
    await anyio.wait_all_tasks_blocked()


@pytest.mark.rule("E7")
async def test_a_settlement_wakes_a_waiting_parent(house: House) -> None:
    with anyio.fail_after(10):
        async with house.running():
            root = await house.run()
            child = await house.spawn(root, "fix")
            got: list[dict[str, Any]] = []

            async def wait() -> None:
                got.append(await house.verbs.await_event(house.as_node(root), None))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(wait)
                await settle_pending_tasks()
                child.tell(Exit(3, "it broke"))
            event = got[0]["events"][0]
            assert (event["type"], event["label"], event["cause"]) == ("settled", "fix", "exited_without_submit")
            assert got[0]["cursor"].startswith("c")


@pytest.mark.rule("E7")
async def test_a_settlement_is_seen_by_a_parent_that_was_not_waiting(house: House) -> None:
    with anyio.fail_after(10):
        async with house.running():
            root = await house.run()
            child = await house.spawn(root, "fix")
            child.tell(Exit(3, "it broke"))
            await settle_pending_tasks()
            got = await house.verbs.await_event(house.as_node(root), None)
            assert [event["label"] for event in got["events"]] == ["fix"]
            again = await house.verbs.await_event(house.as_node(root), None)
            assert again["events"][0]["redelivered"] is True
            done = await house.verbs.await_event(house.as_node(root), None, cursor=again["cursor"])
            assert done["idle"] is True


@pytest.mark.rule("S4")
async def test_a_second_await_ends_the_first_with_superseded(house: House) -> None:
    with anyio.fail_after(10):
        async with house.running():
            root = await house.run()
            await house.spawn(root)
            got: dict[str, dict[str, Any]] = {}

            async def wait(name: str, wait_s: float) -> None:
                got[name] = await house.verbs.await_event(house.as_node(root), None, wait_s=wait_s)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(wait, "first", 100.0)
                await settle_pending_tasks()
                tasks.start_soon(wait, "second", 1.0)
                await settle_pending_tasks()
                assert got["first"] == {"ok": True, "superseded": True}
                house.clock.advance(1)
            assert got["second"]["pending"] is True


async def test_a_wait_ends_pending_and_beats_every_fifteen_seconds(house: House) -> None:
    with anyio.fail_after(10):
        async with house.running():
            root = await house.run()
            await house.spawn(root)
            beats: list[str] = []
            got: list[dict[str, Any]] = []

            async def beat(line: str) -> None:
                beats.append(line)

            async def wait() -> None:
                got.append(await house.verbs.await_event(house.as_node(root), None, wait_s=40, progress=beat))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(wait)
                for _ in range(8):
                    await settle_pending_tasks()
                    house.clock.advance(5)
            assert got[0]["pending"] is True
            assert [child["label"] for child in got[0]["live"]] == ["1"]
            assert beats == ["1 live, $0.00 of $5.00"] * 2


async def test_a_wait_resent_after_a_restart_keeps_its_deadline(house: House) -> None:
    with anyio.fail_after(10):
        async with house.running():
            root = await house.run()
            await house.spawn(root)
            got = await house.verbs.await_event(house.as_node(root), None, wait_s=20, since=20.0)
            assert got["pending"] is True


async def test_with_nothing_queued_and_nothing_live_it_says_idle_at_once(house: House) -> None:
    with anyio.fail_after(10):
        async with house.running():
            root = await house.run()
            got = await house.verbs.await_event(house.as_node(root), None)
            assert got["idle"] is True
            assert got["free_slots"] == 7


@pytest.mark.rule("B12")
async def test_seconds_stand_still_in_a_wait(house: House) -> None:
    with anyio.fail_after(10):
        async with house.running():
            root = await house.run()
            await house.spawn(root)

            async def wait() -> None:
                await house.verbs.await_event(house.as_node(root), None, wait_s=60)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(wait)
                await settle_pending_tasks()
                house.clock.advance(60)
            await settle_pending_tasks()
            house.clock.advance(7)
            await settle_pending_tasks()
            told = await house.operator.node(root.launch.attempt.partition("#")[0])
            assert told["budget"]["spent"]["seconds"] == 7


@pytest.mark.rule("Q5", "Q4")
async def test_ask_parent_waits_live_and_gets_the_parents_answer_at_once(house: House) -> None:
    with anyio.fail_after(10):
        async with house.running():
            root = await house.run()
            child = await house.spawn(root, "docs")
            got: list[dict[str, Any]] = []
            event: dict[str, Any] = {}

            async def ask() -> None:
                got.append(
                    await house.verbs.ask_parent(
                        house.as_node(child), None, question="Where?", why="unclear", urgency="blocks_step"
                    )
                )

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ask)
                await settle_pending_tasks()
                asked = await house.verbs.await_event(house.as_node(root), None)
                event |= asked["events"][0]
                assert (event["type"], event["from"], event["text"]) == ("question", "docs", "Where?")
                await house.verbs.answer(house.as_node(root), None, question=event["question"], text="There.")
            assert (got[0]["answer"], got[0]["by"]) == ("There.", "parent")
            question = await house.store.read(lambda reading: reading.get(Question, event["question"]))
            assert question is not None
            assert question.state == "delivered"
            assert [how for how, _, _ in child.said] == ["prompt"]


@pytest.mark.rule("Q5")
async def test_a_later_answer_arrives_as_a_message_and_interrupts_if_the_run_was_blocked(house: House) -> None:
    with anyio.fail_after(10):
        async with house.running():
            root = await house.run()
            child = await house.spawn(root)
            got = await house.verbs.ask_parent(
                house.as_node(child), None, question="Where?", urgency="blocks_run", wait_s=0
            )
            assert got["state"] == "with_parent"
            await house.verbs.answer(house.as_node(root), None, question=got["question"], text="There.")
            await settle_pending_tasks()
            how, _, text = child.said[-1]
            assert how == "interrupt"
            assert text == f"Answer to your question {got['question']}: There."


@pytest.mark.rule("Q3")
async def test_a_root_without_a_person_is_told_that_it_is_the_last_to_decide(house: House) -> None:
    with anyio.fail_after(10):
        async with house.running():
            root = await house.run(person=False)
            got = await house.verbs.ask_parent(house.as_node(root), None, question="Where?")
            assert got["state"] == "no_parent"


@pytest.mark.rule("Q9")
async def test_one_inbox_holds_the_questions_of_every_tree(house: House) -> None:
    with anyio.fail_after(10):
        async with house.running():
            roots = [await house.run(), await house.run()]
            for root in roots:
                await house.verbs.ask_parent(house.as_node(root), None, question="Which?", wait_s=0)
            inbox = await house.operator.inbox()
            assert [item["tree"] for item in inbox] == ["t1", "t2"]
            await house.operator.answer(inbox[0]["question"], "This one.")
            await settle_pending_tasks()
            assert roots[0].said[-1][2].endswith("This one.")
            assert [item["tree"] for item in await house.operator.inbox()] == ["t2"]


@pytest.mark.rule("E3")
async def test_the_same_request_sent_again_has_its_effect_once(house: House) -> None:
    with anyio.fail_after(10):
        async with house.running():
            root = await house.run()
            key = CallKey("relay", "7")
            first = await house.verbs.spawn(house.as_node(root), key, task="Help.")
            again = await house.verbs.spawn(house.as_node(root), key, task="Help.")
            other = await house.verbs.spawn(house.as_node(root), CallKey("relay", "8"), task="Help.")
            assert first == again
            assert other["node"] != first["node"]


@pytest.mark.rule("S1")
async def test_a_token_of_no_live_attempt_is_refused(house: House) -> None:
    with anyio.fail_after(10):
        async with house.running():
            root = await house.run()
            child = await house.spawn(root)
            visitor = house.as_node(child)
            await house.verbs.stop(house.as_node(root), None, node="1", reason="enough")
            for who in (visitor, Visitor("x", token="guessed"), Visitor("x", token="")):
                with pytest.raises(Refused) as refused:
                    await house.verbs.notify(who, None, summary="hello")
                assert refused.value.code == "attempt_over"


async def test_an_idle_driver_is_prompted_with_its_unread_events(house: House) -> None:
    with anyio.fail_after(10):
        async with house.running():
            root = await house.run()
            child = await house.spawn(root, "fix")
            root.tell(Idle())
            await settle_pending_tasks()
            assert len(root.said) == 1
            child.tell(Exit(0))
            await settle_pending_tasks()
            how, _, text = root.said[-1]
            assert how == "prompt"
            assert "1 unread: settled fix. Call await_event." in text
