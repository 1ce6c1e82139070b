"""From a connection to a node: attempts by their token, attached roots by who they are (S1, DESIGN §2)."""

from dataclasses import dataclass

from palmette.coordination.commands.standing import the_node
from palmette.coordination.errors import Refused
from palmette.coordination.identity import Visitor, token_digest
from palmette.coordination.records import Attempt, Node, Tree
from palmette.coordination.tables import Reading

__all__ = ["Caller", "find_caller", "require_caller"]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: a node and the attempt it lives in.

    Attributes:
        attached: whether a person runs it himself; then nothing can be said to it between its calls.
    """

    node: Node
    attempt: str
    tree: Tree
    attached: bool


def find_caller(reading: Reading, visitor: Visitor) -> Caller | None:
    """The caller; None for an attached root that has no tree yet.

    Raises:
        Refused: attempt_over for a token that is unknown, replayed, or of an ended attempt.
    """
    if visitor.token is not None:
        found = reading.find(Attempt, token_digest=token_digest(visitor.token))
        if not found or found[0].state != "live":
            raise Refused("attempt_over", "this token belongs to no live attempt")
        attempt = found[0]
        node = the_node(reading, attempt.node)
        tree = reading.get(Tree, node.tree)
        if tree is None:
            raise Refused("attempt_over", "the tree of this attempt is gone")
        return Caller(node, attempt.id, tree, attached=False)
    trees = reading.find(Tree, root_key=visitor.root_key, state="open")
    if not trees:
        return None
    root = the_node(reading, f"{trees[0].id}/0")
    return Caller(root, f"{root.id}#{root.attempts}", trees[0], attached=True)


def require_caller(reading: Reading, visitor: Visitor) -> Caller:
    """The caller.

    Raises:
        Refused: attempt_over; no_tree for an attached root without one.
    """
    caller = find_caller(reading, visitor)
    if caller is None:
        raise Refused("no_tree", "you have no tree yet")
    return caller
