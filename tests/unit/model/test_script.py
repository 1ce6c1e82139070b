"""Scripts: what can be written, and how each mistake is named."""

from pathlib import Path

import pytest

from palmette.sandbox.model import Script, ScriptError

GOOD = "scenarios:\n  - name: only\n    steps:\n      - say: hi\n"


def test_a_script_loads_from_a_file_and_from_a_text(tmp_path: Path) -> None:
    file = tmp_path / "play.yaml"
    file.write_text(GOOD)
    assert Script.load(file) == Script.load(str(file)) == Script.load(GOOD)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ScriptError) as caught:
        Script.load(tmp_path / "none.yaml")
    assert caught.value.code == "bad_script"
    assert str(tmp_path / "none.yaml") in caught.value.message
    assert caught.value.problems == ["the file cannot be read: No such file or directory"]
    assert caught.value.hint


@pytest.mark.parametrize("name", ["a\0b", "."])
def test_a_path_that_is_no_file_is_an_error_of_ours(name: str) -> None:
    with pytest.raises(ScriptError):
        Script.load(name)


def test_invalid_utf8_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_bytes(b"scenarios: \xff\n")
    with pytest.raises(ScriptError, match="cannot be read"):
        Script.load(tmp_path / "bad.yaml")


def _step(step: str) -> str:
    return f"scenarios:\n  - name: only\n    steps:\n      - {step}\n"


