"""Verbs called with what is nobody's, another's, over, or no amount: a code and a hint, and nothing has changed."""

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from palmette.coordination.errors import Refused
from palmette.coordination.events import Event
from palmette.coordination.identity import Visitor
from palmette.coordination.ports import Exit
from palmette.coordination.values import CHANNELS, TEXT_MAX_BYTES
from palmette.coordination.verbs import RunOrder
from tests.support.house import House

pytestmark = pytest.mark.anyio

Verb = Callable[[House, Visitor, str], Awaitable[Any]]

ON_A_CHILD: dict[str, Verb] = {
    "steer": lambda house, who, node: house.verbs.steer(who, None, node=node, message="m"),
    "interrupt": lambda house, who, node: house.verbs.steer(who, None, node=node, message="m", interrupt=True),
    "stop": lambda house, who, node: house.verbs.stop(who, None, node=node, reason="enough"),
    "select": lambda house, who, node: house.verbs.select(who, None, nodes=["own", node]),
    "await_event": lambda house, who, node: house.verbs.await_event(who, None, nodes=[node], wait_s=0),
}
"""Every verb that names a child."""

EVERY_VERB: dict[str, Verb] = {
    **ON_A_CHILD,
    "spawn": lambda house, who, _: house.verbs.spawn(who, None, task="t"),
    "ask_parent": lambda house, who, _: house.verbs.ask_parent(who, None, question="?", why="w", wait_s=0),
    "ask_parent again": lambda house, who, _: house.verbs.ask_parent(who, None, question_id="q1", wait_s=0),
    "answer": lambda house, who, _: house.verbs.answer(who, None, question="q1", text="yes"),
    "submit": lambda house, who, _: house.verbs.submit(who, None, result="r"),
    "notify": lambda house, who, _: house.verbs.notify(who, None, summary="s"),
    "observe": lambda house, who, _: house.verbs.observe(who),
    "list": lambda house, who, _: house.verbs.allowed(who),
}


async def refused(house: House, act: Awaitable[Any]) -> str:
    """The code of a refusal that says why and what next, and after which the journal is what it was (B2, S2)."""
    before = await journal(house)
    with pytest.raises(Refused) as raised:
        await act
    assert raised.value.message
    assert raised.value.hint
    assert await journal(house) == before
    return raised.value.code


async def journal(house: House) -> list[Event]:
    return list(await house.store.events(limit=10_000))


@pytest.mark.rule("S2")
@pytest.mark.parametrize("verb", ON_A_CHILD.values(), ids=ON_A_CHILD)
async def test_an_unknown_node(house: House, verb: Verb) -> None:
    names = ("", "nobody", "t1/0.99", "t9/0", "t1/0.1#1", "../t1", "0.2", "--own", "\x1b[31m", "o" * 10_000)
    with anyio.fail_after(10):
        async with house.running():
            root = await house.run()
            own = await house.spawn(root, "own")
            own.tell(Exit(0))
            await anyio.wait_all_tasks_blocked()
            for name in names:
                assert await refused(house, verb(house, house.as_node(root), name)) == "unknown_node"


@pytest.mark.rule("S1")
@pytest.mark.parametrize("verb", ON_A_CHILD.values(), ids=ON_A_CHILD)
async def test_someone_elses_child(house: House, verb: Verb) -> None:
    """Not the grandchild, not the parent, not the sibling, not oneself, and nothing of another tree."""
    with anyio.fail_after(10):
        async with house.running():
            root = await house.run()
            middle = await house.spawn(root, "middle", profile="driver")
            await house.spawn(root, "sibling")
            below = await house.spawn(middle, "below", profile="driver")
            await house.spawn(below, "deepest")
            other = await house.run()
            await house.spawn(other, "theirs")
            own = await house.spawn(middle, "own")
            own.tell(Exit(0))
            await anyio.wait_all_tasks_blocked()
            driver = house.as_node(middle)
            for node in ("t1/0", "t1/0.1", "t1/0.2", "t1/0.1.1.1", "t2/0", "t2/0.1"):
                assert await refused(house, verb(house, driver, node)) == "not_your_child"
            # Labels are a parent's own: those of others are names of nothing here.
            for label in ("sibling", "deepest", "theirs"):
                assert await refused(house, verb(house, driver, label)) == "unknown_node"


