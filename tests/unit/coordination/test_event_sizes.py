"""Whatever agents write, an event takes no more than the journal does, and a verb does or refuses, nothing else."""

import operator
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palmette.coordination.bounds import ANSWER_BYTES, json_size
from palmette.coordination.codec import encode
from palmette.coordination.errors import Refused
from palmette.coordination.events import Event
from palmette.coordination.identity import CallKey
from palmette.coordination.ports import ModelCall
from palmette.coordination.store.journal import EVENT_MAX_BYTES
from palmette.coordination.values import Usage, Verdict
from tests.fakes.outside import FakeChecks
from tests.support.house import House

pytestmark = pytest.mark.anyio

HOSTILE: st.SearchStrategy[str] = st.builds(
    operator.mul,
    st.sampled_from(["\x01", '"', "\\", "\N{DECIDUOUS TREE}", "a", "\x1b[2J", "\u202e", "\0", "\ud800", "é, "]),
    st.sampled_from([1, 3, 39, 119, 120, 121, 199, 200, 201, 399, 1_000, 1_025, 3_000, 70_000]),
)
COUNTS = (0, 1, 3, 8, 9, 10, 11, 16, 17, 32, 33)


class TalkativeChecks(FakeChecks):
    """Checks that pass, and say of themselves what a test wants them to."""

    said = ""

    async def run(self, check: Mapping[str, Any], *, tree: str, repository: str, commit: str, base: str) -> Verdict:
        word = self.said
        return Verdict(
            word[:200], "pass", 1e300, word, 1.0, word, word, word, word, 1.0, word, "higher", True, {"tests": word}
        )


@asynccontextmanager
async def talkative(directory: Path, said: str) -> AsyncGenerator[House]:
    """A house whose checks and repository say `said` wherever they may."""
    house = House(directory, max_live=40)
    house.checks = checks = TalkativeChecks()
    checks.said = said

    async def resolve(repository: str, ref: str | None) -> tuple[str, list[str]]:
        return "c" * 40, [said] * 30

    house.workspaces.resolve = resolve
    async with house.running():
        yield house


async def journal(house: House) -> list[Event]:
    """Everything that was journaled; too large an event would not be here."""
    events = await house.store.events(limit=100_000)
    assert all(json_size(encode(event.data)) <= EVENT_MAX_BYTES for event in events)
    answers = [event.data.answer for event in events if event.kind == "verb_called"]
    assert all(json_size(answer) <= ANSWER_BYTES for answer in answers)
    return events


def without_surrogates(text: str) -> str:
    """The text as it would come from a stream of UTF-8."""
    return text.replace("\ud800", "")


async def try_it(made: Awaitable[Any]) -> str:
    """What became of a call: `ok`, or the code of its refusal. Anything else is a fault."""
    try:
        await made
    except Refused as refused:
        return refused.code
    return "ok"


async def drive(house: House, pool: list[str], dice: Random) -> None:
    """A driver and its child do everything there is to do, with hostile words."""
    verbs = house.verbs

    def word() -> str:
        return dice.choice(pool)

    def words() -> list[str]:
        # As often short enough for the list as not, so that lists are filled to their bounds.
        most = dice.choice((10, 20, 40, 120, 200, 70_000))
        return [word()[:most] for _ in range(dice.choice(COUNTS))]

    def key() -> CallKey:
        # The numbers tell one request from the next; the wire holds no lone surrogates.
        return CallKey(without_surrogates(word()), f"{without_surrogates(word())}{dice.random()}")

    root = await house.run(pool={"turns": 1_000})
    driver = house.as_node(root)
    for words_given in (
        {"task": word(), "base": "HEAD"},
        {"key": word()},
        {"label": word()},
        {"profile": {"prompt": word(), "description": word()}},
        {"profile": {"tools": words(), "skills": words(), "egress": words()}},
        {"profile": {"model": word(), word(): word()}},
        {"profile": word()},
        {"checks": words()},
        {"checks": [{"id": word(), without_surrogates(word()): words()}]},
    ):
        arguments: dict[str, Any] = {"task": "Help.", "budget": {"turns": 1}, **words_given}
        await try_it(verbs.spawn(driver, key(), **arguments))
    child = await house.spawn(root, "fix", checks=[{"id": f"check-{n}"} for n in range(dice.choice((0, 1, 8)))])
    worker = house.as_node(child)
    hold = await root.ledger.hold(root.launch.attempt, ModelCall("m", 1, 1))
    await root.ledger.book(root.launch.attempt, hold, Usage(1), model=without_surrogates(word()))
    await try_it(verbs.notify(worker, key(), summary=word(), refs=words()))
    for change in ("answer", "escalate"):
        asked = verbs.ask_parent(worker, key(), question=word(), why=word(), options=words(), wait_s=0)
        await try_it(asked)
        for event in await house.store.events(kinds=("question_asked",)):
            said = {"text": word()} if change == "answer" else {"escalate": word()}
            await try_it(verbs.answer(driver, key(), question=f"q{event.seq}", **said))
    await try_it(verbs.answer(driver, key(), question=word(), text=word()))
    await try_it(verbs.steer(driver, key(), node="fix", message=word()))
    await try_it(verbs.steer(driver, key(), node=word(), message="Go on."))
    await try_it(verbs.await_event(driver, key(), cursor=word(), wait_s=0))
    await try_it(verbs.await_event(driver, key(), nodes=words(), wait_s=0))
    await try_it(verbs.observe(driver, node=word()))
    await try_it(verbs.await_event(worker, None, wait_s=0))
    await try_it(verbs.submit(worker, key(), result=word(), artifacts=words(), incomplete=dice.random() < 0.3))
    await try_it(verbs.submit(worker, key(), result=word()))
    await try_it(verbs.select(driver, key(), nodes=["fix"], objectives=words()))
    await try_it(verbs.select(driver, key(), nodes=words()))
    await try_it(verbs.stop(driver, key(), node="fix", reason=word()))
    await try_it(verbs.stop(driver, key(), node=word(), reason=word()))
    await try_it(verbs.select(driver, key(), nodes=["fix"], objectives=words()))


@given(pool=st.lists(HOSTILE, min_size=1, max_size=8), seed=st.integers(0, 2**32))
@settings(max_examples=80, deadline=None)
async def test_no_words_of_an_agent_make_an_event_that_does_not_fit(pool: list[str], seed: int) -> None:
    with tempfile.TemporaryDirectory() as directory, anyio.fail_after(60):
        async with talkative(Path(directory), without_surrogates(pool[0])) as house:
            await drive(house, pool, Random(seed))  # noqa: S311 -- which words go where
            await journal(house)
