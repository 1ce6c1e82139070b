"""What a person does to a running tree, and what a driver does with sessions of settled children."""

import anyio
import pytest

from palmette.coordination.errors import Refused
from palmette.coordination.ports import Exit, Idle
from palmette.coordination.records import Node
from tests.fakes.harness import FakeHarness
from tests.support.house import House

pytestmark = pytest.mark.anyio


async def stands(house: House, harness: FakeHarness) -> Node:
    node = await house.store.read(lambda reading: reading.get(Node, harness.launch.attempt.partition("#")[0]))
    assert node is not None
    return node


async def test_a_paused_node_is_frozen_with_all_below_it_and_told_nothing_until_it_goes_on(house: House) -> None:
    with anyio.fail_after(10):
        async with house.running():
            root = await house.run()
            child = await house.spawn(root)
            answer = await house.operator.pause("t1/0")
            assert answer["nodes"] == ["t1/0", "t1/0.1"]
            assert (root.frozen, child.frozen) == (True, True)
            child.tell(Exit(0))
            root.tell(Idle())
            await anyio.wait_all_tasks_blocked()
            assert len(root.said) == 1
            await house.operator.resume("t1/0")
            await anyio.wait_all_tasks_blocked()
            assert not root.frozen
            assert "1 unread: settled 1" in root.said[-1][2]
            with pytest.raises(Refused) as refused:
                await house.operator.resume("t1/0")
            assert refused.value.code == "not_paused"


async def test_a_person_steers_any_node_and_learns_whether_it_arrived(house: House) -> None:
    with anyio.fail_after(10):
        async with house.running():
            root = await house.run()
            child = await house.spawn(root)
            answer = await house.operator.steer("t1/0.1", "Faster.", interrupt=True)
            assert answer["outcome"] == "delivered"
            assert child.said[-1][0] == "interrupt"
            assert child.said[-1][2] == "Message from a person: Faster."
            child.tell(Exit(0))
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(Refused) as refused:
                await house.operator.steer("t1/0.1", "Faster.")
            assert refused.value.code == "already_settled"


@pytest.mark.rule("Q4")
async def test_an_override_comes_down_one_level_and_names_what_it_corrects(house: House) -> None:
    with anyio.fail_after(10):
        async with house.running():
            root = await house.run()
            child = await house.spawn(root, "fix", profile="driver")
            below = await house.spawn(child, "deep")
            answer = await house.verbs.steer(house.as_node(root), None, node="fix", message="Not so.", supersedes=7)
            assert answer["outcome"] == "delivered"
            assert child.said[-1][2] == "Your parent overrides an earlier decision (event 7): Not so."
            event = next(e for e in await house.store.events() if e.kind == "message_intended")
            assert (event.data.purpose, event.data.supersedes) == ("override", 7)
            with pytest.raises(Refused) as refused:
                await house.verbs.steer(house.as_node(root), None, node="t1/0.1.1", message="Not so.", supersedes=7)
            assert (refused.value.code, refused.value.details["outcome"]) == ("not_your_child", "not_your_child")
            assert [how for how, _, _ in below.said] == ["prompt"]


async def test_a_person_stops_a_node_and_is_named_as_who_did(house: House) -> None:
    with anyio.fail_after(10):
        async with house.running():
            root = await house.run()
            await house.operator.stop("t1/0", "enough")
            node = await stands(house, root)
            assert (node.settlement, node.cause, node.settled_by, node.reason) == (
                "cancelled",
                "stopped",
                "person",
                "enough",
            )


async def test_a_settled_childs_session_goes_on_in_a_new_node(house: House) -> None:
    with anyio.fail_after(10):
        async with house.running():
            root = await house.run()
            child = await house.spawn(root, "fix")
            (child.launch.session_directory / "history").write_text("what was said")
            await house.verbs.submit(house.as_node(child), None, result="Done.")
            child.tell(Idle())
            await anyio.wait_all_tasks_blocked()
            again = await house.spawn(root, "fix", continuity="resume")
            assert again.launch.session == "session-of-t1/0.1#1"
            assert (again.launch.session_directory / "history").read_text() == "what was said"
            assert again.launch.session_directory != child.launch.session_directory


@pytest.mark.rule("B15")
async def test_nodes_that_are_resumed_take_their_slots_before_any_spawn(house: House) -> None:
    small = House(house.settings.data, max_live=2)
    with anyio.fail_after(10):
        async with small.running():
            root = await small.run()
            await small.spawn(root)
        async with small.running():
            root = await small.harnesses.of("t1/0#2")
            with pytest.raises(Refused) as refused:
                await small.verbs.spawn(small.as_node(root), None, task="Help.")
            assert (refused.value.code, refused.value.details["free_slots"]) == ("max_live", 0)
