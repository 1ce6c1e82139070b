"""The envelope around every fact of the journal (§6), and what the data of each kind has in common."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from palmette.coordination.values import Label

__all__ = ["Draft", "Event", "EventData", "event", "kind_of"]


class EventData:
    """What every kind's data has: its name and version."""

    kind: ClassVar[str]
    version: ClassVar[int]


D = TypeVar("D", bound=EventData)


def event(kind: str, version: int = 1) -> Callable[[type[D]], type[D]]:
    """Give a class of data the name and version of its kind."""

    def named(cls: type[D]) -> type[D]:
        cls.kind, cls.version = kind, version
        return cls

    return named


def kind_of(data: EventData) -> str:
    """The kind's name, as stored."""
    return data.kind


@dataclass(frozen=True, slots=True)
class Draft:
    """An event before it has a place in the journal.

    Attributes:
        tree, node, attempt: what it is about; None where it concerns the installation.
        actor: who did it: `person`, `supervisor`, `gateway`, or an attempt's id (its own label is then added, F2).
        because: the seq of the event that led to it.
        origin: where its content comes from (F2).
        label: further origins of the content; the store adds `origin` and the acting attempt's label.
    """

    data: EventData
    tree: str | None = None
    node: str | None = None
    attempt: str | None = None
    actor: str = "supervisor"
    because: int | None = None
    origin: str = "supervisor"
    label: Label = frozenset()


@dataclass(frozen=True, slots=True)
class Event:
    """One row of the journal: the envelope of DESIGN §6 and the kind's data.

    Attributes:
        seq: its place in the journal; strictly increasing, unique over all trees.
        at: UTC, microseconds since 1970.
    """

    seq: int
    at: int
    tree: str | None
    node: str | None
    attempt: str | None
    kind: str
    version: int
    actor: str
    because: int | None
    origin: str
    label: Label
    data: Any
