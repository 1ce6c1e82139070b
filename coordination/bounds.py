"""How much of what agents write an event may hold, so that none is ever larger than the journal takes (DESIGN §6).

Sizes are bytes of JSON, which is how data is stored: a control character takes six of them.
"""

from collections.abc import Sequence
from typing import Any

from palmette.coordination.codec import dumps
from palmette.coordination.errors import Refused
from palmette.coordination.values import checked_text

__all__ = [
    "ANSWER_BYTES",
    "BODY_BYTES",
    "CHECKS",
    "CHECKS_BYTES",
    "DEADLINE_MAX_S",
    "KEY_BYTES",
    "NAMES",
    "NODES",
    "OBJECTIVES",
    "OPTIONS",
    "PLACE_BYTES",
    "REASON_BYTES",
    "checked_list",
    "clip",
    "fitting",
    "json_size",
]

ANSWER_BYTES = 4_000
"""The most a verb's answer may take that is journaled with its call."""
CHECKS = 8
"""Checks of one node."""
CHECKS_BYTES = 2_000
"""The size of all of them together."""
NAMES = (16, 120)
"""Artifacts of a submit and refs of a notice: how many, and characters of each."""
OPTIONS = (10, 200)
"""Options of a question."""
OBJECTIVES = (10, 40)
"""Objectives of a selection."""
NODES = 32
"""Candidates of a selection."""
BODY_BYTES = 200
"""Of a profile's body in the event of its node, beside the task."""
KEY_BYTES = 200
"""A spawn's idempotency key."""
PLACE_BYTES = 2_000
"""The path of a repository, or where a tree's model calls go."""
DEADLINE_MAX_S = 31_536_000
"""A year, in seconds: the furthest deadline."""
REASON_BYTES = 500
"""Why something ended, in the words of whoever ended it."""


def json_size(value: Any) -> int:
    """Bytes of a value's JSON form."""
    return len(dumps(value).encode())


def clip(text: str, size: int) -> str:
    """The beginning of a text that takes at most `size` bytes of JSON, quotes included; `…` where something is left
    out."""
    # No character takes less than a byte: what is beyond can never fit.
    head = text[:size]
    if head == text and json_size(text) <= size:
        return text
    low, high = 0, len(head)
    while low < high:
        middle = (low + high + 1) // 2
        if json_size(f"{head[:middle]}…") <= size:
            low = middle
        else:
            high = middle - 1
    return f"{head[:low]}…"


def fitting(items: Sequence[Any], size: int) -> list[Any]:
    """The first items whose list takes at most `size` bytes of JSON."""
    kept: list[Any] = []
    room = size - 2
    for item in items:
        room -= json_size(item) + 1
        if room < 0:
            break
        kept.append(item)
    return kept


def checked_list(values: Sequence[str], what: str, bound: tuple[int, int]) -> list[str]:
    """The texts, if so many so long may stand in an event.

    Args:
        bound: how many, and characters of each. All together may take what so many plain ones of that length take.

    Raises:
        Refused: `too_large`, never cut silently; `bad_text`.
    """
    most, length = bound
    if len(values) > most:
        raise Refused("too_large", f"{what}: {len(values)} are named; at most {most} are taken")
    for value in values:
        if len(checked_text(value, what)) > length:
            raise Refused("too_large", f"{what}: one has {len(value)} characters; at most {length} are taken")
    size, room = json_size(list(values)), most * (length + 3) + 2
    if size > room:
        raise Refused("too_large", f"{what}: all together take {size} bytes of JSON; at most {room} are taken")
    return list(values)
