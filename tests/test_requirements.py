"""Each rule that is due has a test that names it, and each rule that a test names is one."""

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.requirements import RULES, Rule

TESTS = Path(__file__).parent
FAMILIES = {"S": 8, "P": 2, "B": 16, "E": 11, "Q": 10, "C": 11, "F": 5, "K": 2, "W": 8, "R": 12}


def test_the_list_is_whole() -> None:
    assert sorted(RULES) == sorted(f"{letter}{n}" for letter, most in FAMILIES.items() for n in range(1, most + 1))


def test_what_is_not_whole_yet_names_what_completes_it() -> None:
    assert [rule for rule in RULES.values() if (rule.standing == "due") != (rule.brought_by == "")] == []


def test_each_rule_that_holds_is_shown_by_a_test() -> None:
    missing = unproven(RULES, named_by(TESTS))
    assert not missing, f"no test names: {', '.join(missing)}"


def test_each_rule_that_a_test_names_can_be_shown() -> None:
    wrong = unknown(RULES, named_by(TESTS))
    assert not wrong, "\n".join(f"{rule}: {', '.join(where)}" for rule, where in wrong.items())


def test_a_missing_test_and_a_wrong_name_are_noticed(tmp_path: Path) -> None:
    rules = {"X1": Rule("one"), "X2": Rule("two"), "X3": Rule("three", "later", "some day")}
    (tmp_path / "test_one.py").write_text(
        'import pytest\n\npytestmark = [pytest.mark.rule("X1")]\n\n'
        '@pytest.mark.rule("X3", "X9")\ndef test_it() -> None: ...\n'
    )
    (tmp_path / "support.py").write_text('NAMES = "pytest.mark.rule(X2)"\n')
    found = named_by(tmp_path)
    assert unproven(rules, found) == ["X2"]
    assert list(unknown(rules, found)) == ["X3", "X9"]


def unproven(rules: Mapping[str, Rule], found: Mapping[str, list[str]]) -> list[str]:
    """The rules that should have a test and have none."""
    return [name for name, rule in rules.items() if rule.standing != "later" and name not in found]


def unknown(rules: Mapping[str, Rule], found: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """The names that are no rule, or one of which nothing is built; with where they stand."""
    return {name: where for name, where in found.items() if name not in rules or rules[name].standing == "later"}


def named_by(folder: Path) -> dict[str, list[str]]:
    """Every id in a `rule` mark of a test file, with where it stands; read from the text, nothing is imported."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for path in sorted(folder.rglob("test_*.py")):
        for name, line in _marks(ast.parse(path.read_text(encoding="utf-8"))):
            found[name].append(f"{path.relative_to(folder)}:{line}")
    return found


def _marks(module: ast.Module) -> Iterator[tuple[str, int]]:
    for call in ast.walk(module):
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "pytest.mark.rule":
            for argument in call.args:
                assert isinstance(argument, ast.Constant), f"line {call.lineno}: write the id out"
                yield str(argument.value), call.lineno
