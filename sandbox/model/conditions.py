"""Whether a condition holds over the results known so far."""

import re
from typing import Any

from palmette.sandbox.model.paths import MISSING, Memory, MissingPath, fill, parse_path, shown
from palmette.sandbox.model.steps import Condition
from palmette.sandbox.model.values import as_list

__all__ = ["holds"]


def holds(condition: Condition, memory: Memory) -> bool:
    """Whether it holds; a path that leads nowhere passes no test but `exists: false`."""
    if condition.all_of is not None:
        return all(holds(inner, memory) for inner in condition.all_of)
    if condition.any_of is not None:
        return any(holds(inner, memory) for inner in condition.any_of)
    if condition.negated is not None:
        return not holds(condition.negated, memory)
    values = parse_path(condition.path or "").find(memory)
    if condition.test == "exists":
        return (len(values) >= condition.at_least) is condition.exists
    try:
        wanted = fill(condition.equals if condition.test == "equals" else condition.contains, memory)
    except MissingPath:
        return False
    if wanted is MISSING:
        return False
    return sum(_passes(condition, value, wanted) for value in values) >= condition.at_least


def _passes(condition: Condition, value: Any, wanted: Any) -> bool:
    match condition.test:
        case "equals":
            # JSON knows true from 1, Python does not.
            return value == wanted and isinstance(value, bool) is isinstance(wanted, bool)
        case "matches":
            return re.search(condition.matches or "", shown(value)) is not None
        case "contains":
            items = as_list(value)
            return wanted in items if items is not None else shown(wanted) in shown(value)
        case "above":
            return _is_number(value) and condition.above is not None and value > condition.above
        case _:
            return _is_number(value) and condition.below is not None and value < condition.below


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
