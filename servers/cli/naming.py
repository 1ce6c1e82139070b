"""What people call trees and nodes: ids, and labels where they are clear."""

from collections.abc import Sequence
from typing import Any, cast

from palmette.coordination.codec import decode
from palmette.coordination.errors import PalmetteError
from palmette.coordination.views import TreeView
from palmette.servers.client import Client

__all__ = ["all_trees", "choose_node", "choose_tree", "node_named", "tree_named", "view_of"]


async def all_trees(client: Client) -> list[TreeView]:
    """Every tree, the newest first."""
    return [decode(TreeView, view) for view in cast(list[dict[str, Any]], await client.get("trees"))]


async def view_of(client: Client, tree: str) -> TreeView:
    """One tree as it stands."""
    return decode(TreeView, await client.get(f"trees/{tree}"))


async def tree_named(client: Client, name: str) -> str:
    """See choose_tree."""
    return choose_tree(await all_trees(client), name)


async def node_named(client: Client, name: str) -> str:
    """See choose_node."""
    return choose_node(await all_trees(client), name)


def choose_tree(trees: Sequence[TreeView], name: str) -> str:
    """The id that `name` stands for: itself, or the beginning of exactly one.

    Raises:
        PalmetteError: `unknown_tree`, `ambiguous`.
    """
    if any(view.id == name for view in trees):
        return name
    return _only([view.id for view in trees if name and view.id.startswith(name)], name, "tree", "palmette tree")


def choose_node(trees: Sequence[TreeView], name: str) -> str:
    """The node id that `name` stands for: a full id; a tree (its root); TREE/LABEL; or a label.

    A label that several trees use means the open tree's; among several of those it has to be told which.

    Raises:
        PalmetteError: `unknown_node`, `ambiguous`.
    """
    tree, slash, rest = name.partition("/")
    if not slash and any(view.id == tree for view in trees):
        return f"{tree}/0"
    if slash and tree and rest and all(part.isdigit() for part in rest.split(".")):
        return name
    label, among = (rest, [view for view in trees if view.id == tree]) if slash else (name, list(trees))
    matching = [(view, row.id) for view in among for row in view.nodes if row.label == label]
    open_ones = [found for view, found in matching if view.state == "open"]
    return _only(open_ones or [found for _, found in matching], name, "node", "palmette tree")


def _only(found: Sequence[str], name: str, what: str, hint: str) -> str:
    if not found:
        raise PalmetteError(f"there is no {what} {name!r} here", hint, code=f"unknown_{what}")
    if len(found) > 1:
        shown = ", ".join(found[:5]) + (" …" if len(found) > 5 else "")
        raise PalmetteError(f"{name!r} may be {shown}", f"give the {what}'s whole id", code="ambiguous")
    return found[0]
