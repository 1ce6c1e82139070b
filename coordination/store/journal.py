"""Events as the journal holds them: sealing a draft, an event as a row, and back.

Sealing is where an event gets its place, its time and its label, the same for every store.
"""

from collections.abc import Sequence
from typing import Any, cast

from palmette.coordination.codec import decode, dumps, encode, loads
from palmette.coordination.errors import JournalError
from palmette.coordination.events import EVENT_TYPES, Draft, Event
from palmette.coordination.records import Attempt
from palmette.coordination.tables import Reading
from palmette.coordination.values import Label

__all__ = ["COLUMNS", "EVENT_MAX_BYTES", "data_of", "event_of", "row_of", "seal"]

EVENT_MAX_BYTES = 8192
"""The most that one event's data may take, as UTF-8 JSON (DESIGN §6)."""

COLUMNS = (
    "seq",
    "at",
    "tree",
    "node",
    "attempt",
    "kind",
    "version",
    "actor",
    "because",
    "origin",
    "label",
    "data",
)
"""The envelope, in the order of the table."""

_labels: dict[str, Label] = {}
_texts: dict[Label, str] = {}
"""Labels and their stored form. There are eight origins, hence few labels, and a label costs as much as the data."""


def seal(draft: Draft, seq: int, at: int, reading: Reading) -> tuple[Event, str]:
    """The event that a draft becomes, and its data as stored.

    F2: whatever an attempt emits carries the attempt's label. The attempt that acts and the attempt that the event is
    about both count: a settlement is the supervisor's act, but what it tells is the attempt's.

    Raises:
        ValueError: the data is larger than EVENT_MAX_BYTES, or no journal knows its kind: a programming error, since
            long text goes through `keep` first.
    """
    data = draft.data
    if (data.kind, data.version) not in EVENT_TYPES:
        raise ValueError(f"{data.kind!r} version {data.version} is not in the catalogue of events")
    text = dumps(encode(data))
    if len(text) * 4 > EVENT_MAX_BYTES and (size := len(text.encode())) > EVENT_MAX_BYTES:
        raise ValueError(
            f"a {data.kind} event has {size} bytes of data; at most {EVENT_MAX_BYTES} fit, keep() long text first"
        )
    label = draft.label | {draft.origin}
    if draft.attempt is not None and (about := reading.get(Attempt, draft.attempt)) is not None:
        label |= about.label
    if "#" in draft.actor and draft.actor != draft.attempt:
        actor = reading.get(Attempt, draft.actor)
        if actor is not None:
            label |= actor.label
    event = Event(
        seq,
        at,
        draft.tree,
        draft.node,
        draft.attempt,
        data.kind,
        data.version,
        draft.actor,
        draft.because,
        draft.origin,
        label,
        data,
    )
    return event, text


def row_of(event: Event, data: str) -> tuple[Any, ...]:
    """The event as values for COLUMNS."""
    return (
        event.seq,
        event.at,
        event.tree,
        event.node,
        event.attempt,
        event.kind,
        event.version,
        event.actor,
        event.because,
        event.origin,
        _text_of(event.label),
        data,
    )


def event_of(row: Sequence[Any]) -> Event:
    """The event of a row in the order of COLUMNS.

    Raises:
        JournalError: `journal_newer`: this version does not know the kind.
    """
    seq, at, tree, node, attempt, kind, version, actor, because, origin, label, data = row
    return Event(
        seq,
        at,
        tree,
        node,
        attempt,
        kind,
        version,
        actor,
        because,
        origin,
        _label_of(label),
        data_of(kind, version, data),
    )


def data_of(kind: str, version: int, text: str) -> Any:
    """A kind's data from its stored form.

    Raises:
        JournalError: `journal_newer`: this version does not know the kind.
    """
    cls = EVENT_TYPES.get((kind, version))
    if cls is None:
        raise JournalError(
            f"the journal holds {kind!r} version {version}, which this version of palmette does not know",
            "Install the version that wrote it, or a newer one.",
            code="journal_newer",
        )
    return decode(cls, loads(text))


def _text_of(label: Label) -> str:
    text = _texts.get(label)
    if text is None:
        text = _texts[label] = dumps(sorted(label))
    return text


def _label_of(text: str) -> Label:
    label = _labels.get(text)
    if label is None:
        label = _labels[text] = cast(Label, frozenset(loads(text)))
    return label
