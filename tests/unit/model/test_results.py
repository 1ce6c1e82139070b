"""Tool results in the clothes of different harnesses."""

import time
from typing import Any

import pytest

from palmette.sandbox.model.results import Result, find_object


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"a": 1}', {"a": 1}),
        ('Wall time: 0.1 seconds\nOutput:\n{"a": 1}\n', {"a": 1}),
        ('{not json} then {"a": {"b": 2}} and {"c": 3}', {"a": {"b": 2}}),
        ('{"a": 1}\n<system-reminder>{"b": 2}</system-reminder>', {"a": 1}),
        ('{"content": [{"type": "text", "text": "{\\"a\\": 1}"}], "structuredContent": {"a": 2}}', {"a": 2}),
        ('{"content": [{"type": "image"}, {"type": "text", "text": "so: {\\"a\\": 1}"}]}', {"a": 1}),
        ('{"content": "plain"}', {"content": "plain"}),
        ('[{"a": 1}]', {"a": 1}),
        ("[1, 2]", None),
        ("no braces", None),
        ("", None),
        ("{", None),
    ],
)
def test_the_object_is_found(text: str, found: dict[str, Any] | None) -> None:
    assert find_object(text) == found


def test_a_result_keeps_its_text() -> None:
    result = Result.of("Exit 1: {broken", is_error=True)
    assert (result.value, result.field("text"), result.field("is_error")) == (None, ["Exit 1: {broken"], [True])


@pytest.mark.parametrize("text", ["{" * 1_000_000, '{"a":' * 200_000, "[" * 200_000 + "{"])
def test_hostile_text_costs_little(text: str) -> None:
    begun = time.process_time()
    assert find_object(text) is None
    assert time.process_time() - begun < 5
