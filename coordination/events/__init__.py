"""The facts a journal can hold: one frozen class per kind, each with a version, and the envelope around them (§6).

A kind's fields may grow (with defaults) without a new version; a change of meaning is a new version beside the old
one. The catalogue of kinds in the documentation is generated from the docstrings here (E11).
"""

from collections.abc import Mapping

from palmette.coordination.events import attempts, installation, messages, money, questions, queue, trees, verbs
from palmette.coordination.events.attempts import AttemptEnded, AttemptStarted, Prompted, SessionStarted, Stepped
from palmette.coordination.events.envelope import Draft, Event, EventData, kind_of
from palmette.coordination.events.installation import (
    ClockMarked,
    HttpSessionClosed,
    HttpSessionOpened,
    SupervisorStarted,
    SupervisorStopped,
)
from palmette.coordination.events.messages import MessageIntended, MessageMoved, MessageOutcome, MessageSent
from palmette.coordination.events.money import ModelBooked, ModelHeld, SecondsBooked
from palmette.coordination.events.questions import (
    QuestionAnswered,
    QuestionAsked,
    QuestionDelivered,
    QuestionEscalated,
    QuestionWithdrawn,
)
from palmette.coordination.events.queue import Acknowledged, HandedOver, Notified
from palmette.coordination.events.trees import (
    Attached,
    Detached,
    NodePaused,
    NodeResumed,
    NodeSettled,
    NodeSpawned,
    ResultPublished,
    RootAdopted,
    TreeClosed,
    TreeOpened,
)
from palmette.coordination.events.verbs import Selected, SubmitJudged, Submitted, VerbCalled

__all__ = [
    "EVENT_TYPES",
    "Acknowledged",
    "Attached",
    "AttemptEnded",
    "AttemptStarted",
    "ClockMarked",
    "Detached",
    "Draft",
    "Event",
    "EventData",
    "HandedOver",
    "HttpSessionClosed",
    "HttpSessionOpened",
    "MessageIntended",
    "MessageMoved",
    "MessageOutcome",
    "MessageSent",
    "ModelBooked",
    "ModelHeld",
    "NodePaused",
    "NodeResumed",
    "NodeSettled",
    "NodeSpawned",
    "Notified",
    "Prompted",
    "QuestionAnswered",
    "QuestionAsked",
    "QuestionDelivered",
    "QuestionEscalated",
    "QuestionWithdrawn",
    "ResultPublished",
    "RootAdopted",
    "SecondsBooked",
    "Selected",
    "SessionStarted",
    "Stepped",
    "SubmitJudged",
    "Submitted",
    "SupervisorStarted",
    "SupervisorStopped",
    "TreeClosed",
    "TreeOpened",
    "VerbCalled",
    "kind_of",
]

EVENT_TYPES: Mapping[tuple[str, int], type[EventData]] = {
    (data.kind, data.version): data
    for room in (installation, trees, attempts, money, messages, questions, queue, verbs)
    for data in vars(room).values()
    if isinstance(data, type) and issubclass(data, EventData) and data is not EventData
}
"""(kind, version) → class, in the order in which a tree's life is told."""
