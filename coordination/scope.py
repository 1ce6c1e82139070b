"""Which verbs a node holds: by its role and depth alone (S3, S8)."""

from palmette.coordination.errors import Refused

__all__ = ["DRIVER_VERBS", "LEAF_VERBS", "require", "verbs"]

LEAF_VERBS = frozenset({"ask_parent", "submit", "notify", "observe"})
"""What every node holds; checks and the corpus add theirs."""

DRIVER_VERBS = LEAF_VERBS | {"spawn", "await_event", "steer", "stop", "answer", "select"}
"""What a driver holds."""


def verbs(role: str, depth: int, max_depth: int) -> frozenset[str]:
    """The verbs of a role at a depth: at the depth limit nobody spawns."""
    if role != "driver":
        return LEAF_VERBS
    return DRIVER_VERBS if depth < max_depth else DRIVER_VERBS - {"spawn"}


def require(verb: str, role: str, depth: int, max_depth: int) -> None:
    """Refuse a verb that the caller does not hold: the tool list is a courtesy, this is the rule (S8).

    Raises:
        Refused: depth_limit for a driver that may not spawn; else not_permitted.
    """
    held = verbs(role, depth, max_depth)
    if verb in held:
        return
    if verb == "spawn" and role == "driver":
        raise Refused("depth_limit", f"nodes at depth {depth} cannot spawn (max_depth {max_depth})")
    raise Refused("not_permitted", f"a {role} does not hold {verb}", verbs=sorted(held))
