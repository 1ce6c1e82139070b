"""Questions: up one level at a time, one holder, answered once delivered (Q1–Q8)."""

from dataclasses import dataclass
from typing import Literal

from palmette.coordination.commands.standing import live_attempt, live_attempt_of, the_node, the_tree
from palmette.coordination.errors import Refused
from palmette.coordination.events import (
    Draft,
    MessageIntended,
    QuestionAnswered,
    QuestionAsked,
    QuestionEscalated,
    QuestionWithdrawn,
)
from palmette.coordination.ports import Transaction
from palmette.coordination.records import Node, Question
from palmette.coordination.tables import Reading
from palmette.coordination.values import Text

__all__ = ["MAX_OPEN", "Asking", "answer", "ask", "blocking_below", "escalate", "standing_of", "withdraw_all"]


MAX_OPEN = 32
"""Open questions of one node: what nobody can read is no question, and each costs its holder's queue."""


@dataclass(frozen=True, slots=True)
class Asking:
    """What a node asks."""

    question: Text
    why: Text
    urgency: Literal["blocks_run", "blocks_step", "can_continue"]
    asked_as: Literal["decision", "permission", "plan"] = "decision"
    options: list[str] | None = None


def ask(tx: Transaction, attempt_id: str, asking: Asking) -> Question:
    """Ask the level above; with nobody there the question is recorded and its asker is the last to decide (Q3).

    Raises:
        Refused: attempt_over, already_settled, too_many.
    """
    attempt, node = live_attempt(tx, attempt_id)
    waiting = len(tx.find(Question, asker=node.id, state="open"))
    if waiting >= MAX_OPEN:
        raise Refused("too_many", f"{waiting} questions of yours are open already")
    data = QuestionAsked(asking.question, asking.why, asking.urgency, asking.asked_as, asking.options, _above(tx, node))
    event = tx.append(Draft(data, node.tree, node.id, attempt.id, actor=attempt.id, origin="model"))
    question = _question(tx, f"q{event.seq}")
    if question.holder is None:
        reason = "nobody is above: the asker decides"
        tx.append(Draft(QuestionWithdrawn(question.id, reason), node.tree, node.id, attempt.id, because=event.seq))
        question = _question(tx, question.id)
    return question


def answer(tx: Transaction, question_id: str, holder: str, text: Text, *, actor: str) -> Question:
    """Decide a question; the answer goes down as a message.

    Args:
        holder: on whose behalf: a node's id, or `person` (who may also answer for an attached root, Q1).

    Raises:
        Refused: unknown_question, question_closed, not_your_question, person_unavailable.
    """
    question = _held(tx, question_id, holder)
    person = holder == "person"
    origin = "person" if person else "model"
    asker = the_node(tx, question.asker)
    data = QuestionAnswered(question.id, text, actor, oracle_injection=person)
    decided = tx.append(Draft(data, asker.tree, asker.id, question.attempt, actor=actor, origin=origin))
    message = MessageIntended("answer", text, interrupt=question.urgency == "blocks_run", question=question.id)
    live = live_attempt_of(tx, asker.id)
    target = None if live is None else live.id
    tx.append(Draft(message, asker.tree, asker.id, target, actor=actor, because=decided.seq, origin=origin))
    return _question(tx, question.id)


def escalate(tx: Transaction, question_id: str, holder: str, why: Text, *, actor: str) -> Question:
    """Re-raise a question exactly one level (Q1).

    Raises:
        Refused: unknown_question, question_closed, not_your_question; last_to_decide at the top.
    """
    question = _held(tx, question_id, holder)
    if question.holder == "person":
        raise Refused("last_to_decide", "a person is the last to decide")
    node = the_node(tx, question.holder or "")
    above = _above(tx, node)
    if above is None:
        raise Refused("last_to_decide", f"nobody is above {node.id}")
    data = QuestionEscalated(question.id, above, why)
    tx.append(Draft(data, node.tree, question.asker, question.attempt, actor=actor, origin="model"))
    return _question(tx, question.id)


def withdraw_all(tx: Transaction, node_id: str, reason: str) -> None:
    """Nothing of what this node asked is to be decided any more (Q7)."""
    for state in ("open", "answered"):
        for question in tx.find(Question, asker=node_id, state=state):
            node = the_node(tx, node_id)
            tx.append(Draft(QuestionWithdrawn(question.id, reason), node.tree, node_id, question.attempt))


def blocking_below(reading: Reading, node_id: str) -> list[Question]:
    """The undecided blocking questions a node holds: they refuse its submit (Q7)."""
    held = reading.find(Question, holder=node_id, state="open")
    return [question for question in held if question.urgency != "can_continue"]


def standing_of(question: Question) -> str:
    """What the asker is told: with_parent, with_human, no_parent, answered or withdrawn."""
    if question.state == "open":
        return "with_human" if question.holder == "person" else "with_parent"
    if question.state == "withdrawn":
        return "no_parent" if question.holder is None else "withdrawn"
    return "answered"


def _above(tx: Transaction, node: Node) -> str | None:
    """Who decides one level up: the parent, for a root the person, or nobody."""
    if node.parent is not None:
        return node.parent
    return "person" if the_tree(tx, node.tree).person else None


def _held(tx: Transaction, question_id: str, holder: str) -> Question:
    question = tx.get(Question, question_id)
    if question is None:
        raise Refused("unknown_question", f"there is no question {question_id!r}")
    tree = the_tree(tx, question.tree)
    if holder == "person":
        if not tree.person:
            raise Refused("person_unavailable", "this run takes no answers from a person")
        attached_root = tree.mode == "attached" and question.holder == f"{tree.id}/0"
        mine = question.holder == "person" or attached_root
    else:
        mine = question.holder == holder
    if not mine:
        raise Refused("not_your_question", f"{question.id} is held by {question.holder}", holder=question.holder)
    if question.state != "open":
        raise Refused("question_closed", f"{question.id} is {question.state}")
    return question


def _question(tx: Transaction, question_id: str) -> Question:
    question = tx.get(Question, question_id)
    if question is None:
        raise Refused("unknown_question", f"there is no question {question_id!r}")
    return question
