"""How a tree begins and a node comes into being: admission only, nothing is started here (DESIGN §4)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from palmette.coordination.commands.budget import grant
from palmette.coordination.commands.standing import the_node, the_purse, the_tree
from palmette.coordination.errors import Refused
from palmette.coordination.events import AttemptStarted, Draft, NodeSpawned, TreeOpened
from palmette.coordination.ports import Transaction
from palmette.coordination.records import Node, Tree
from palmette.coordination.values import LABEL, Amounts, Channel, Text, child_id, depth_of

__all__ = ["Admitted", "NodeOrder", "Slots", "TreeOrder", "admit_child", "begin_attempt", "open_tree"]


@dataclass(frozen=True, slots=True)
class Slots:
    """How many nodes may be live on this supervisor, and how many are (B15)."""

    limit: int
    live: int

    @property
    def free(self) -> int:
        return max(self.limit - self.live, 0)


@dataclass(frozen=True, slots=True)
class NodeOrder:
    """A node to be, complete but for what only its parent's records can say.

    Attributes:
        task_digest: sha256 over task, profile and base: what the key stands for (E6).
        asked: the budget the spawn names; `defaults`: what the profile names.
        deadline_s: seconds from now, or None (B10).
    """

    task: Text
    task_digest: str
    profile_name: str
    profile: dict[str, Any]
    profile_body: Text
    role: str
    harness: str
    model: str
    label: str | None = None
    key: str | None = None
    decide: Literal["rerun", "skip"] | None = None
    asked: Mapping[Channel, int] = field(default_factory=dict[Channel, int])
    defaults: Mapping[Channel, int] = field(default_factory=dict[Channel, int])
    deadline_s: int | None = None
    base: str | None = None
    checks: list[dict[str, Any]] | None = None
    cut: list[str] | None = None
    continuity: Literal["fresh", "resume"] = "fresh"
    on_crash: Literal["resume", "lost"] = "resume"
    isolation: str = "unsafe-none"
    enforcement: Literal["gateway", "reported", "none"] = "reported"
    access: Literal["key", "own-login", "scripted", "none"] = "scripted"
    held: bool = True


@dataclass(frozen=True, slots=True)
class TreeOrder:
    """A tree to be; `pool` is all it may ever spend."""

    tree: str
    mode: Literal["driven", "attached"]
    root: NodeOrder
    pool: Amounts
    max_depth: int
    person: bool
    root_key: str | None = None
    repository: str | None = None
    evaluation: bool = False
    model_source: str = ""
    actor: str = "person"


@dataclass(frozen=True, slots=True)
class Admitted:
    """The answer to a spawn: the node, and whether it is the one an earlier call with this key made."""

    node: Node
    fresh: bool


def open_tree(tx: Transaction, order: TreeOrder) -> Node:
    """Begin a tree with its root node."""
    if tx.get(Tree, order.tree) is not None:
        raise ValueError(f"tree id {order.tree} was given out twice")
    data = TreeOpened(
        order.mode,
        order.root_key,
        order.repository,
        order.max_depth,
        order.person and not order.evaluation,
        order.evaluation,
        order.model_source,
    )
    opened = tx.append(Draft(data, order.tree, actor=order.actor))
    deadline = None if order.root.deadline_s is None else tx.now() + order.root.deadline_s * 1_000_000
    return _born(tx, order.tree, None, 0, order.root, order.pool, deadline, order.actor, opened.seq, "root")


def admit_child(tx: Transaction, attempt: str, parent_id: str, order: NodeOrder, slots: Slots) -> Admitted:
    """Take a child in: key, continuity, depth, live cap, label, budget, in this order; a refusal changes nothing (B2).

    Raises:
        Refused: key_conflict, in_doubt, resume_with_key, no_prior_attempt, resume_while_live, depth_limit, max_live,
            bad_label, label_taken, and those of `grant`.
    """
    parent = the_node(tx, parent_id)
    tree = the_tree(tx, parent.tree)
    if order.key is not None:
        earlier = _under_key(tx, parent, order)
        if earlier is not None:
            return Admitted(earlier, fresh=False)
    prior = _prior(tx, parent, order) if order.continuity == "resume" else None
    if depth_of(parent.id) + 1 > tree.max_depth:
        raise Refused("depth_limit", f"nodes at depth {depth_of(parent.id)} cannot spawn (max_depth {tree.max_depth})")
    if slots.free == 0:
        raise Refused("max_live", f"{slots.live} of {slots.limit} slots are taken", free_slots=0)
    ordinal = parent.children + 1
    label = _label(tx, parent, order, prior, ordinal)
    amounts = grant(the_purse(tx, parent.id), order.asked, order.defaults, slots.free)
    deadline = parent.deadline_at
    if order.deadline_s is not None:
        asked = tx.now() + order.deadline_s * 1_000_000
        deadline = asked if deadline is None else min(deadline, asked)
    node = _born(tx, parent.tree, parent, ordinal, order, amounts, deadline, attempt, None, label, prior)
    return Admitted(node, fresh=True)


def begin_attempt(tx: Transaction, node_id: str, token_digest: str, session: str | None) -> str:
    """Begin the node's next attempt; returns its id.

    Raises:
        Refused: already_settled.
    """
    node = the_node(tx, node_id)
    if node.state != "open":
        raise Refused("already_settled", f"{node.id} has settled ({node.cause})")
    number = node.attempts + 1
    name = f"{node.id}#{number}"
    tx.append(Draft(AttemptStarted(number, token_digest, session), node.tree, node.id, name))
    return name


def _born(
    tx: Transaction,
    tree: str,
    parent: Node | None,
    ordinal: int,
    order: NodeOrder,
    amounts: Amounts,
    deadline: int | None,
    actor: str,
    because: int | None,
    label: str,
    prior: Node | None = None,
) -> Node:
    node_id = f"{tree}/0" if parent is None else child_id(parent.id, ordinal)
    data = NodeSpawned(
        parent=None if parent is None else parent.id,
        ordinal=ordinal,
        label=order.label or label if parent is None else label,
        task=order.task,
        task_digest=order.task_digest,
        profile_name=order.profile_name,
        profile=order.profile,
        profile_body=order.profile_body,
        role=order.role,
        harness=order.harness,
        model=order.model,
        granted=amounts,
        deadline_at=deadline,
        key=order.key,
        base=order.base,
        checks=order.checks,
        cut=order.cut,
        continuity=order.continuity,
        resumes=None if prior is None else prior.id,
        on_crash=order.on_crash,
        isolation=order.isolation,
        enforcement=order.enforcement,
        access=order.access,
        held=order.held,
    )
    origin = "person" if parent is None else "model"
    event = tx.append(Draft(data, tree, node_id, actor=actor, because=because, origin=origin))
    return the_node(tx, event.node or node_id)


def _under_key(tx: Transaction, parent: Node, order: NodeOrder) -> Node | None:
    """E6: what already ran under this key, if the spawn is to be answered with it."""
    earlier = sorted(tx.find(Node, parent=parent.id, key=order.key), key=lambda node: node.ordinal)
    if not earlier:
        return None
    last = earlier[-1]
    if last.task_digest != order.task_digest:
        raise Refused("key_conflict", f"key {order.key!r} stands for the task of {last.id}", node=last.id)
    if last.settlement == "lost":
        if order.decide is None:
            raise Refused(
                "in_doubt",
                f"{last.id} ran under key {order.key!r} and was lost",
                node=last.id,
                decide=["rerun", "skip"],
            )
        return None if order.decide == "rerun" else last
    return last


def _prior(tx: Transaction, parent: Node, order: NodeOrder) -> Node:
    """The settled child whose session a spawn with continuity='resume' takes up."""
    if order.key is not None:
        raise Refused("resume_with_key", "a keyed task runs once")
    found = [n for n in tx.find(Node, parent=parent.id) if order.label in (n.label, n.id)]
    if not found or found[0].session is None:
        raise Refused("no_prior_attempt", f"no settled child {order.label!r} has a session to resume")
    if found[0].state == "open":
        raise Refused("resume_while_live", f"{found[0].id} is still live")
    return found[0]


def _label(tx: Transaction, parent: Node, order: NodeOrder, prior: Node | None, ordinal: int) -> str:
    if prior is not None:
        return f"{prior.label[:34]}-{ordinal}"
    if order.label is None:
        wanted = str(ordinal)
        return f"n{ordinal}" if tx.find(Node, parent=parent.id, label=wanted) else wanted
    if LABEL.fullmatch(order.label) is None:
        raise Refused("bad_label", f"{order.label[:60]!r} is no label")
    if tx.find(Node, parent=parent.id, label=order.label):
        raise Refused("label_taken", f"a child of {parent.id} is already called {order.label!r}")
    return order.label
