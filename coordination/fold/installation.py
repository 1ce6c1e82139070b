"""The fold: hTTP sessions and the clock."""

from collections.abc import Mapping

from palmette.coordination import events as e
from palmette.coordination.fold.shared import Change
from palmette.coordination.records import HttpSession, Rest
from palmette.coordination.tables import Tables

__all__ = ["CHANGES"]


def _http_session_opened(tables: Tables, event: e.Event, data: e.HttpSessionOpened) -> None:
    tables.put(HttpSession(data.session, data.endpoint, data.credential, data.protocol_version, data.params, event.at))


def _http_session_closed(tables: Tables, _: e.Event, data: e.HttpSessionClosed) -> None:
    tables.delete(HttpSession, data.session)


def _clock_marked(tables: Tables, event: e.Event, data: e.ClockMarked) -> None:
    for node, seconds in data.rests.items():
        tables.put(Rest(node, seconds, event.at))


CHANGES: Mapping[str, Change] = {
    "http_session_opened": _http_session_opened,
    "http_session_closed": _http_session_closed,
    "clock_marked": _clock_marked,
}
"""Kind of event → what it does."""
