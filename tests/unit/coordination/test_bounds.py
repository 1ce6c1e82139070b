"""How much an agent may write into one event: filled to the brim it fits, and one more is refused."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palmette.coordination.bounds import ANSWER_BYTES, clip, fitting, json_size
from palmette.coordination.codec import encode
from palmette.coordination.errors import ProfileError, Refused
from palmette.coordination.events import Event
from palmette.coordination.identity import CallKey
from palmette.coordination.ports import Idle
from palmette.coordination.profiles import Profile, effective, inline
from palmette.coordination.records import Node
from palmette.coordination.store import SqliteStore
from palmette.coordination.store.journal import EVENT_MAX_BYTES
from palmette.coordination.values import Blob, Verdict
from palmette.coordination.verbs import RunOrder
from palmette.coordination.verbs.answers import shorten_to_size
from tests.fakes.outside import FakeChecks
from tests.support.house import House

pytestmark = pytest.mark.anyio

CONTROL = "\x01"
INLINE = CONTROL * 170
"""As much as an event holds of one text."""
KEY = CallKey("s" * 128, "1")


class FullChecks(FakeChecks):
    """Checks that say as much as a verdict may hold, and more."""

    async def run(self, check: Mapping[str, Any], *, tree: str, repository: str, commit: str, base: str) -> Verdict:
        word = "\N{DECIDUOUS TREE}" * 300
        given = Verdict(check["id"], "pass", -1.2345678901234567e-300, word, 0.12345678901234567, word * 10)
        return replace(given, check=word, check_digest=word, target_digest=word, does_not_prove=word, extra={"a": word})


class NarrowChecks(FakeChecks):
    """Checks of which some are wrong."""

    def problems(self, check: Mapping[str, Any]) -> list[str]:
        return [f"{check['id']}: is wrong"] if str(check["id"]).startswith("bad") else []


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path, max_live=40)


async def refusal(made: Any) -> str:
    """The code with which a call is refused."""
    with pytest.raises(Refused) as refused:
        await made
    return refused.value.code


async def last(house: House, kind: str) -> Event:
    """The newest event of a kind, which fits."""
    event = (await house.store.events(kinds=(kind,), newest=True, limit=1))[0]
    assert json_size(encode(event.data)) <= EVENT_MAX_BYTES
    return event


# ── what is full still fits ──────────────────────────────────────────────────────────────────────


async def test_a_spawn_filled_to_every_bound_fits(house: House) -> None:
    async def resolve(repository: str, ref: str | None) -> tuple[str, list[str]]:
        return "c" * 40, [CONTROL * 4_000] * 30

    house.workspaces.resolve = resolve
    narrowed = ("tools", "mcp", "egress", "mounts")
    parent = {name: [f"{name}-{'x' * 190}"] for name in narrowed}
    parent |= {"role": "driver", "sandbox": "docker", "workspace": "read-only", "limits": {"max_output": 1}}
    asked: dict[str, Any] = {name: [f"other-{name}-{'y' * 180}" for _ in range(1)] for name in narrowed}
    asked |= {
        "description": '"' * 80,
        "skills": ["s" * 180],
        "model": '"' * 150,
        "sandbox": "unsafe-none",
        "limits": {"max_output": 2**52},
        "prompt": INLINE,
    }
    checks = [{"id": f"c{number}", "x": "z" * 223} for number in range(8)]
    with anyio.fail_after(10):
        async with house.running():
            root = await house.run(pool={"turns": 1_000}, profile="driver")
            middle = await house.spawn(root, "middle", profile=parent, budget={"turns": 500})
            got = await house.verbs.spawn(
                house.as_node(middle),
                KEY,
                task=INLINE,
                label="l" * 40,
                key='"' * 99,
                profile=asked,
                checks=checks,
                base="main",
                budget={"turns": 100, "deadline_s": 31_536_000},
            )
            assert got["cut"]
            assert len(got["not_in_base"]) < 20
            spawned = await last(house, "node_spawned")
            assert json_size(encode(spawned.data)) > 5_000
            assert json_size((await last(house, "verb_called")).data.answer) <= ANSWER_BYTES


async def test_a_submit_with_eight_talkative_checks_fits_and_so_does_its_settlement(house: House) -> None:
    house.checks = FullChecks()
    with anyio.fail_after(10):
        async with house.running():
            root = await house.run()
            child = await house.spawn(root, "fix", checks=[{"id": f"{number}{'c' * 39}"} for number in range(8)])
            got = await house.verbs.submit(
                house.as_node(child), KEY, result=INLINE, artifacts=[f"{number:02}{'a' * 118}" for number in range(16)]
            )
            assert got["accepted"]
            assert all(verdict["evidence"] for verdict in got["verdicts"])
            judged = await last(house, "submit_judged")
            assert json_size(encode(judged.data)) > 4_000
            assert json_size((await last(house, "verb_called")).data.answer) <= ANSWER_BYTES
            await house.verbs.stop(house.as_node(root), None, node="fix", reason=CONTROL * 70_000)
            await last(house, "node_settled")
            node = await house.store.read(lambda reading: reading.get(Node, "t1/0.1"))
            assert node is not None
            assert isinstance(node.verdicts[0].evidence, Blob), "the record keeps what the settlement leaves out"
            assert await house.store.text(node.verdicts[0].evidence) == "\N{DECIDUOUS TREE}" * 3_000


async def test_short_evidence_stands_in_the_event_and_longer_is_kept_aside(house: House) -> None:
    house.checks.says["unit"] = ["fail"]
    with anyio.fail_after(10):
        async with house.running():
            child = await house.spawn(await house.run(), "fix", checks=["unit"])
            for result in ("once", "again"):
                await house.verbs.submit(house.as_node(child), None, result=result)
            assert (await last(house, "submit_judged")).data.verdicts[0].evidence == "result-of-t1/0.1: fail"


async def test_a_selection_of_as_many_as_may_be_fits(house: House) -> None:
    with anyio.fail_after(20):
        async with house.running():
            root = await house.run(pool={"turns": 1_000})
            driver = house.as_node(root)
            names = [f"{'n' * 37}{number:03}" for number in range(32)]
            for name in names:
                await house.spawn(root, name, budget={"turns": 1})
                await house.verbs.stop(driver, None, node=name, reason="enough")
            got = await house.verbs.select(driver, KEY, nodes=names, objectives=["o" * 40] * 10)
            assert (got["winner"], len(got["ranking"]) + got.get("more", 0)) == (None, 32)
            assert json_size((await last(house, "selected")).data.nodes) > 300
            assert json_size((await last(house, "verb_called")).data.answer) <= ANSWER_BYTES
            assert await refusal(house.verbs.select(driver, None, nodes=[*names, "x"])) == "too_large"


async def test_many_verdicts_do_not_crowd_a_ranking(house: House) -> None:
    names = [f"{'o' * 39}{number}" for number in range(8)]
    house.checks.says |= {name: ["pass"] for name in names}
    with anyio.fail_after(10):
        async with house.running():
            root = await house.run()
            child = await house.spawn(root, "fix", checks=[{"id": name} for name in names])
            await house.verbs.submit(house.as_node(child), None, result="r")
            child.tell(Idle())
            await house.verbs.await_event(house.as_node(root), None, kinds=["settled"])
            got = await house.verbs.select(house.as_node(root), None, nodes=["fix"], objectives=names)
            assert got["winner"] == "t1/0.1"
            assert json_size(got["ranking"][0]["why"]) <= 120
            assert json_size(got["why"]) <= 500


async def test_a_page_far_beyond_the_journal_is_empty(house: House, tmp_path: Path) -> None:
    with anyio.fail_after(20):
        async with SqliteStore.open(tmp_path / "data", house.clock) as store:
            house.store = store
            async with house.running():
                root = await house.run()
                assert (await house.verbs.observe(house.as_node(root), after=10**30))["events"] == []


async def test_an_end_in_many_words_settles_all_the_same(house: House) -> None:
    with anyio.fail_after(10):
        async with house.running():
            root = await house.run()
            await house.spawn(root, "fix")
            await house.operator.stop("t1/0.1", CONTROL * 500)
            told = (await last(house, "node_settled")).data.reason
            assert json_size(told) <= 500
            assert told.endswith("…")


# ── one more is refused, never cut ───────────────────────────────────────────────────────────────

WIDE = "\N{DECIDUOUS TREE}"
LISTS = {"artifacts": (16, 120), "refs": (16, 120), "options": (10, 200)}


@pytest.mark.parametrize("name", LISTS)
async def test_lists_are_taken_up_to_their_bounds(house: House, name: str) -> None:
    most, length = LISTS[name]
    with anyio.fail_after(10):
        async with house.running():
            root = await house.run()
            worker = house.as_node(await house.spawn(root, "fix"))

            async def call(given: list[str]) -> Mapping[str, Any]:
                match name:
                    case "artifacts":
                        return await house.verbs.submit(worker, None, result="r", artifacts=given, incomplete=True)
                    case "refs":
                        return await house.verbs.notify(worker, None, summary="s", refs=given)
                    case _:
                        return await house.verbs.ask_parent(worker, None, question="q", options=given, wait_s=0)

            assert await refusal(call(["x"] * (most + 1))) == "too_large"
            assert await refusal(call(["x" * (length + 1)])) == "too_large"
            assert await refusal(call([WIDE * length] * most)) == "too_large"
            assert await refusal(call(["x\0"])) == "bad_text"
            full = [f"{number:02}{'x' * (length - 2)}" for number in range(most)]
            assert (await call(full))["ok"]
            kind, field = {
                "artifacts": ("submitted", "artifacts"),
                "refs": ("notified", "refs"),
                "options": ("question_asked", "options"),
            }[name]
            assert getattr((await last(house, kind)).data, field) == full


async def test_checks_are_bounded_together_for_a_spawn_and_for_a_run(house: House) -> None:
    few, many = [{"id": f"c{n}"} for n in range(8)], [{"id": f"c{n}"} for n in range(9)]
    large = [{"id": "c", "x": CONTROL * 340}]
    with anyio.fail_after(10):
        async with house.running():
            root = await house.run(pool={"turns": 1_000})
            driver = house.as_node(root)
            for wrong in (many, large, [{"id": "\ud800"}], [{"id": {1, 2}}]):
                given: Any = wrong
                assert await refusal(house.verbs.spawn(driver, None, task="t", checks=given)) == "bad_check"
                assert await refusal(house.operator.run(RunOrder("t", "/repository", checks=given))) == "bad_check"
            assert await house.spawn(root, "few", checks=few, budget={"turns": 1})


async def test_a_wrong_check_is_refused_before_anything_is_admitted(house: House) -> None:
    house.checks = NarrowChecks()
    with anyio.fail_after(10):
        async with house.running():
            root = await house.run()
            wrong: list[dict[str, Any] | str] = [{"id": "fine"}, {"id": "bad-1"}, "bad-2"]
            with pytest.raises(Refused) as refused:
                await house.verbs.spawn(house.as_node(root), None, task="t", checks=wrong)
            told = ["bad-1: is wrong", "bad-2: is wrong"]
            assert (refused.value.code, refused.value.details["problems"]) == ("bad_check", told)
            assert (
                await refusal(house.operator.run(RunOrder("t", "/repository", checks=[{"id": "bad"}]))) == "bad_check"
            )
            assert len(await house.store.events(kinds=("node_spawned",))) == 1


async def test_a_profiles_checks_count_where_the_spawn_names_none(house: House) -> None:
    house.checks.says |= {"unit": ["fail"], "lint": ["pass"]}
    profile = {"checks": ["unit"]}
    with anyio.fail_after(10):
        async with house.running():
            root = await house.run(pool={"turns": 1_000})
            plain = await house.spawn(root, "plain", profile=profile, budget={"turns": 1})
            own = await house.spawn(root, "own", profile=profile, checks=["lint"], budget={"turns": 1})
            assert (await house.verbs.submit(house.as_node(plain), None, result="r"))["error"] == "check_failed"
            got = await house.verbs.submit(house.as_node(own), None, result="r")
            assert [verdict["objective"] for verdict in got["verdicts"]] == ["lint"]


async def test_what_no_event_has_room_for_is_refused(house: House) -> None:
    with anyio.fail_after(10):
        async with house.running():
            root = await house.run(pool={"turns": 1_000})
            driver = house.as_node(root)
            await house.spawn(root, "fix", budget={"turns": 1})
            assert await refusal(house.verbs.spawn(driver, None, task="t", key=CONTROL * 40)) == "too_large"
            far = {"deadline_s": 31_536_001}
            assert await refusal(house.verbs.spawn(driver, None, task="t", budget=far)) == "bad_budget"
            for seq in (0, -1, 10**30):
                steer = house.verbs.steer(driver, None, node="fix", message="m", supersedes=seq)
                assert await refusal(steer) == "unknown_event"
            for cursor in ("c²", f"c{'9' * 5_000}", "c-1"):
                assert await refusal(house.verbs.await_event(driver, None, cursor=cursor, wait_s=0)) == "unknown_cursor"
            models = await refusal(house.operator.run(RunOrder("t", model_source=f"scripted:{CONTROL * 4_000}")))
            assert models == "bad_model"
            place = await refusal(house.operator.run(RunOrder("t", f"/repository/{CONTROL * 4_000}")))
            assert place == "not_a_repository"


# ── the same request ─────────────────────────────────────────────────────────────────────────────


async def test_a_request_of_a_long_name_gets_the_same_answer_again(house: House) -> None:
    with anyio.fail_after(10):
        async with house.running():
            root = await house.run()
            driver = house.as_node(root)
            one, other = CallKey(CONTROL * 3_000, "1" * 9_000), CallKey(CONTROL * 3_000, "1" * 9_001)
            first = await house.verbs.notify(driver, one, summary="s")
            assert await house.verbs.notify(driver, one, summary="s") == first
            assert await house.verbs.notify(driver, other, summary="s") != first
            await last(house, "verb_called")


# ── profiles ─────────────────────────────────────────────────────────────────────────────────────


def test_what_was_cut_is_told_in_a_line_of_bounded_size() -> None:
    lost = tuple(f"{', ' * 60}{number}" for number in range(50))
    _, cut = effective(Profile(tools=(), harnesses=()), Profile(tools=lost, harness="\N{DECIDUOUS TREE}" * 50))
    assert len(cut) == 2
    assert all(json_size(line) <= 120 for line in cut)
    assert cut[0].endswith("50 more")


def test_what_profiles_above_add_is_bounded_too() -> None:
    parent = inline({"tools": ["t" * 190] * 1 + [f"{n}{'u' * 190}" for n in range(6)]})
    child = inline({"skills": [f"{n}{'s' * 190}" for n in range(6)]})
    with pytest.raises(ProfileError):
        effective(parent, child)


@pytest.mark.parametrize("key", ["tools", "model", "harness"])
def test_names_are_printable(key: str) -> None:
    word = "a\x1b[2Jb"
    with pytest.raises(ProfileError):
        inline({key: [word] if key == "tools" else word})


# ── cutting ──────────────────────────────────────────────────────────────────────────────────────


@given(st.text(st.sampled_from(["\x01", '"', "a", "é", WIDE]), max_size=400), st.integers(8, 600))
def test_a_clipped_text_fits_and_is_whole_where_it_can_be(text: str, size: int) -> None:
    cut = clip(text, size)
    assert json_size(cut) <= size
    assert (cut == text) == (json_size(text) <= size)
    assert text.startswith(cut.removesuffix("…"))
    assert json_size(shorten_to_size(text, size)) <= size


@given(st.lists(st.text(max_size=20), max_size=20), st.integers(2, 200))
def test_as_many_items_as_fit_are_kept(items: list[str], size: int) -> None:
    kept = fitting(items, size)
    assert items[: len(kept)] == kept
    assert json_size(kept) <= size
