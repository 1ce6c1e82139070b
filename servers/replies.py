"""A verb's answer on the wire: one object, as structured content and as its compact JSON, never too long (S7)."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, cast

from mcp_types import CallToolResult, TextContent

from palmette.coordination.codec import dumps

__all__ = ["REPLY_LIMIT", "fitted", "reply"]

REPLY_LIMIT = 30_000
"""Characters of a result (S7): harnesses cut or divert longer ones."""

_TEXT_FLOOR = 400
"""No text is cut below this many characters to make an answer fit."""
_CUT = " … cut, {} characters in all … "

Answer = dict[str, Any]


def reply(answer: Mapping[str, Any], *, wrong: bool = False) -> CallToolResult:
    """The result of a call; `wrong` marks it as an error of the call itself, not of the tree."""
    text, shown = fitted(answer)
    return CallToolResult(content=[TextContent(type="text", text=text)], structured_content=shown, is_error=wrong)


def fitted(answer: Mapping[str, Any]) -> tuple[str, Answer]:
    """The compact JSON of an answer and the answer itself, cut to REPLY_LIMIT.

    Verbs page by themselves; this is the guard behind them. Long texts are cut first, then the longest list loses its
    tail. A hand-over that lost events loses its cursor too: presenting it would acknowledge what was never shown; a
    page of the journal goes on after the last event that is shown.
    """
    text = dumps(answer)
    if len(text) <= REPLY_LIMIT:
        return text, dict(answer)
    shown = cast(Answer, json.loads(text)) | {"truncated": True}
    for room in (4_000, 1_000, _TEXT_FLOOR):
        _cut_texts(shown, room)
        text = dumps(shown)
        if len(text) <= REPLY_LIMIT:
            return text, shown
    while (longest := _longest_list(shown)) is not None:
        name, items = longest
        kept = len(items) // 2
        shown["next"] = f"{name}: {kept} shown; ask again for fewer, or page with observe(after=…)"
        del items[kept:]
        if name == "events" and "cursor" in shown:
            shown["cursor"] = None
        if name == "events" and "after" in shown and items:
            shown |= {"after": items[-1]["seq"], "more": True}
        text = dumps(shown)
        if len(text) <= REPLY_LIMIT:
            return text, shown
    shown = {"ok": shown.get("ok"), "truncated": True, "next": "the answer is too large to show; ask for less"}
    return dumps(shown), shown


def _cut_texts(value: Any, room: int) -> None:
    for holder, key, text in _texts(value):
        if len(text) > room:
            note = _CUT.format(len(text))
            half = (room - len(note)) // 2
            holder[key] = f"{text[:half]}{note}{text[-half:]}"


def _texts(value: Any) -> Iterator[tuple[Any, Any, str]]:
    """Every text below a value, with the place that holds it."""
    if isinstance(value, dict):
        places: list[tuple[Any, Any]] = list(cast(dict[Any, Any], value).items())
    elif isinstance(value, list):
        places = list(enumerate(cast(list[Any], value)))
    else:
        return
    for key, item in places:
        if isinstance(item, str):
            yield value, key, item
        else:
            yield from _texts(item)


def _longest_list(answer: Answer) -> tuple[str, list[Any]] | None:
    lists = [(key, cast(list[Any], value)) for key, value in answer.items() if isinstance(value, list) and value]
    return max(lists, key=lambda found: len(dumps(found[1])), default=None)