@pytest.mark.rule("S1")
async def test_what_is_not_in_ones_subtree_cannot_be_observed(house: House) -> None:
    with anyio.fail_after(10):
        async with house.running():
            root = await house.run()
            child = await house.spawn(root, "one")
            await house.spawn(root, "two")
            await house.run()
            for node in ("t1/0", "t1/0.2", "two", "t2/0", "t1/0.11"):
                assert await refused(house, house.verbs.observe(house.as_node(child), node=node)) == "unknown_node"


@pytest.mark.rule("Q1")
async def test_someone_elses_question(house: House) -> None:
    with anyio.fail_after(10):
        async with house.running():
            root = await house.run()
            one, two = [await house.spawn(root, label, profile="driver") for label in ("one", "two")]
            asked = await house.verbs.ask_parent(
                house.as_node(one), None, question="?", why="w", urgency="can_continue"
            )
            for who in (one, two):
                act = house.verbs.answer(house.as_node(who), None, question=asked["question"], text="yes")
                assert await refused(house, act) == "not_your_question"
            again = house.verbs.ask_parent(house.as_node(two), None, question_id=asked["question"], wait_s=0)
            assert await refused(house, again) == "unknown_question"


@pytest.mark.rule("S1")
@pytest.mark.parametrize("verb", EVERY_VERB.values(), ids=EVERY_VERB)
async def test_a_token_after_its_node_has_settled(house: House, verb: Verb) -> None:
    with anyio.fail_after(10):
        async with house.running():
            root = await house.run()
            child = await house.spawn(root, "own", profile="driver")
            token = house.as_node(child)
            child.tell(Exit(0))
            await anyio.wait_all_tasks_blocked()
            assert await refused(house, verb(house, token, "own")) == "attempt_over"


@pytest.mark.rule("S1")
@pytest.mark.parametrize("verb", EVERY_VERB.values(), ids=EVERY_VERB)
async def test_a_token_replayed_in_the_life_of_the_next_attempt(house: House, verb: Verb) -> None:
    with anyio.fail_after(10):
        async with house.running():
            token = house.as_node(await house.run())
        async with house.running():
            await house.harnesses.of("t1/0#2")
            assert await refused(house, verb(house, token, "own")) == "attempt_over"


@pytest.mark.rule("B2")
@pytest.mark.parametrize("channel", ["usd", "tokens", "turns", "seconds", "deadline_s"])
async def test_an_amount_that_is_none(house: House, channel: str) -> None:
    amounts = (-1, -0.5, 0.0000001, "1e400", float("nan"), float("inf"), True, "many", [1], 2**80)
    with anyio.fail_after(10):
        async with house.running():
            root = await house.run(pool={"usd": 1.0, "tokens": 10, "turns": 10, "seconds": 10})
            for amount in amounts:
                spawn = house.verbs.spawn(house.as_node(root), None, task="t", budget={channel: amount})
                assert await refused(house, spawn) == "bad_budget"


@pytest.mark.rule("B2")
async def test_a_pool_that_is_none(house: House) -> None:
    with anyio.fail_after(10):
        async with house.running():
            for channel in CHANNELS:
                for amount in (-1, 2**53):
                    run = house.operator.run(RunOrder("t", "/repository", pool={channel: amount}))
                    assert await refused(house, run) == "bad_budget"


@pytest.mark.parametrize(
    ("text", "code"), [("x" * (TEXT_MAX_BYTES + 1), "too_large"), ("a\0b", "bad_text"), ("a\udcffb", "bad_text")]
)
async def test_text_that_cannot_be_kept(house: House, text: str, code: str) -> None:
    with anyio.fail_after(20):
        async with house.running():
            root = await house.run()
            child = await house.spawn(root, "own")
            driver, worker, verbs = house.as_node(root), house.as_node(child), house.verbs
            for act in (
                verbs.spawn(driver, None, task=text),
                verbs.steer(driver, None, node="own", message=text),
                verbs.stop(driver, None, node="own", reason=text),
                verbs.answer(driver, None, question="q1", text=text),
                verbs.ask_parent(worker, None, question=text, why="w", wait_s=0),
                verbs.ask_parent(worker, None, question="?", why=text, wait_s=0),
                verbs.submit(worker, None, result=text),
                verbs.notify(worker, None, summary=text),
                house.operator.run(RunOrder(text, "/repository")),
                house.operator.steer("t1/0", text),
            ):
                assert await refused(house, act) == code
            # And the house is as it was: the child can go on.
            assert (await verbs.notify(worker, None, summary="still here"))["ok"]
