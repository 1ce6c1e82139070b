"""The property that everything hangs on: any prefix of a played conversation lands on the same next step."""

import json
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from palmette.sandbox.model import Failure, PlayError, Returned, Script, TurnReply, UserText
from tests.unit.model.talk import VERBS, Talk

KINDS = ("settled", "message", "question")
LEAVES: tuple[dict[str, Any], ...] = (
    {"path": "last.events[*].kind", "equals": "settled"},
    {"path": "user.text", "matches": "steer"},
    {"path": "spawn[*].ok", "equals": True, "at_least": 2},
    {"path": "last.n", "above": 2},
    {"path": "await_event.cursor", "exists": True},
)
CONDITIONS = st.sampled_from([*LEAVES, *({"not": leaf} for leaf in LEAVES)])
# Every verb is called once below, so that paths may begin with each.
TEXTS = st.sampled_from(["a", "b", "cursor ${await_event.cursor?}", "n ${last.n?}", "heard ${user.text?}"])
Strategy = st.SearchStrategy[dict[str, Any]]


@st.composite
def _calls(draw: st.DrawFn) -> dict[str, Any]:
    value = draw(st.sampled_from(["x", "${last.cursor?}", "${spawn[0].n?}", "${user.text?}"]))
    return {"tool": draw(st.sampled_from(VERBS)), "arguments": {"value": value}}


@st.composite
def _turns(draw: st.DrawFn) -> dict[str, Any]:
    turn: dict[str, Any] = {}
    form = draw(st.sampled_from(["say", "call", "both"]))
    if form != "call":
        turn["say"] = draw(TEXTS)
    if form != "say":
        turn["calls"] = draw(st.lists(_calls(), min_size=1, max_size=3))
    if draw(st.booleans()):
        turn["if"] = draw(CONDITIONS)
    return turn


@st.composite
def _branches(draw: st.DrawFn, steps: Strategy) -> dict[str, Any]:
    several = st.lists(steps, min_size=1, max_size=3)
    return {"if": draw(CONDITIONS), "then": draw(several), "else": draw(several)}


@st.composite
def _loops(draw: st.DrawFn, steps: Strategy) -> dict[str, Any]:
    several = st.lists(steps, min_size=1, max_size=3)
    return {"loop": {"steps": draw(several), "until": draw(CONDITIONS), "at_most": 6}}


def _nested(steps: Strategy) -> Strategy:
    return _branches(steps) | _loops(steps)


STEPS = st.lists(st.recursive(_turns(), _nested, max_leaves=6), min_size=1, max_size=5)


@st.composite
def _results(draw: st.DrawFn) -> str:
    result: dict[str, Any] = {"events": [{"kind": draw(st.sampled_from(KINDS))}], "n": draw(st.integers(0, 5))}
    result["ok"] = draw(st.booleans())
    if draw(st.booleans()):
        result["cursor"] = f"c{result['n']}"
    return draw(st.sampled_from(["", "Output:\n"])) + json.dumps(result)


RESULTS = _results()
NOISE = st.lists(st.sampled_from(["steer left", "<system-reminder>x</system-reminder>", "wake", "a"]), max_size=2)


@settings(max_examples=150, deadline=None)
@given(steps=STEPS, afterwards=st.lists(_turns(), max_size=2), data=st.data())
def test_any_prefix_of_a_conversation_lands_on_the_same_next_step(
    steps: list[Any], afterwards: list[Any], data: st.DataObject
) -> None:
    calls = [{"tool": verb} for verb in VERBS]
    scenario = {"name": "only", "steps": [{"calls": calls}, *steps], "afterwards": afterwards}
    talk = Talk(Script.load(yaml.safe_dump({"scenarios": [scenario]})))
    history: list[tuple[int, TurnReply]] = []
    for _ in range(12):
        length = len(talk.entries)
        try:
            reply = talk.turn()
        except PlayError:
            break
        history.append((length, reply))
        for call in reply.calls:
            talk.entries += [UserText(text) for text in data.draw(NOISE)]
            talk.entries.append(Returned(call.id, data.draw(RESULTS)))
        talk.entries += [UserText(text) for text in data.draw(NOISE)]
        if not reply.calls:
            talk.user("next")
    assert history
    for length, reply in history:
        again = talk.look(length)
        assert not isinstance(again, Failure)
        assert again == reply


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(_turns(), min_size=1, max_size=6), data=st.data())
def test_a_straight_scenario_plays_every_step_once_and_in_order(steps: list[Any], data: st.DataObject) -> None:
    straight = [{key: value for key, value in step.items() if key != "if"} for step in steps]
    script = Script.load(
        yaml.safe_dump(
            {"scenarios": [{"name": "only", "steps": [{"calls": [{"tool": verb} for verb in VERBS]}, *straight]}]}
        )
    )
    talk = Talk(script)
    for number in range(len(straight) + 1):
        reply = talk.turn()
        assert reply.step == f"only.steps[{number}]"
        talk.results(reply, *(data.draw(RESULTS) for _ in reply.calls))
        talk.entries += [UserText(text) for text in data.draw(NOISE)]
