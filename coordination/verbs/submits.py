"""The submit verb: collect, check, and only then settle (C6, Q7)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from palmette.coordination.bounds import NAMES, checked_list, clip, json_size
from palmette.coordination.commands import messages, questions
from palmette.coordination.commands.calls import digest_of, once, recorded
from palmette.coordination.commands.settling import Ending
from palmette.coordination.commands.standing import live_attempt, the_node
from palmette.coordination.errors import PalmetteError, Refused
from palmette.coordination.events import Draft, SubmitJudged, Submitted
from palmette.coordination.identity import CallKey
from palmette.coordination.ports import Collected, Transaction
from palmette.coordination.supervisor.supervisor import Supervisor
from palmette.coordination.values import Text, Verdict, checked_text
from palmette.coordination.verbs import answers
from palmette.coordination.verbs.callers import Caller

__all__ = ["Submits"]

Answer = dict[str, Any]
Outcome = Literal["accepted", "check_failed", "check_unavailable"]

_EVIDENCE_BYTES = 200
"""Evidence up to this size stands in the event: eight verdicts share one."""
_ANSWER_EVIDENCE = 2_000
"""Bytes of JSON for the evidence of all verdicts in an answer, which is journaled with its call."""


class Submits:
    """Takes results in."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._house = supervisor
        self._store = supervisor.store
        self._judging: set[str] = set()

    async def submit(
        self, caller: Caller, call: CallKey | None, *, result: str, artifacts: list[str], incomplete: bool
    ) -> Answer:
        """Accepted with verdicts, or the reason why not; the node stays open in the second case.

        Raises:
            Refused: open_questions, unread_messages (Q7), already_submitted, result_refused, too_large.
        """
        named = checked_list(artifacts, "artifacts", NAMES)
        kept = await self._store.keep(checked_text(result, "result"))
        digest = digest_of("submit", {"result": result, "artifacts": artifacts, "incomplete": incomplete})
        known = await self._store.transact(lambda tx: _may_submit(tx, caller, call, digest))
        if known is not None:
            return known
        if caller.node.id in self._judging:
            # One at a time: a verdict must never settle what another submit collected (C6).
            raise Refused("already_submitted", "an earlier submit is being judged", "Wait for its answer.")
        self._judging.add(caller.node.id)
        try:
            return await self._judged(caller, call, digest, kept, named or None, incomplete)
        finally:
            self._judging.discard(caller.node.id)

    async def _judged(
        self,
        caller: Caller,
        call: CallKey | None,
        digest: str,
        result: Text,
        artifacts: list[str] | None,
        incomplete: bool,
    ) -> Answer:
        """Collect, check, and record the judgement of what was collected, if the attempt still lives."""
        collected = await self._collect(caller)
        data = Submitted(result, artifacts, incomplete, *_what_changed(collected))
        await self._store.transact(lambda tx: _append(tx, caller, data))
        verdicts = await self._judge(caller, collected)
        outcome = _outcome(verdicts, incomplete)
        texts: dict[Text, str] = {verdict.evidence: await self._store.text(verdict.evidence) for verdict in verdicts}

        def effect(tx: Transaction) -> Answer:
            judged = _append(tx, caller, SubmitJudged(outcome, tuple(verdicts)))
            if outcome == "accepted":
                questions.withdraw_all(tx, caller.node.id, "its asker submitted")
            return _answer(outcome, incomplete, verdicts, texts) | {"event": judged}

        answer = await self._store.transact(
            lambda tx: once(tx, call, "submit", digest, caller.attempt, lambda: effect(tx))
        )
        if outcome == "accepted":
            self._end_soon(caller)
        return answer

    def _end_soon(self, caller: Caller) -> None:
        """The node settles when its turn ends or the grace is over; an attached root at once (C6)."""
        ending = Ending("submitted", caller.attempt)
        if caller.attached:
            self._house.begin_finish(caller.node.id, ending)
        else:
            self._house.finish_after_grace(caller.node.id, ending)

    async def _collect(self, caller: Caller) -> Collected | None:
        if caller.attached or caller.tree.repository is None or caller.node.base is None:
            return None
        try:
            return await self._house.workspaces.collect(caller.tree.id, caller.node.id)
        except Refused:
            raise
        except PalmetteError as error:
            raise Refused("result_refused", f"{error.message} [{error.code}]", error.hint or None) from error

    async def _judge(self, caller: Caller, collected: Collected | None) -> list[Verdict]:
        verdicts: list[Verdict] = []
        for check in caller.node.checks or ():
            verdict = await self._verdict(caller, check, collected)
            evidence = await self._store.keep(_plain(verdict.evidence), inline=_EVIDENCE_BYTES)
            verdicts.append(replace(_bounded(verdict), evidence=evidence))
        return verdicts

    async def _verdict(self, caller: Caller, check: Mapping[str, Any], collected: Collected | None) -> Verdict:
        if collected is None or caller.tree.repository is None:
            name = str(check.get("objective") or check.get("id") or "check")
            return Verdict(name, "unavailable", evidence="there is no work tree to check")
        return await self._house.checks.run(
            check,
            tree=caller.tree.id,
            repository=caller.tree.repository,
            commit=collected.commit,
            base=collected.base,
        )


