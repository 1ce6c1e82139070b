"""After a restart: nothing is lost, nothing is minted, nothing of the old life counts twice (E5, B11)."""

from dataclasses import dataclass, field

from palmette.coordination.commands import budget
from palmette.coordination.commands.settling import Ending
from palmette.coordination.events import AttemptEnded, Draft
from palmette.coordination.ports import Store, Transaction
from palmette.coordination.records import Attempt, Call, Hold, Node, Rest, Tree
from palmette.coordination.tables import Reading

__all__ = ["Recovery", "recover"]


@dataclass(slots=True)
class Recovery:
    """What has to be taken up.

    Attributes:
        launches: (node, why, text) of attempts to start.
        endings: nodes that can only settle.
        deadlines: (node, deadline_at, last journaled rest).
        unpublished: settled roots whose result is not a ref yet.
    """

    launches: list[tuple[str, str, str]] = field(default_factory=list[tuple[str, str, str]])
    endings: list[tuple[str, Ending]] = field(default_factory=list[tuple[str, Ending]])
    deadlines: list[tuple[str, int, int | None]] = field(default_factory=list[tuple[str, int, int | None]])
    unpublished: list[str] = field(default_factory=list[str])


async def recover(store: Store) -> Recovery:
    """Close what the old life left open, and say what goes on.

    To be called when no process of the old life is left. Charges every open hold in full (B11), marks live attempts
    as crashed and sent messages as unknown (E4); decides between resuming and `lost` as the profile says (E5).
    """
    return await store.transact(_close_and_plan)


def _close_and_plan(tx: Transaction) -> Recovery:
    plan = Recovery()
    for hold in list(tx.all(Hold)):
        budget.charge_open_holds(tx, hold.node)
    for tree in tx.find(Tree, state="open"):
        for node in sorted(tx.find(Node, tree=tree.id, state="open"), key=lambda n: n.id.count(".")):
            if node.deadline_at is not None:
                rest = tx.get(Rest, node.id)
                plan.deadlines.append((node.id, node.deadline_at, None if rest is None else rest.seconds))
            if tree.mode == "driven" or node.parent is not None:
                _take_up(tx, node, plan)
    plan.unpublished = [
        f"{tree.id}/0"
        for tree in tx.find(Tree, state="closed")
        if tree.published is None and tree.repository is not None and _has_result(tx, tree.id)
    ]
    return plan


def _has_result(reading: Reading, tree_id: str) -> bool:
    root = reading.get(Node, f"{tree_id}/0")
    return root is not None and root.settlement == "done" and root.commit is not None


def _take_up(tx: Transaction, node: Node, plan: Recovery) -> None:
    attempts = sorted(tx.find(Attempt, node=node.id), key=lambda a: a.number)
    last = attempts[-1] if attempts else None
    crashed = last is not None and last.state == "live"
    if last is not None and crashed:
        tx.append(Draft(AttemptEnded("crashed"), node.tree, node.id, last.id))
    if node.submit == "accepted":
        plan.endings.append((node.id, Ending("submitted", "supervisor", "accepted before the restart")))
    elif last is None:
        plan.launches.append((node.id, "first", ""))
    elif crashed and not node.held:
        budget.charge_whole_grant(tx, node.id)
        plan.endings.append((node.id, Ending("lost", "supervisor", "its calls were not held beforehand")))
    elif crashed and node.on_crash == "lost":
        plan.endings.append((node.id, Ending("lost", "supervisor", "the supervisor ended while it ran")))
    elif last.session is None or not any(a.last_step_seq or tx.find(Call, attempt=a.id) for a in attempts):
        # Neither a reply of the model nor a call is on record: the task may never have reached it, so it is told again.
        plan.launches.append((node.id, "first", ""))
    else:
        plan.launches.append((node.id, "resumed", _resume_text(tx, node, last)))


def _resume_text(tx: Transaction, node: Node, last: Attempt) -> str:
    """What the next attempt is told first: the acts whose answers its predecessor may never have seen (E5)."""
    acts = [
        call for call in sorted(tx.find(Call, attempt=last.id), key=lambda c: c.seq) if call.seq > last.last_step_seq
    ]
    lines = ["You were interrupted by a restart and go on where you were."]
    if acts:
        lines.append("These calls of yours took effect, though you may not have seen their answers:")
        lines += [f"- {call.verb} → {_short(call)}" for call in acts]
    lines.append("Unacknowledged events are delivered again: call await_event if you have children, then go on.")
    return "\n".join(lines)


def _short(call: Call) -> str:
    keys = ("node", "label", "question", "message", "outcome", "stopped", "error")
    told = {key: call.answer[key] for key in keys if key in call.answer}
    return ", ".join(f"{key}={value}" for key, value in told.items()) or "done"
