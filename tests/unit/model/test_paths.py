"""Paths and templates."""

from typing import Any

import pytest

from palmette.sandbox.model.paths import MISSING, MissingPath, fill, fill_text, parse_path, parse_template
from palmette.sandbox.model.results import Result

MEMORY = {
    "spawn": [
        Result.of('{"node": "t/0.1", "label": "a"}'),
        Result.of('{"node": "t/0.2", "label": "b", "budget": {"usd": 1.5}}'),
    ],
    "await_event": [
        Result.of(
            '{"cursor": "c9", "events": [{"kind": "message"}, {"kind": "settled", "node": "t/0.2", "n": 3},'
            ' {"kind": "settled", "node": "t/0.1"}]}'
        )
    ],
    "shell": [Result("plain words", None, True)],
    "odd": [Result.of('{"text": "own key", "items": [1, [2, 3]]}')],
    "none": [],
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("spawn.node", ["t/0.2"]),
        ("spawn[0].node", ["t/0.1"]),
        ("spawn[-1].node", ["t/0.2"]),
        ("spawn[-2].node", ["t/0.1"]),
        ("spawn[2].node", []),
        ("spawn[-3].node", []),
        ("spawn[*].node", ["t/0.1", "t/0.2"]),
        ("spawn[label=a].node", ["t/0.1"]),
        ("spawn.budget.usd", [1.5]),
        ("spawn.budget", [{"usd": 1.5}]),
        ("spawn.budget.none", []),
        ("spawn.node.deeper", []),
        ("await_event.events[1].node", ["t/0.2"]),
        ("await_event.events[kind=settled].node", ["t/0.2"]),
        ("await_event.events[n=3].node", ["t/0.2"]),
        ("await_event.events[kind=question].node", []),
        ("await_event.events[*].kind", ["message", "settled", "settled"]),
        ("await_event[*].events[*].node", ["t/0.2", "t/0.1"]),
        ("await_event.cursor[0]", []),
        ("shell", ["plain words"]),
        ("shell.text", ["plain words"]),
        ("shell.is_error", [True]),
        ("shell.node", []),
        ("odd.text", ["own key"]),
        ("odd.items[1][0]", [2]),
        ("none.node", []),
        ("absent", []),
    ],
)
def test_a_path_finds(path: str, found: list[Any]) -> None:
    assert parse_path(path).find(MEMORY) == found


@pytest.mark.parametrize("path", ["", ".a", "1a", "a.", "a..b", "a[", "a[x]", "a[]", "a[=b]", "a b", "a[0", "last.x!"])
def test_what_is_no_path_is_refused_with_the_place(path: str) -> None:
    with pytest.raises(ValueError, match="is no path"):
        parse_path(path)


@pytest.mark.parametrize(
    ("value", "filled"),
    [
        ("as is", "as is"),
        ("${spawn.budget}", {"usd": 1.5}),
        ("${await_event.events[1].n}", 3),
        ("n=${await_event.events[1].n}, b=${spawn.budget}", 'n=3, b={"usd":1.5}'),
        ("${spawn[*].node}", ["t/0.1", "t/0.2"]),
        ("echo $${HOME} $HOME $5", "echo ${HOME} $HOME $5"),
        ("$${${spawn.node}}", "${t/0.2}"),
        ({"a": "${spawn.none?}", "b": ["${spawn.none?}", "${spawn.node}"], "c": 1}, {"b": ["t/0.2"], "c": 1}),
        ("[${spawn.none?}]", "[]"),
        (["${none[*].x?}"], []),
        ([None, True, 2.5], [None, True, 2.5]),
        ("", ""),
    ],
)
def test_a_template_is_filled(value: Any, filled: Any) -> None:
    assert fill(value, MEMORY) == filled


def test_an_optional_template_alone_is_missing() -> None:
    assert fill("${none.x?}", MEMORY) is MISSING


@pytest.mark.parametrize("value", ["${none.x}", "a ${none.x}", {"k": ["${none.x}"]}, "${none[*].x}"])
def test_a_template_that_leads_nowhere_names_its_path(value: Any) -> None:
    with pytest.raises(MissingPath, match=r"none.*x"):
        fill(value, MEMORY)


def test_text_filled_in_is_never_read_as_a_template_again() -> None:
    hostile = {"last": [Result.of('{"a": "${spawn.node} $${x}"}')]}
    assert fill_text("<${last.a}>", hostile) == "<${spawn.node} $${x}>"


@pytest.mark.parametrize("text", ["${open", "a ${last.x and more", "${}", "${last.}"])
def test_a_broken_template_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not closed|is no path"):
        parse_template(text)
