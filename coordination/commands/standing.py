"""Who stands where: the look-ups that nearly every command begins with."""

from palmette.coordination.errors import Refused
from palmette.coordination.ports import Transaction
from palmette.coordination.records import Attempt, Node, Purse, Tree
from palmette.coordination.tables import Reading

__all__ = [
    "child_named",
    "live_attempt",
    "live_attempt_of",
    "node_named",
    "open_children",
    "subtree",
    "the_node",
    "the_purse",
    "the_tree",
]


def the_node(reading: Reading, node_id: str) -> Node:
    """The node.

    Raises:
        Refused: unknown_node.
    """
    node = reading.get(Node, node_id)
    if node is None:
        raise Refused("unknown_node", f"there is no node {node_id!r}")
    return node


def the_tree(reading: Reading, tree_id: str) -> Tree:
    """The tree.

    Raises:
        Refused: unknown_node.
    """
    tree = reading.get(Tree, tree_id)
    if tree is None:
        raise Refused("unknown_node", f"there is no tree {tree_id!r}")
    return tree


def the_purse(reading: Reading, node_id: str) -> Purse:
    """The node's account.

    Raises:
        Refused: unknown_node.
    """
    purse = reading.get(Purse, node_id)
    if purse is None:
        raise Refused("unknown_node", f"there is no node {node_id!r}")
    return purse


def live_attempt(tx: Transaction, attempt_id: str) -> tuple[Attempt, Node]:
    """The attempt and its node, if both still live.

    Raises:
        Refused: attempt_over, already_settled.
    """
    attempt = tx.get(Attempt, attempt_id)
    if attempt is None or attempt.state != "live":
        raise Refused("attempt_over", f"attempt {attempt_id} is not live")
    node = the_node(tx, attempt.node)
    if node.state != "open":
        raise Refused("already_settled", f"{node.id} has settled ({node.cause})")
    return attempt, node


def live_attempt_of(reading: Reading, node_id: str) -> Attempt | None:
    """The node's live attempt, if it has one."""
    return next((a for a in reading.find(Attempt, node=node_id) if a.state == "live"), None)


def child_named(reading: Reading, parent: str, name: str) -> Node:
    """A direct child by its id or label; a successor under the same label comes first.

    Raises:
        Refused: unknown_node; not_your_child for a node elsewhere.
    """
    children = reading.find(Node, parent=parent)
    for child in children:
        if name in (child.id, child.label, child.id.rpartition("/")[2]):
            return child
    if reading.get(Node, name) is not None:
        raise Refused("not_your_child", f"{name} is not a direct child of {parent}")
    known = ", ".join(sorted(child.label for child in children)) or "none"
    raise Refused("unknown_node", f"no child is called {name!r} (children: {known})")


def node_named(reading: Reading, top: str, name: str | None) -> Node:
    """A node of `top`'s own subtree, by id or by the label of a direct child; None is `top` itself.

    Raises:
        Refused: unknown_node, also for nodes outside the subtree: what is not yours does not exist for you.
    """
    if name is None:
        return the_node(reading, top)
    node = reading.get(Node, name)
    if node is not None and (node.id == top or node.id.startswith(top + ".")):
        return node
    for child in reading.find(Node, parent=top):
        if name in (child.label, child.id.rpartition("/")[2]):
            return child
    raise Refused("unknown_node", f"no node {name!r} in your subtree")


def open_children(reading: Reading, node_id: str) -> list[Node]:
    """A node's direct children that have not settled, in order of birth."""
    return sorted(reading.find(Node, parent=node_id, state="open"), key=lambda node: node.ordinal)


def subtree(reading: Reading, node_id: str) -> list[Node]:
    """The open nodes of a subtree, deepest first: the order in which they are ended (B13)."""
    found: list[Node] = []
    for child in open_children(reading, node_id):
        found += subtree(reading, child.id)
    node = the_node(reading, node_id)
    return [*found, node] if node.state == "open" else found