def _what_changed(collected: Collected | None) -> tuple[str | None, dict[str, int] | None]:
    if collected is None:
        return None, None
    stat = {"files": collected.files, "insertions": collected.insertions, "deletions": collected.deletions}
    return collected.commit, stat


def _bounded(verdict: Verdict) -> Verdict:
    """A verdict of which eight fit into an event, whatever the check says of itself."""
    return replace(
        verdict,
        objective=clip(verdict.objective, 42),
        check=clip(verdict.check, 42),
        unit=clip(verdict.unit, 24),
        check_digest=clip(verdict.check_digest, 66),
        target_digest=clip(verdict.target_digest, 66),
        does_not_prove=clip(verdict.does_not_prove, 240),
        extra=verdict.extra if json_size(dict(verdict.extra)) <= 120 else {},
    )


def _plain(evidence: Text) -> str:
    return evidence if isinstance(evidence, str) else f"[{evidence.size} bytes]"


def _may_submit(tx: Transaction, caller: Caller, call: CallKey | None, digest: str) -> Answer | None:
    """None if the submit may go on, or the answer that this very request got before."""
    known = recorded(tx, call, digest)
    if known is not None:
        return known
    node = the_node(tx, caller.node.id)
    if node.submit == "accepted":
        raise Refused("already_submitted", "the result was accepted")
    blocking = questions.blocking_below(tx, node.id)
    if blocking:
        ids = [question.id for question in blocking]
        raise Refused("open_questions", f"blocking questions wait for you: {', '.join(ids)}", questions=ids)
    unread = messages.unread(tx, node.id)
    if unread:
        raise Refused("unread_messages", f"{len(unread)} messages to you are unread", messages=[m.id for m in unread])
    return None


def _append(tx: Transaction, caller: Caller, data: Submitted | SubmitJudged) -> int:
    live_attempt(tx, caller.attempt)  # a stop or a deadline may have come while the checks ran
    actor, origin = (caller.attempt, "model") if isinstance(data, Submitted) else ("supervisor", "check")
    return tx.append(Draft(data, caller.tree.id, caller.node.id, caller.attempt, actor=actor, origin=origin)).seq


def _outcome(verdicts: Sequence[Verdict], incomplete: bool) -> Outcome:
    """`incomplete` settles done whatever the checks say, and is never valid (DESIGN §4)."""
    deliverable = [verdict for verdict in verdicts if verdict.deliverable]
    if incomplete:
        return "accepted"
    if any(verdict.status == "fail" for verdict in deliverable):
        return "check_failed"
    if any(verdict.status == "unavailable" for verdict in deliverable):
        return "check_unavailable"
    return "accepted"


def _answer(outcome: Outcome, incomplete: bool, verdicts: Sequence[Verdict], texts: Mapping[Text, str]) -> Answer:
    room = _ANSWER_EVIDENCE // max(len(verdicts), 1)
    told = [answers.verdict_answer(verdict, texts, room) for verdict in verdicts]
    if outcome == "accepted":
        valid = False if incomplete else True if verdicts else None
        return {"ok": True, "accepted": True, "valid": valid, "verdicts": told, "next": "end your turn"}
    refused = Refused(
        outcome, "a deliverable check failed" if outcome == "check_failed" else "a check could not be run"
    )
    return refused.as_result() | {"accepted": False, "verdicts": told}
