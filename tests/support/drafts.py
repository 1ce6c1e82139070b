"""Events to write, for tests of what becomes of events."""

from typing import Any

from palmette.coordination.events import (
    AttemptStarted,
    Draft,
    ModelBooked,
    ModelHeld,
    NodeSettled,
    NodeSpawned,
    Notified,
    TreeClosed,
    TreeOpened,
)
from palmette.coordination.values import Amounts, attempt_id, parent_of, tree_of

__all__ = ["attempt", "booked", "closed", "held", "note", "opened", "settled", "spawned"]


def opened(tree: str = "t1") -> Draft:
    """A tree begins."""
    return Draft(TreeOpened("driven", None, None, 4, person=True, evaluation=False), tree, actor="person")


def closed(tree: str = "t1") -> Draft:
    """A tree ends."""
    return Draft(TreeClosed("done", Amounts.zero()), tree)


def spawned(node: str, granted: Amounts | None = None, **fields: Any) -> Draft:
    """A node comes into being; its ordinal is the last part of its id."""
    given: dict[str, Any] = {
        "parent": parent_of(node),
        "ordinal": int(node.replace("/", ".").rpartition(".")[2]),
        "label": "worker",
        "task": "do it",
        "task_digest": "digest",
        "profile_name": "worker",
        "profile": {"tools": ["read"]},
        "profile_body": "",
        "role": "worker",
        "harness": "builtin",
        "model": "scripted",
        "granted": granted or Amounts(100, 100, 100, 100),
    }
    return Draft(NodeSpawned(**(given | fields)), tree_of(node), node)


def attempt(node: str, number: int = 1, **envelope: Any) -> Draft:
    """One life of the node begins."""
    return Draft(AttemptStarted(number, "digest", None), tree_of(node), node, **envelope)


def held(node: str, hold: str, amounts: Amounts) -> Draft:
    """The worst case of a model call is set aside."""
    return Draft(ModelHeld(hold, amounts), tree_of(node), node, attempt_id(node, 1))


def booked(node: str, hold: str | None, amounts: Amounts) -> Draft:
    """A model call's true cost."""
    data = ModelBooked(hold, amounts, None, known=True, model="scripted")
    return Draft(data, tree_of(node), node, attempt_id(node, 1))


def settled(node: str, spent: Amounts) -> Draft:
    """A node ends."""
    data = NodeSettled("done", "submitted", "", valid=None, spent=spent, unknown=False)
    return Draft(data, tree_of(node), node, attempt_id(node, 1))


def note(node: str, summary: str = "so far so good", **envelope: Any) -> Draft:
    """A node tells its parent something."""
    return Draft(Notified(summary, 1), tree_of(node), node, **envelope)
