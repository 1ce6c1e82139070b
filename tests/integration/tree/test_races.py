"""Two things at once: what comes in between must not settle the wrong work, or leave anything running."""

from typing import Any

import anyio
import pytest

from palmette.coordination.errors import Refused
from palmette.coordination.ports import Exit
from palmette.coordination.records import Node
from palmette.coordination.supervisor.supervisor import Supervisor
from tests.fakes.harness import FakeHarness
from tests.support.house import House

pytestmark = pytest.mark.anyio

TESTS = {"id": "tests", "kind": "tests", "spec": {"command": ["true"]}}


async def stands(house: House, harness: FakeHarness) -> Node:
    node = await house.store.read(lambda reading: reading.get(Node, harness.launch.attempt.partition("#")[0]))
    assert node is not None
    return node


async def test_while_one_submit_is_judged_another_is_refused(house: House) -> None:
    house.checks.says["tests"] = ["pass"]
    house.checks.gate = anyio.Event()
    with anyio.fail_after(10):
        async with house.running():
            root = await house.run()
            child = await house.spawn(root, checks=[TESTS])
            got: list[dict[str, Any]] = []

            async def submit() -> None:
                got.append(await house.verbs.submit(house.as_node(child), None, result="good"))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(submit)
                await anyio.wait_all_tasks_blocked()
                with pytest.raises(Refused) as refused:
                    await house.verbs.submit(house.as_node(child), None, result="evil")
                assert refused.value.code == "already_submitted"
                house.checks.gate.set()
            assert got[0]["valid"] is True
            assert (await stands(house, child)).result == "good"


async def test_a_submit_that_is_judged_after_the_end_of_its_node_counts_for_nothing(house: House) -> None:
    house.checks.says["tests"] = ["pass"]
    house.checks.gate = anyio.Event()
    with anyio.fail_after(10):
        async with house.running():
            root = await house.run()
            child = await house.spawn(root, "fix", checks=[TESTS])
            got: list[str] = []

            async def submit() -> None:
                try:
                    await house.verbs.submit(house.as_node(child), None, result="late")
                except Refused as refused:
                    got.append(refused.code)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(submit)
                await anyio.wait_all_tasks_blocked()
                await house.verbs.stop(house.as_node(root), None, node="fix", reason="enough")
                assert house.checks.gate is not None
                house.checks.gate.set()
            assert got == ["attempt_over"]
            node = await stands(house, child)
            assert (node.settlement, node.submit, node.verdicts) == ("cancelled", "judging", ())


@pytest.mark.rule("B13")
async def test_a_spawn_under_way_while_its_parent_is_ended_leaves_nothing_running(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    with anyio.fail_after(10):
        async with house.running():
            root = await house.run()
            child = await house.spawn(root, "fix", profile="driver")
            halting = anyio.Event()
            spawned = anyio.Event()
            halt = Supervisor._halt  # pyright: ignore[reportPrivateUsage] -- to come in between

            async def slowly(self: Supervisor, node_id: str, grace_s: float | None) -> Any:
                halting.set()
                await spawned.wait()
                return await halt(self, node_id, grace_s)

            monkeypatch.setattr(Supervisor, "_halt", slowly)

            def never(_: str) -> bool:
                return False

            async def stop() -> None:
                await house.verbs.stop(house.as_node(root), None, node="fix", reason="enough")

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(stop)
                await halting.wait()
                monkeypatch.setattr(house.supervisor, "is_ending", never)  # the spawn looked a moment before
                await house.verbs.spawn(house.as_node(child), None, task="Help.", label="late")
                await house.harnesses.of("t1/0.1.1#1")
                spawned.set()
            await anyio.wait_all_tasks_blocked()
            assert sorted(house.supervisor.lives) == ["t1/0"]
            assert house.harnesses.made["t1/0.1.1#1"].stopped
            assert house.supervisor.slots().live == 1


@pytest.mark.rule("E7")
async def test_a_stop_whose_call_is_cut_goes_on_to_its_end(house: House) -> None:
    with anyio.fail_after(10):
        async with house.running():
            root = await house.run()
            child = await house.spawn(root, "fix")
            stopping, go_on = anyio.Event(), anyio.Event()
            stop = child.stop

            async def slowly(grace_s: float) -> Any:
                stopping.set()
                await go_on.wait()
                return await stop(grace_s)

            child.stop = slowly  # type: ignore[method-assign]
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(lambda: house.verbs.stop(house.as_node(root), None, node="fix", reason="enough"))
                await stopping.wait()
                tasks.cancel_scope.cancel()
            go_on.set()
            await anyio.wait_all_tasks_blocked()
            assert (await stands(house, child)).settlement == "cancelled"
            got = await house.verbs.await_event(house.as_node(root), None)
            assert got["events"][0]["cause"] == "stopped"


async def test_a_node_that_could_not_be_ended_is_minded_again(house: House) -> None:
    with anyio.fail_after(10):
        async with house.running():
            root = await house.run()
            child = await house.spawn(root, "fix")
            child.survivors = [4711]
            await house.verbs.stop(house.as_node(root), None, node="fix", reason="enough")
            child.survivors = []
            child.tell(Exit(0))
            await anyio.wait_all_tasks_blocked()
            assert (await stands(house, child)).cause == "exited_without_submit"


async def test_a_paused_node_stays_paused_through_a_restart(house: House) -> None:
    with anyio.fail_after(10):
        async with house.running():
            root = await house.run()
            await house.spawn(root, "fix")
            await house.operator.pause("t1/0.1")
        async with house.running():
            await house.harnesses.of("t1/0#2")
            await anyio.wait_all_tasks_blocked()
            assert not house.harnesses.made["t1/0.1#2"].prompted.is_set()
            await house.operator.resume("t1/0.1")
            await house.harnesses.of("t1/0.1#2")


@pytest.mark.rule("Q7")
async def test_a_message_on_its_way_into_the_conversation_refuses_a_submit(house: House) -> None:
    with anyio.fail_after(10):
        async with house.running():
            root = await house.run()
            child = await house.spawn(root, "fix")
            child.deaf = True
            await house.verbs.ask_parent(house.as_node(child), None, question="Which?", wait_s=0)

            async def steer() -> None:
                await house.verbs.steer(house.as_node(root), None, node="fix", message="Wait.")

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(steer)
                await anyio.wait_all_tasks_blocked()
                assert child.said[-1][0] == "steer"
                with pytest.raises(Refused) as refused:
                    await house.verbs.submit(house.as_node(child), None, result="Done.")
                assert refused.value.code == "unread_messages"
                house.clock.advance(1)


@pytest.mark.rule("E8")
async def test_a_harness_that_a_signal_ended_is_an_infrastructure_failure(house: House) -> None:
    with anyio.fail_after(10):
        async with house.running():
            root = await house.run()
            root.tell(Exit(None, "killed by signal 9"))
            await anyio.wait_all_tasks_blocked()
            assert (await stands(house, root)).cause == "harness_failed"
