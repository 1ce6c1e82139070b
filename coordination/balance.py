"""Whether the books balance: B1 for every account, B6 for every tree that has ended. Pure, over any tables."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Literal

from palmette.coordination.records import Hold, Purse, Tree
from palmette.coordination.tables import Reading
from palmette.coordination.values import CHANNELS, Channel, tree_of

__all__ = ["Imbalance", "budget_imbalances"]


@dataclass(frozen=True, slots=True)
class Imbalance:
    """One account, on one channel, that does not add up.

    Attributes:
        rule: `B1`: granted = free + held + spent + Σ grants of open children; or `held` is not the sum of the open
            holds. `B6`: a hold is open in a tree that has ended, or of a node that has: what it holds was given back
            to the parent as unspent, and whatever it is booked with would be minted.
        expected, found: micro-dollars, tokens, calls or seconds, as the channel has it.
    """

    rule: Literal["B1", "B6"]
    node: str
    channel: Channel
    expected: int
    found: int
    why: str


def budget_imbalances(reading: Reading) -> list[Imbalance]:
    """Every account that does not add up, in no particular order; empty if the books balance."""
    purses = list(reading.all(Purse))
    below: defaultdict[tuple[str, Channel], int] = defaultdict(int)
    holds: defaultdict[tuple[str, Channel], int] = defaultdict(int)
    for purse in purses:
        if purse.open and purse.parent is not None:
            for channel in CHANNELS:
                below[purse.parent, channel] += purse.granted.get(channel) or 0
    found: list[Imbalance] = []
    for hold in reading.all(Hold):
        for channel in CHANNELS:
            holds[hold.node, channel] += hold.amounts.get(channel) or 0
        tree, purse = reading.get(Tree, tree_of(hold.node)), reading.get(Purse, hold.node)
        ended = "tree" if tree is None or tree.state == "closed" else "node" if purse is None or not purse.open else ""
        if ended:
            turns = hold.amounts.turns or 0
            found.append(Imbalance("B6", hold.node, "turns", 0, turns, f"hold {hold.id} is open in an ended {ended}"))
    for purse in purses:
        for channel in CHANNELS:
            held = purse.held.get(channel) or 0
            if held != holds[purse.node, channel]:
                why = "held is not the sum of the open holds"
                found.append(Imbalance("B1", purse.node, channel, holds[purse.node, channel], held, why))
            granted = purse.granted.get(channel)
            if granted is None:
                continue
            free, spent = purse.free.get(channel) or 0, purse.spent.get(channel) or 0
            total = free + held + spent + below[purse.node, channel]
            if total != granted:
                why = f"free {free} + held {held} + spent {spent} + children {below[purse.node, channel]} ≠ granted"
                found.append(Imbalance("B1", purse.node, channel, granted, total, why))
    return found
