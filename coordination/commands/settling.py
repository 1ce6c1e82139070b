"""How nodes end: a settlement returns the grant, ends what is below, and happens once (B4, B6, B13)."""

from dataclasses import dataclass, replace

from palmette.coordination.bounds import REASON_BYTES, clip
from palmette.coordination.causes import row
from palmette.coordination.commands.budget import charge_open_holds
from palmette.coordination.commands.questions import withdraw_all
from palmette.coordination.commands.standing import subtree, the_node, the_purse, the_tree
from palmette.coordination.events import AttemptEnded, Draft, MessageOutcome, NodeSettled, TreeClosed
from palmette.coordination.ports import Transaction
from palmette.coordination.records import Attempt, Message, Node
from palmette.coordination.values import Verdict

__all__ = ["Ending", "end_attempt", "settle"]


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a node ends.

    Attributes:
        cause: a row of the cause table (E8).
        actor: who ended it: `person`, `supervisor`, or an attempt's id.
        reason: one sentence for whoever reads the settlement.
    """

    cause: str
    actor: str = "supervisor"
    reason: str = ""
    exit_code: int | None = None


def settle(tx: Transaction, node_id: str, ending: Ending) -> bool:
    """Settle a node and, depth first before it, everything open below it.

    To be called when nothing of the subtree is running any more. Returns False if it had settled before: then nothing
    happened (B4).
    """
    if the_node(tx, node_id).state != "open":
        return False
    for node in subtree(tx, node_id):
        below = node.id != node_id
        told = Ending("parent_settled", ending.actor, f"{node_id} ended: {ending.cause}") if below else ending
        _settle_one(tx, node, told)
    return True


def end_attempt(tx: Transaction, node_id: str, how: str, exit_code: int | None = None) -> None:
    """Record that the node's live attempt, if any, is over."""
    for attempt in tx.find(Attempt, node=node_id):
        if attempt.state == "live":
            data = AttemptEnded(how, exit_code)  # type: ignore[arg-type]
            tx.append(Draft(data, attempt.tree, node_id, attempt.id))


def _settle_one(tx: Transaction, node: Node, ending: Ending) -> None:
    charge_open_holds(tx, node.id)
    withdraw_all(tx, node.id, f"the node ended: {ending.cause}")
    for state in ("intent", "sent"):
        for message in tx.find(Message, node=node.id, state=state):
            data = MessageOutcome(message.id, "undeliverable")
            tx.append(Draft(data, node.tree, node.id, message.attempt))
    end_attempt(tx, node.id, "settled", ending.exit_code)
    purse = the_purse(tx, node.id)
    cause = row(ending.cause)
    accepted = ending.cause == "submitted"
    data = NodeSettled(
        settlement=cause.settlement,
        cause=ending.cause,
        reason=clip(ending.reason, REASON_BYTES),
        valid=_valid(node) if accepted else False,
        spent=purse.spent,
        unknown=purse.unknown,
        result=node.result,
        artifacts=node.artifacts,
        commit=node.commit,
        diffstat=node.diffstat,
        verdicts=tuple(_in_short(verdict) for verdict in node.verdicts),
        session=node.session,
    )
    attempts = tx.find(Attempt, node=node.id)
    last = max(attempts, key=lambda a: a.number) if attempts else None
    tx.append(
        Draft(
            data,
            node.tree,
            node.id,
            None if last is None else last.id,
            actor=ending.actor,
            origin="model" if accepted else "supervisor",
            label=frozenset() if last is None else last.label,
        )
    )
    if node.parent is None:
        tree = the_tree(tx, node.tree)
        tx.append(Draft(TreeClosed(cause.settlement, the_purse(tx, node.id).spent), tree.id, actor=ending.actor))


def _in_short(verdict: Verdict) -> Verdict:
    """A verdict beside a result and its artifacts, where eight whole ones have no room; `submit_judged` has those."""
    return replace(verdict, evidence="", check_digest="", target_digest="", does_not_prove="", extra={})


def _valid(node: Node) -> bool | None:
    """C6: done is valid only if the deliverable checks passed; without any it is unchecked (None)."""
    if node.incomplete:
        return False
    deliverable = [v for v in node.verdicts if v.deliverable]
    return all(v.status == "pass" for v in deliverable) if deliverable else None
