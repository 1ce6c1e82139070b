"""Roots that a person runs himself: they begin lazily, detach without settling, and can be adopted."""

from pathlib import Path

import anyio
import pytest

from palmette.coordination.errors import Refused
from palmette.coordination.identity import Visitor
from palmette.coordination.ports import Exit
from palmette.coordination.records import Node, Tree
from tests.support.house import House

pytestmark = pytest.mark.anyio

PERSON = Visitor("relay-1", harness="claude-code", session="s-1", directory="/repository")


async def tree_of(house: House, name: str = "t1") -> Tree | None:
    return await house.store.read(lambda reading: reading.get(Tree, name))


@pytest.mark.rule("R11")
async def test_no_tree_exists_before_the_first_verb_that_writes(house: House) -> None:
    with anyio.fail_after(10):
        async with house.running():
            assert "spawn" in await house.verbs.allowed(PERSON)
            for read in (house.verbs.observe(PERSON), house.verbs.await_event(PERSON, None)):
                with pytest.raises(Refused) as refused:
                    await read
                assert refused.value.code == "no_tree"
            assert await tree_of(house) is None
            answer = await house.verbs.spawn(PERSON, None, task="Help.", label="fix")
            assert (answer["node"], answer["budget"]["turns"]) == ("t1/0.1", 400 - 400 // 9)
            tree = await tree_of(house)
            assert tree is not None
            assert (tree.mode, tree.repository, tree.root_key) == ("attached", "/repository", "claude-code:s-1")


@pytest.mark.rule("R11")
async def test_the_same_session_on_another_connection_is_the_same_root_and_another_session_is_not(house: House) -> None:
    with anyio.fail_after(10):
        async with house.running():
            await house.verbs.spawn(PERSON, None, task="Help.")
            again = Visitor("relay-2", harness="claude-code", session="s-1", directory="/elsewhere")
            other = Visitor("relay-3", harness="claude-code", session="s-2", directory="/repository")
            assert (await house.verbs.spawn(again, None, task="Help."))["node"] == "t1/0.2"
            assert (await house.verbs.spawn(other, None, task="Help."))["node"] == "t2/0.1"


@pytest.mark.rule("R8")
async def test_a_root_that_goes_away_is_detached_not_settled_and_its_tree_goes_on(house: House) -> None:
    with anyio.fail_after(10):
        async with house.running():
            await house.verbs.spawn(PERSON, None, task="Help.", label="fix")
            child = await house.harnesses.of("t1/0.1#1")
            await house.verbs.bye(PERSON)
            tree = await tree_of(house)
            assert tree is not None
            assert (tree.state, tree.detached) == ("open", True)
            child.tell(Exit(0))
            await anyio.wait_all_tasks_blocked()
            got = await house.verbs.await_event(PERSON, None)
            assert got["events"][0]["label"] == "fix"
            tree = await tree_of(house)
            assert tree is not None
            assert not tree.detached


async def test_a_detached_roots_questions_go_to_the_inbox_and_it_can_be_adopted(house: House) -> None:
    with anyio.fail_after(10):
        async with house.running():
            await house.verbs.spawn(PERSON, None, task="Help.")
            child = await house.harnesses.of("t1/0.1#1")
            await house.verbs.ask_parent(house.as_node(child), None, question="Which?", wait_s=0)
            assert await house.operator.inbox() == []
            await house.verbs.bye(PERSON)
            inbox = await house.operator.inbox()
            assert [item["text"] for item in inbox] == ["Which?"]
            assert await house.operator.adopt("t1") == {"tree": "t1", "adopted": True}
            await house.operator.answer(inbox[0]["question"], "This one.")
            await anyio.wait_all_tasks_blocked()
            assert child.said[-1][2].endswith("This one.")


@pytest.mark.rule("E10")
async def test_what_an_attached_root_leaves_unread_for_a_minute_is_shown_in_the_inbox(house: House) -> None:
    with anyio.fail_after(10):
        async with house.running():
            await house.verbs.spawn(PERSON, None, task="Help.")
            child = await house.harnesses.of("t1/0.1#1")
            await house.verbs.notify(house.as_node(child), None, summary="halfway", salience=2)
            await house.verbs.ask_parent(house.as_node(child), None, question="Which?", wait_s=0)
            assert await house.operator.inbox() == []
            house.clock.advance(60)
            assert [(item["type"], item.get("kind")) for item in await house.operator.inbox()] == [
                ("question", "decision"),
                ("unread", "notify"),
            ]
            got = await house.verbs.await_event(PERSON, None)
            assert [event["type"] for event in got["events"]] == ["question", "notify"]
            assert got["events"][1]["summary"] == "halfway"
            assert [item["type"] for item in await house.operator.inbox()] == ["question"]


async def test_its_submit_ends_the_tree_and_the_next_verb_that_writes_begins_another(house: House) -> None:
    with anyio.fail_after(10):
        async with house.running():
            await house.verbs.spawn(PERSON, None, task="Help.")
            child = await house.harnesses.of("t1/0.1#1")
            answer = await house.verbs.submit(PERSON, None, result="Done.")
            assert answer["accepted"] is True
            await anyio.wait_all_tasks_blocked()
            tree = await tree_of(house)
            assert tree is not None
            assert tree.state == "closed"
            assert child.stopped
            assert (await house.verbs.spawn(PERSON, None, task="Help."))["node"] == "t2/0.1"


@pytest.mark.rule("B11")
async def test_a_restart_neither_charges_nor_settles_an_attached_roots_own_attempt(house: House) -> None:
    with anyio.fail_after(10):
        async with house.running():
            await house.verbs.spawn(PERSON, None, task="Help.")
            await house.harnesses.of("t1/0.1#1")
        async with house.running():
            await house.harnesses.of("t1/0.1#2")
            root = await house.store.read(lambda reading: reading.get(Node, "t1/0"))
            assert root is not None
            assert (root.state, root.attempts) == ("open", 1)
            got = await house.verbs.observe(PERSON)
            assert got["budget"]["spent"] == {"usd": 0.0, "tokens": 0, "turns": 0, "seconds": 0}


async def test_outside_a_repository_a_root_has_none(house: House, tmp_path: Path) -> None:
    with anyio.fail_after(10):
        async with house.running():
            await house.verbs.notify(Visitor("relay-1", directory=str(tmp_path)), None, summary="hello")
            tree = await tree_of(house)
            assert tree is not None
            assert (tree.repository, tree.root_key) == (None, "connection:relay-1")