@pytest.mark.parametrize(
    ("text", "place", "says"),
    [
        ("scenarios: [\n", "line 2", "expected"),
        ("a: 1\na: 2\n", "line 2, column 1", "given twice"),
        ("- 1\n- 2\n", "the document must be a mapping", "mapping"),
        ("x: 1\n", "scenarios", "missing"),
        ("x: 1\n", "x", "no word of the language"),
        ("scenarios: []\n", "scenarios", "at least 1"),
        ("scenarios:\n  - name: a\n", "scenarios[0].steps", "missing"),
        ("scenarios:\n  - name: a\n    steps: []\n", "scenarios[0].steps", "at least 1"),
        (GOOD + "  - name: only\n    steps: [{say: x}]\n", "scenarios[1].name", "taken"),
        ("scenarios:\n  - {name: a, when: {user: '('}, steps: [{say: x}]}\n", "scenarios[0].when.user", "regular expr"),
        ("scenarios:\n  - {name: a, when: {users: x}, steps: [{say: x}]}\n", "scenarios[0].when.users", "no word"),
        (_step("42"), "scenarios[0].steps[0]", "a step is a mapping"),
        (_step("{}"), "scenarios[0].steps[0]", "one of say, call, calls, error, loop, then"),
        (_step("{says: hi}"), "scenarios[0].steps[0].says", "no word"),
        (_step("{say: ''}"), "scenarios[0].steps[0].say", "at least 1"),
        (_step("{say: 3}"), "scenarios[0].steps[0].say", "string"),
        (_step("{say: '${x'}"), "scenarios[0].steps[0].say", "not closed"),
        (_step("{say: '${node.x}'}"), "scenarios[0].steps[0]", "'node', which names nothing here; known: last"),
        (_step("{call: {tool: a}, calls: [{tool: b}]}"), "scenarios[0].steps[0]", "not both"),
        (_step("{calls: []}"), "scenarios[0].steps[0].calls", "at least 1"),
        (_step("{call: {arguments: {}}}"), "scenarios[0].steps[0].call.tool", "missing"),
        (_step("{call: {tool: a, arguments: {}, input: x}}"), "scenarios[0].steps[0].call", "not both"),
        (_step("{call: {tool: a, arguments: {b: ['${c d}']}}}"), "scenarios[0].steps[0].call.arguments.b", "no path"),
        (
            _step("{call: {tool: a, arguments: {b: !!binary aGk=}}}"),
            "scenarios[0].steps[0].call.arguments.b",
            "quote it",
        ),
        (_step("{call: {tool: a, arguments: {b: .inf}}}"), "scenarios[0].steps[0].call.arguments.b", "quote it"),
        (_step("{call: {tool: a, arguments: {b: {1: x}}}}"), "scenarios[0].steps[0].call.arguments.b", "quote it"),
        (_step("{call: {tool: a, as: a}}"), "scenarios[0].steps[0].call.as", "already means"),
        (_step("{calls: [{tool: a, as: last}]}"), "scenarios[0].steps[0].calls[0].as", "already means"),
        (_step("{call: {tool: a, as: 'b c'}}"), "scenarios[0].steps[0].call.as", "pattern"),
        (_step("{say: x, usage: {inputs: 1}}"), "scenarios[0].steps[0].usage.inputs", "no word"),
        (_step("{say: x, usage: none}"), "scenarios[0].steps[0].usage", "missing"),
        (_step("{say: x, stop: tools}"), "scenarios[0].steps[0].stop", "length"),
        (_step("{say: x, fault: fast}"), "scenarios[0].steps[0].fault", "slow"),
        (
            _step("{say: x, fault: {kind: cut, after: 2}}"),
            "scenarios[0].steps[0].fault.after",
            "less than or equal to 1",
        ),
        (_step("{say: x, fault: {kind: slow, bytes: 2}}"), "scenarios[0].steps[0].fault.bytes", "no word"),
        (_step("{error: {status: 200}}"), "scenarios[0].steps[0].error.status", "greater than or equal to 400"),
        (_step("{error: {status: 500}, say: x}"), "scenarios[0].steps[0].say", "no word"),
        (_step("{loop: {steps: [{say: x}]}}"), "scenarios[0].steps[0].loop.until", "missing"),
        (
            _step("{loop: {steps: [{say: 1}], until: {path: last, exists: true}}}"),
            "scenarios[0].steps[0].loop.steps[0].say",
            "string",
        ),
        (
            _step("{loop: {steps: [{say: x}], until: {path: a, exists: true}}}"),
            "scenarios[0].steps[0].loop.until",
            "names nothing",
        ),
        (_step("{then: [{say: x}]}"), "scenarios[0].steps[0].if", "missing"),
        (_step("{if: {path: last}, then: []}"), "scenarios[0].steps[0].if", "exactly one of equals"),
        (
            _step("{if: {path: last, equals: 1, exists: true}, say: x}"),
            "scenarios[0].steps[0].if",
            "exactly one of equals",
        ),
        (_step("{if: {equals: 1}, say: x}"), "scenarios[0].steps[0].if", "exactly one of path"),
        (
            _step("{if: {not: {path: last, exists: true}, equals: 1}, say: x}"),
            "scenarios[0].steps[0].if",
            "needs a path",
        ),
        (_step("{if: {path: last, matches: '['}, say: x}"), "scenarios[0].steps[0].if.matches", "regular expression"),
        (_step("{if: {any: [{path: 'a['}]}, say: x}"), "scenarios[0].steps[0].if.any[0].path", "no path"),
        (
            _step("{if: {path: last, exists: true}, then: [], else: [{say: '${gone}'}]}"),
            "scenarios[0].steps[0].else[0]",
            "names nothing",
        ),
        (GOOD + "    afterwards: [{say: '${gone}'}]\n", "scenarios[0].afterwards[0]", "names nothing"),
        (GOOD + "models: []\n", "models", "at least 1"),
    ],
)
def test_a_mistake_is_named_by_its_place(text: str, place: str, says: str) -> None:
    with pytest.raises(ScriptError) as caught:
        Script.load(text)
    fitting = [line for line in caught.value.problems if line.startswith(place)]
    assert fitting, caught.value.problems
    assert any(says in line for line in fitting), fitting


def test_all_mistakes_are_listed_at_once() -> None:
    with pytest.raises(ScriptError) as caught:
        Script.load("scenarios:\n  - {name: a, steps: [{say: 1}, {error: {}}]}\n  - {name: b, steps: [{call: {}}]}\n")
    assert len(caught.value.problems) == 3
    assert "steps[1].error.status: is missing" in caught.value.message


def test_words_that_older_yaml_takes_for_booleans_or_dates_are_words() -> None:
    script = Script.load(
        "scenarios:\n"
        "  - {name: off, steps: [{say: yes}, {say: 2024-01-01}, {if: {path: last, exists: true}, say: on}]}\n"
    )
    assert [step.model_dump()["say"] for step in script.scenarios[0].steps] == ["yes", "2024-01-01", "on"]


def test_yaml_that_builds_objects_is_refused() -> None:
    with pytest.raises(ScriptError, match="could not determine a constructor"):
        Script.load("scenarios: !!python/object/apply:os.getcwd []\n")
