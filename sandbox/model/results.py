"""Tool results as a scenario sees them.

Harnesses hand the same result back in different clothes: bare JSON, JSON behind a line of their own (`Wall time: …`),
the whole MCP result with `content` and `structuredContent`. The object a tool meant is found in all of them.
"""

import json
from dataclasses import dataclass
from typing import Any

from palmette.sandbox.model.values import as_list, as_object, as_text

__all__ = ["Result", "find_object"]

_TRIES = 64
"""How many opening braces of a text are tried: a result of a million braces must not cost a million parses."""


@dataclass(frozen=True, slots=True)
class Result:
    """What came back for one call.

    Attributes:
        text: as the harness handed it over; empty if the conversation goes on without a result.
        value: the first JSON object in it, or None.
        is_error: the harness marked it as failed.
    """

    text: str = ""
    value: dict[str, Any] | None = None
    is_error: bool = False

    @classmethod
    def of(cls, text: str, is_error: bool = False) -> "Result":
        """The result with its object found."""
        return cls(text, find_object(text), is_error)

    def field(self, name: str) -> list[Any]:
        """The values under a name, none or one: the object's own keys first, then `text` and `is_error`."""
        if self.value is not None and name in self.value:
            return [self.value[name]]
        if name == "text":
            return [self.text]
        return [self.is_error] if name == "is_error" else []


def find_object(text: str) -> dict[str, Any] | None:
    """The first JSON object in a text, taken out of an MCP result if it is one."""
    decoder = json.JSONDecoder()
    start = text.find("{")
    for _ in range(_TRIES):
        if start < 0:
            return None
        try:
            found = as_object(decoder.raw_decode(text, start)[0])
        except (ValueError, RecursionError):
            found = None
        if found is not None:
            return _unwrapped(found)
        start = text.find("{", start + 1)
    return None


def _unwrapped(found: dict[str, Any]) -> dict[str, Any]:
    structured = as_object(found.get("structuredContent"))
    if structured is not None:
        return structured
    for block in as_list(found.get("content")) or []:
        fields = as_object(block)
        text = as_text(fields.get("text")) if fields and fields.get("type") == "text" else None
        inner = find_object(text) if text else None
        if inner is not None:
            return inner
    return found
