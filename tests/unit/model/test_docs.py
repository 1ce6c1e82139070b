"""The page about the scripted model: every example loads, and the whole script plays as the page says."""

import re
from pathlib import Path

import pytest

from palmette.sandbox.model import OfferedTool, Script, UserText
from tests.unit.model.talk import VERBS, Talk

PAGE = Path(__file__).parents[3] / "docs" / "scripted-model.md"
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
KINDS = {
    "say", "call", "calls", "as", "loop", "until", "if", "then", "else", "error", "usage", "fault", "stop",
    "afterwards", "when", "all", "any", "not", "equals", "matches", "contains", "exists", "above", "below",
    "at_least", "slow", "cut", "silent", "stream_error", "oversize", "times",
}  # fmt: skip


def _script(example: str) -> Script:
    if example.startswith("scenarios:"):
        return Script.load(example)
    return Script.load("scenarios:\n  - name: only\n    steps:\n" + re.sub(r"^", "      ", example, flags=re.MULTILINE))


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_every_example_loads(example: str) -> None:
    assert _script(example).scenarios


def test_every_word_of_the_language_is_shown() -> None:
    shown = set(re.findall(r"\w+", "\n".join(EXAMPLES)))
    assert not KINDS - shown


def test_the_whole_script_plays_as_the_page_says() -> None:
    script = _script(EXAMPLES[0])
    tools = [OfferedTool(f"mcp__palmette__{verb}") for verb in (*VERBS, "select")]
    driver = Talk(script, entries=[UserText("mend the failing test")], tools=tools)
    spawned = driver.called('{"node": "t/0.1"}', '{"node": "t/0.2"}')
    assert [call.tool.name for call in spawned.calls] == ["mcp__palmette__spawn"] * 2
    assert (
        driver.called('{"events": [{"kind": "question", "question": "q1"}], "cursor": "c1"}').calls[0].arguments == {}
    )
    assert driver.called('{"ok": true}').calls[0].arguments == {"question": "q1", "text": "Keep the public names."}
    waited = driver.called('{"events": [{"kind": "settled"}, {"kind": "settled"}], "cursor": "c2"}')
    assert waited.calls[0].arguments == {"cursor": "c1"}
    assert driver.called('{"winner": "t/0.2"}').calls[0].arguments == {
        "nodes": ["t/0.1", "t/0.2"],
        "objectives": ["tests"],
    }
    assert driver.called('{"ok": true}').calls[0].arguments == {"result": "The winner is t/0.2."}
    assert driver.turn().text == "Done."
    child = Talk(script)
    assert child.called("").calls[0].arguments == {"command": "sed -i s/-/+/ sums.py && echo ${HOME}"}
