"""The conserved pool: what may be set aside, held and booked (B1–B11)."""

from collections.abc import Mapping, Sequence
from typing import Any

from palmette.coordination.commands.standing import live_attempt, the_node, the_purse
from palmette.coordination.errors import Refused
from palmette.coordination.events import Draft, ModelBooked, ModelHeld, SecondsBooked, Stepped
from palmette.coordination.ports import Transaction
from palmette.coordination.records import Attempt, Hold, Purse
from palmette.coordination.values import CHANNELS, Amounts, Channel, Text, Usage

__all__ = ["admit", "book", "charge_open_holds", "charge_whole_grant", "grant", "hold", "refunded", "spend_seconds"]


def grant(purse: Purse, asked: Mapping[Channel, int], defaults: Mapping[Channel, int], free_slots: int) -> Amounts:
    """What a spawn takes from its parent's free (B15).

    Args:
        asked: what the spawn names.
        defaults: what the child's profile names.
        free_slots: how many more nodes could be live now, this one included.

    Raises:
        Refused: channel_unbudgeted, channel_closed, budget_exhausted (with every shortfall).
    """
    wanted: dict[str, int | None] = {}
    for channel in CHANNELS:
        have = purse.free.get(channel)
        if have is None:
            if channel in asked:
                raise Refused("channel_unbudgeted", f"this tree has no budget for {channel}", channel=channel)
            wanted[channel] = None
        elif channel in asked:
            wanted[channel] = asked[channel]
        elif channel in defaults and defaults[channel] < have:
            wanted[channel] = defaults[channel]
        else:
            wanted[channel] = max(have, 0) // (free_slots + 1)
        share = wanted[channel]
        if share == 0 and channel not in asked:
            raise _exhausted([_shortfall(channel, 1, have or 0)])
    amounts = Amounts.of(wanted)
    admit(purse, amounts)
    return amounts


def admit(purse: Purse, amounts: Amounts) -> None:
    """Refuse unless every budgeted channel can give this much; an exact fit is admitted (B3).

    Raises:
        Refused: channel_closed, budget_exhausted.
    """
    if purse.usd_closed and purse.granted.usd is not None:
        raise Refused("channel_closed", "dollars nobody knows were spent here, so the usd channel is closed")
    short = [
        _shortfall(channel, amounts.get(channel) or 0, free)
        for channel in CHANNELS
        if (free := purse.free.get(channel)) is not None and (amounts.get(channel) or 0) > free
    ]
    if short:
        raise _exhausted(short)


def _shortfall(channel: Channel, need: int, free: int) -> dict[str, Any]:
    scale = 1_000_000 if channel == "usd" else 1
    return {
        "channel": channel,
        "need": need / scale if scale > 1 else need,
        "free": free / scale if scale > 1 else free,
    }


def _exhausted(short: Sequence[dict[str, Any]]) -> Refused:
    told = ", ".join(f"{s['channel']}: {s['need']} needed, {s['free']} free" for s in short)
    return Refused("budget_exhausted", f"the budget does not cover it ({told})", shortfalls=list(short))


def hold(tx: Transaction, attempt_id: str, amounts: Amounts) -> str:
    """Set a model call's worst case aside; returns the hold's id.

    Raises:
        Refused: attempt_over, already_settled, channel_closed, budget_exhausted.
    """
    attempt, node = live_attempt(tx, attempt_id)
    purse = the_purse(tx, node.id)
    if purse.free.seconds is not None and purse.free.seconds <= 0:
        raise _exhausted([_shortfall("seconds", 1, purse.free.seconds)])
    admit(purse, amounts)
    name = f"h{tx.next_seq()}"
    tx.append(Draft(ModelHeld(name, amounts), attempt.tree, node.id, attempt.id, actor=attempt.id))
    return name


def book(
    tx: Transaction,
    attempt_id: str,
    hold_id: str | None,
    amounts: Amounts | None,
    usage: Usage | None,
    *,
    model: str,
    prices: str = "",
    steps: Text | None = None,
    step_count: int = 0,
    sent: bool = True,
) -> None:
    """Close a hold with the true spend, which is always booked, also beyond the hold and the grant (B5).

    Args:
        amounts: what was spent; None books the whole hold as unknown (B8).
        steps: what the reply added to the conversation, as codec.steps_text.
        sent: False if the call was never made: nothing is spent.

    Raises:
        Refused: already_booked (B4).
    """
    attempt = tx.get(Attempt, attempt_id)
    held = tx.get(Hold, hold_id) if hold_id is not None else None
    if attempt is None or (hold_id is not None and (held is None or held.attempt != attempt_id)):
        raise Refused("already_booked", f"hold {hold_id!r} is not open")
    known = amounts is not None and amounts.usd is not None and (usage is None or usage.known)
    if not sent:
        spent, known = Amounts.zero(), True
    elif amounts is None:
        spent, known = (held.amounts if held is not None else Amounts(None, 0, 1, 0)), False
    else:
        spent = amounts
    data = ModelBooked(hold_id, spent, usage, known, model, "reply" if sent else "released", prices)
    booked = tx.append(Draft(data, attempt.tree, attempt.node, attempt.id, actor="gateway"))
    if steps is not None:
        tx.append(
            Draft(
                Stepped(steps, step_count),
                attempt.tree,
                attempt.node,
                attempt.id,
                actor=attempt.id,
                because=booked.seq,
                origin="model",
            )
        )


def charge_open_holds(tx: Transaction, node_id: str) -> int:
    """Charge every open hold of a node in full and close it (B11); returns how many there were."""
    holds = tx.find(Hold, node=node_id)
    for held in holds:
        node = the_node(tx, node_id)
        data = ModelBooked(held.id, held.amounts, None, False, node.model, "charged")
        tx.append(Draft(data, node.tree, node_id, held.attempt))
    return len(holds)


def charge_whole_grant(tx: Transaction, node_id: str) -> None:
    """B11: an attempt whose calls were not held beforehand may have spent anything: charge all that is free."""
    purse = the_purse(tx, node_id)
    rest = Amounts.of({c: max(purse.free.get(c) or 0, 0) for c in CHANNELS})
    if rest != Amounts.zero():
        node = the_node(tx, node_id)
        tx.append(Draft(ModelBooked(None, rest, None, False, node.model, "charged"), node.tree, node_id))


def spend_seconds(tx: Transaction, node_id: str, seconds: int) -> bool:
    """Book own active time (B12); returns whether the channel still has something free."""
    node = the_node(tx, node_id)
    if node.state == "open" and seconds > 0:
        tx.append(Draft(SecondsBooked(seconds), node.tree, node_id))
    free = the_purse(tx, node_id).free.seconds
    return free is None or free > 0


def refunded(before: Purse, after: Purse) -> bool:
    """Whether any budgeted channel has more free than before (E10: a refused node is prompted at the next refund)."""
    return any((after.free.get(c) or 0) > (before.free.get(c) or 0) for c in CHANNELS)
