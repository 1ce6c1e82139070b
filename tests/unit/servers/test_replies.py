"""The guard behind the verbs' own paging (S7)."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palmette.servers.replies import REPLY_LIMIT, fitted

_LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=30).map(lambda text: text * 400))
_VALUES = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=5), inner, max_size=8),
    max_leaves=60,
)


@pytest.mark.rule("S7")
@given(st.dictionaries(st.text(max_size=8), _VALUES, max_size=12))
def test_whatever_a_verb_answers_it_fits_and_the_text_is_the_answer(answer: dict[str, Any]) -> None:
    text, shown = fitted(answer)

    assert len(text) <= REPLY_LIMIT
    assert json.loads(text) == json.loads(json.dumps(shown))
    if "truncated" not in shown:
        assert shown == answer


@pytest.mark.rule("S7", "S4")
def test_a_hand_over_that_lost_events_loses_its_cursor() -> None:
    events = [{"seq": seq, "type": "notify", "refs": [f"{seq}"] * 200} for seq in range(100)]

    text, shown = fitted({"ok": True, "events": events, "cursor": "c9", "live": []})

    assert 0 < len(shown["events"]) < 100
    assert shown["cursor"] is None
    assert shown["events"] == events[: len(shown["events"])]
    assert len(text) <= REPLY_LIMIT


@pytest.mark.rule("S7")
def test_a_page_that_lost_events_goes_on_after_the_last_one_shown() -> None:
    events = [{"seq": seq, "refs": [f"{seq}"] * 200} for seq in range(100)]

    _, shown = fitted({"ok": True, "events": events, "after": 99, "more": False})

    assert shown["after"] == shown["events"][-1]["seq"]
    assert shown["more"] is True


@pytest.mark.rule("S7")
def test_long_texts_are_cut_in_the_middle_before_anything_is_left_out() -> None:
    _, shown = fitted({"ok": True, "events": [{"seq": 1, "text": "a" * 40_000 + "z"}], "cursor": "c1"})

    text = shown["events"][0]["text"]
    assert text.startswith("aaa")
    assert text.endswith("z")
    assert "40001 characters in all" in text
    assert shown["cursor"] == "c1"
