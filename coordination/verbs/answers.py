"""How things look in a verb's answer: the essential keys first, and never more than a reply may hold (S7)."""

from collections.abc import Mapping, Sequence
from typing import Any

from palmette.coordination.bounds import clip, json_size
from palmette.coordination.causes import row
from palmette.coordination.commands.queue import Taken
from palmette.coordination.commands.standing import open_children, the_node, the_purse
from palmette.coordination.events import Event
from palmette.coordination.records import Delivery, Message, Node, Purse, Question
from palmette.coordination.tables import Reading
from palmette.coordination.values import Blob, Text, Verdict

__all__ = [
    "EVIDENCE_BYTES",
    "REPLY_TEXT",
    "Shortened",
    "balance",
    "event_answers",
    "heartbeat",
    "node_answer",
    "shorten",
    "shorten_to_size",
    "texts_of",
    "verdict_answer",
]

REPLY_TEXT = 20_000
"""Characters of agents' text in one reply, so that the whole stays under 30,000 (S7)."""

EVIDENCE_BYTES = 1_500
"""Of a verdict's evidence in a reply, as JSON."""
_LEAST = 80
"""A shorter text is not worth cutting in the middle."""

Shortened = dict[str, Any]


def balance(purse: Purse) -> dict[str, Any]:
    """What is free, in the units people and models use."""
    return purse.free.shown()


def heartbeat(reading: Reading, node_id: str) -> str:
    """One line for the person who watches a call wait: `2 live, $0.34 of $5.00`."""
    live = len(open_children(reading, node_id))
    purse = the_purse(reading, node_id)
    if purse.granted.usd is not None:
        return f"{live} live, ${(purse.spent.usd or 0) / 1e6:.2f} of ${purse.granted.usd / 1e6:.2f}"
    return f"{live} live, {purse.spent.turns or 0} turns"


def texts_of(reading: Reading, taken: Taken, data: Mapping[int, Event]) -> list[Text]:
    """The texts that `event_answers` will want, so that the caller can fetch them beforehand."""
    wanted: list[Text] = []
    for delivery in taken.deliveries:
        wanted += _texts(reading, delivery, data.get(delivery.seq))
    return wanted


def event_answers(
    reading: Reading, taken: Taken, data: Mapping[int, Event], texts: Mapping[Text, str]
) -> list[dict[str, Any]]:
    """The events of a hand-over, as the waiting agent reads them."""
    room = max(REPLY_TEXT // max(len(taken.deliveries), 1), 500)
    told: list[dict[str, Any]] = []
    for delivery in taken.deliveries:
        answer: dict[str, Any] = {"type": delivery.type, "seq": delivery.seq}
        if delivery.seq in taken.again:
            answer["redelivered"] = True
        answer |= _answer(reading, delivery, data.get(delivery.seq), texts, room)
        told.append(answer)
    return told


def node_answer(reading: Reading, node: Node, texts: Mapping[Text, str], room: int) -> dict[str, Any]:
    """A settled child: how it ended, whether to try again, what it left."""
    purse = the_purse(reading, node.id)
    cause = row(node.cause or "lost")
    answer: dict[str, Any] = {
        "node": node.id,
        "label": node.label,
        "settlement": node.settlement,
        "cause": node.cause,
        "valid": node.valid,
        "retry": cause.retry,
        "grade": cause.grade,
    }
    if node.reason:
        answer["reason"] = node.reason[:500]
    if node.verdicts:
        answer["verdicts"] = [verdict_answer(verdict, texts, EVIDENCE_BYTES) for verdict in node.verdicts]
    answer["result"] = shorten(_text(texts, node.result), room)
    if node.artifacts:
        answer["artifacts"] = node.artifacts[:50]
    if node.commit is not None and node.commit != node.base:
        # Beside the parent's work tree (W8): `git pull ../in/<label>.bundle HEAD`.
        answer |= {"commit": node.commit, "bundle": f"../in/{node.label}.bundle", "diffstat": node.diffstat}
    answer |= {"spent": purse.spent.shown(), "session": node.session}
    if purse.unknown:
        answer["spent_unknown"] = True
    return answer


def verdict_answer(verdict: Verdict, texts: Mapping[Text, str], room: int) -> dict[str, Any]:
    """A verdict without its digests, its evidence cut to `room` bytes of JSON."""
    answer: dict[str, Any] = {"objective": verdict.objective, "status": verdict.status}
    if verdict.value is not None:
        answer |= {"value": verdict.value, "unit": verdict.unit}
    evidence = _text(texts, verdict.evidence)
    if evidence:
        answer["evidence"] = shorten_to_size(evidence, min(room, EVIDENCE_BYTES))
    return answer


def shorten(text: str, room: int) -> str:
    """The text, cut in the middle if it is longer than `room` characters."""
    if len(text) <= room:
        return text
    half = max((room - 40) // 2, 1)
    return f"{text[:half]}\n… {len(text) - 2 * half} characters left out …\n{text[-half:]}"


def shorten_to_size(text: str, size: int) -> str:
    """The text, cut in the middle if it takes more than `size` bytes of JSON."""
    room = size
    while json_size(cut := shorten(text, room)) > size:
        if room < _LEAST:
            return clip(text, size)
        room = room * 3 // 4
    return cut


def _text(texts: Mapping[Text, str], value: Text) -> str:
    return texts.get(value, "") if isinstance(value, Blob) else value


def _texts(reading: Reading, delivery: Delivery, event: Event | None) -> Sequence[Text]:
    match delivery.type:
        case "settled":
            node = the_node(reading, delivery.source)
            return [node.result, *(verdict.evidence for verdict in node.verdicts)]
        case "question":
            question = reading.get(Question, delivery.source)
            return [] if question is None else [question.question, question.why]
        case "message" | "answer":
            message = reading.get(Message, delivery.source)
            return [] if message is None else [message.text]
        case _:
            return [] if event is None else [event.data.summary]


def _answer(
    reading: Reading, delivery: Delivery, event: Event | None, texts: Mapping[Text, str], room: int
) -> dict[str, Any]:
    match delivery.type:
        case "settled":
            return node_answer(reading, the_node(reading, delivery.source), texts, room)
        case "question":
            question = reading.get(Question, delivery.source)
            return {} if question is None else _question(reading, question, texts, room)
        case "message" | "answer":
            message = reading.get(Message, delivery.source)
            if message is None:
                return {}
            answer = {"message": message.id, "text": shorten(_text(texts, message.text), room)}
            if message.question is not None:
                answer["question"] = message.question
            if message.supersedes is not None:
                answer["supersedes"] = str(message.supersedes)
            return answer
        case _:
            source = the_node(reading, delivery.source)
            told: dict[str, Any] = {"node": source.id, "label": source.label}
            if event is not None:
                told |= {"salience": event.data.salience, "summary": shorten(_text(texts, event.data.summary), room)}
                if event.data.refs:
                    told["refs"] = event.data.refs
            return told


def _question(reading: Reading, question: Question, texts: Mapping[Text, str], room: int) -> dict[str, Any]:
    asker = the_node(reading, question.asker)
    answer: dict[str, Any] = {
        "question": question.id,
        "from": asker.label,
        "node": asker.id,
        "urgency": question.urgency,
        "kind": question.asked_as,
        "text": shorten(_text(texts, question.question), room),
        "why": shorten(_text(texts, question.why), room),
    }
    if question.options:
        answer["options"] = question.options
    if question.state != "open":
        answer["state"] = question.state
    return answer
