"""The fold: purses and holds."""

from collections.abc import Mapping
from dataclasses import replace

from palmette.coordination import events as e
from palmette.coordination.fold.shared import Change, have
from palmette.coordination.records import Hold, Purse
from palmette.coordination.tables import Tables
from palmette.coordination.values import Amounts

__all__ = ["CHANGES"]


def _model_held(tables: Tables, event: e.Event, data: e.ModelHeld) -> None:
    purse = have(tables, Purse, event.node)
    tables.put(replace(purse, free=purse.free.minus(data.amounts), held=purse.held.plus(data.amounts)))
    tables.put(Hold(data.hold, purse.node, event.attempt, data.amounts, event.at))


def _model_booked(tables: Tables, event: e.Event, data: e.ModelBooked) -> None:
    purse = have(tables, Purse, event.node)
    free, held = purse.free, purse.held
    if data.hold is not None:
        hold = have(tables, Hold, data.hold)
        free, held = free.plus(hold.amounts), held.minus(hold.amounts)
        tables.delete(Hold, hold.id)
    blind = not data.known and data.why != "released"
    tables.put(
        replace(
            purse,
            free=free.minus(data.amounts),
            held=held,
            spent=purse.spent.plus(data.amounts),
            unknown=purse.unknown or blind,
            # B8: dollars that nobody can even bound, under a dollar budget, close the channel.
            usd_closed=purse.usd_closed or (blind and data.amounts.usd is None and purse.granted.usd is not None),
        )
    )


def _seconds_booked(tables: Tables, event: e.Event, data: e.SecondsBooked) -> None:
    purse = have(tables, Purse, event.node)
    amounts = Amounts(0, 0, 0, data.seconds)
    tables.put(replace(purse, free=purse.free.minus(amounts), spent=purse.spent.plus(amounts)))


CHANGES: Mapping[str, Change] = {
    "model_held": _model_held,
    "model_booked": _model_booked,
    "seconds_booked": _seconds_booked,
}
"""Kind of event → what it does."""
