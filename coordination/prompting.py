"""How every prompt begins: the date and time, the deadline, the grant, the repository and base (P2)."""

from datetime import UTC, datetime

from palmette.coordination.records import Node, Purse, Tree

__all__ = ["opening"]


def opening(now: int, node: Node, tree: Tree, purse: Purse) -> str:
    """The facts of the moment, one a line.

    Args:
        now: UTC microseconds.
    """
    lines = [
        f"It is {_utc(now)}.",
        f"You are node {node.id} ({node.label}), a {node.role} in tree {tree.id}.",
        f"Deadline: {_utc(node.deadline_at)}." if node.deadline_at is not None else "Deadline: none.",
        f"Budget left: {_amounts(purse)}.",
    ]
    if tree.repository is not None and node.base is not None:
        lines.append(f"Repository: {tree.repository}, base {node.base}.")
    else:
        lines.append("Repository: none.")
    return "\n".join(lines)


def _utc(micros: int) -> str:
    moment = datetime.fromtimestamp(micros / 1_000_000, UTC)
    return f"{moment:%A, %Y-%m-%d %H:%M:%S} UTC"


def _amounts(purse: Purse) -> str:
    free = purse.free.shown()
    if not free:
        return "nothing is budgeted"
    return ", ".join(f"${value:.2f}" if channel == "usd" else f"{value} {channel}" for channel, value in free.items())
