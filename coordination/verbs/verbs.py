"""The verbs of the tree, as MCP and the operator see them (DESIGN §4): who may, what the command says, how to wait."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal

from palmette.coordination.bounds import NAMES, NODES, OBJECTIVES, OPTIONS, REASON_BYTES, checked_list, clip, fitting
from palmette.coordination.commands import messages, questions, queue
from palmette.coordination.commands.calls import digest_of, once
from palmette.coordination.commands.queue import nothing_to_wait_for
from palmette.coordination.commands.settling import Ending
from palmette.coordination.commands.standing import child_named, node_named, open_children, the_purse
from palmette.coordination.errors import Refused
from palmette.coordination.events import Attached, Detached, Draft, Event, Notified, Selected
from palmette.coordination.identity import CallKey, Visitor
from palmette.coordination.ports import Transaction
from palmette.coordination.records import Delivery, Node, Question
from palmette.coordination.scope import require, verbs
from palmette.coordination.selection import Candidate, choose
from palmette.coordination.supervisor.settings import AWAIT_MAX_S, HEARTBEAT_S
from palmette.coordination.supervisor.supervisor import Supervisor
from palmette.coordination.tables import Reading
from palmette.coordination.values import Text, checked_text, depth_of
from palmette.coordination.verbs import answers
from palmette.coordination.verbs.callers import Caller, find_caller, require_caller
from palmette.coordination.verbs.observing import observe
from palmette.coordination.verbs.roots import Roots
from palmette.coordination.verbs.spawns import Spawns
from palmette.coordination.verbs.submits import Submits

__all__ = ["Verbs"]

Progress = Callable[[str], Awaitable[None]]
Answer = dict[str, Any]

_RANKING_BYTES = 3_000
"""Of a selection's ranking in its answer, as JSON; the winner and the why stand beside it."""
STEER_RECEIPT_S = 1.0
"""How long steer waits for its receipt before it answers `queued`, in seconds."""


class Verbs:
    """One method per verb; each takes who calls, the call's idempotency key, and the verb's arguments.

    Every method raises Refused for a business refusal (S2).
    """

    def __init__(self, supervisor: Supervisor) -> None:
        self._house = supervisor
        self._store = supervisor.store
        self._roots = Roots(supervisor)
        self._spawns = Spawns(supervisor)
        self._submits = Submits(supervisor)

    async def allowed(self, visitor: Visitor) -> frozenset[str]:
        """The verbs this visitor holds (S3); an attached root without a tree holds a driver's."""
        caller = await self._store.read(lambda reading: find_caller(reading, visitor))
        if caller is None:
            return verbs("driver", 0, self._house.settings.max_depth)
        return verbs(caller.node.role, depth_of(caller.node.id), caller.tree.max_depth)

    async def bye(self, visitor: Visitor) -> None:
        """A root's last connection closed: detached, never settled; its tree goes on (R8)."""
        if visitor.token is None:
            await self._mark(visitor, Detached(clip(visitor.connection, REASON_BYTES)))

    async def _mark(self, visitor: Visitor, data: Attached | Detached) -> None:
        def command(tx: Transaction) -> None:
            caller = find_caller(tx, visitor)
            if caller is not None and caller.tree.detached != isinstance(data, Detached):
                tx.append(Draft(data, caller.tree.id, caller.node.id, actor=visitor.harness))

        await self._store.transact(command)

    # ── children ─────────────────────────────────────────────────────────────────────────────────

    async def spawn(
        self,
        visitor: Visitor,
        call: CallKey | None,
        *,
        task: str,
        profile: str | dict[str, Any] | None = None,
        label: str | None = None,
        key: str | None = None,
        decide: Literal["rerun", "skip"] | None = None,
        budget: dict[str, Any] | None = None,
        checks: Sequence[str | dict[str, Any]] | None = None,
        base: str | None = None,
        continuity: Literal["fresh", "resume"] = "fresh",
    ) -> Answer:
        """Admit a child; it is started after the answer."""
        caller = await self._caller(visitor, "spawn", begin=True)
        return await self._spawns.spawn(
            caller,
            call,
            task=task,
            profile=profile,
            label=label,
            key=key,
            decide=decide,
            budget=budget or {},
            checks=list(checks or ()),
            base=base,
            continuity=continuity,
        )

    async def await_event(
        self,
        visitor: Visitor,
        call: CallKey | None,
        *,
        kinds: Sequence[str] = (),
        cursor: str | None = None,
        wait_s: float | None = None,
        nodes: Sequence[str] = (),
        since: float = 0.0,
        progress: Progress | None = None,
    ) -> Answer:
        """Wait for events of the node's queue; presenting a cursor acknowledges its set (S4)."""
        del call  # repeating it is harmless: nothing leaves the queue by being handed over
        caller = await self._caller(visitor, "await_event")
        node_id, attempt = caller.node.id, caller.attempt
        if cursor is not None:
            presented = cursor
            await self._store.transact(lambda tx: queue.acknowledge(tx, attempt, presented))
        wanted = await self._store.read(lambda r: frozenset(child_named(r, node_id, name).id for name in nodes))
        limit = (45.0 if caller.attached else AWAIT_MAX_S) if wait_s is None else min(wait_s, AWAIT_MAX_S)
        end = self._house.clock.monotonic() + max(limit - since, 0.0)
        life = self._house.lives.get(node_id)
        with self._house.waits.awaiting(node_id) as wait:
            if life is not None:
                life.activity.wait_begins()
            try:
                while True:
                    if wait.superseded:
                        return {"ok": True, "superseded": True}
                    taken = await self._store.transact(lambda tx: queue.take(tx, attempt, kinds, wanted))
                    if taken is not None:
                        return await self._handed(node_id, taken)
                    if await self._store.read(lambda reading: nothing_to_wait_for(reading, node_id)):
                        return {"ok": True, "idle": True} | await self._footer(node_id)
                    if not await self._changed(wait.changed.wait, end, node_id, progress):
                        return {"ok": True, "pending": True} | await self._footer(node_id)
            finally:
                if life is not None:
                    life.activity.wait_ends()
                    life.signal.set()

    async def steer(
        self,
        visitor: Visitor,
        call: CallKey | None,
        *,
        node: str,
        message: str,
        interrupt: bool = False,
        supersedes: int | None = None,
    ) -> Answer:
        """Say something to a direct child; an override names what it corrects (Q4)."""
        caller = await self._caller(visitor, "steer")
        text = await self._store.keep(checked_text(message, "message"))
        digest = digest_of("steer", {"node": node, "message": message, "supersedes": supersedes, "now": interrupt})

        def effect(tx: Transaction) -> Answer:
            child = child_named(tx, caller.node.id, node)
            said = messages.intend(tx, child.id, text, actor=caller.attempt, interrupt=interrupt, supersedes=supersedes)
            return {"ok": True, "message": said, "outcome": "queued", "node": child.id}

        try:
            answer = await self._once(caller, call, "steer", digest, effect)
        except Refused as refused:
            if refused.code in ("unknown_node", "not_your_child", "already_settled"):
                refused.details["outcome"] = refused.code
            raise
        delivered = await self._house.delivered_within(answer["message"], STEER_RECEIPT_S)
        return answer | ({"outcome": "delivered"} if delivered else {})

    async def stop(
        self, visitor: Visitor, call: CallKey | None, *, node: str, reason: str, grace_s: float | None = None
    ) -> Answer:
        """End a child and all below it; true only when the operating system shows nothing of it any more."""
        del call  # a second stop of a settled node says so and changes nothing (B4)
        caller = await self._caller(visitor, "stop")
        told = checked_text(reason, "reason")[:500]
        child = await self._store.read(lambda reading: child_named(reading, caller.node.id, node))
        if child.state == "settled":
            return {"ok": True, "stopped": True, "node": child.id, "already": child.settlement}
        held = await self._house.finish_for(child.id, Ending("stopped", caller.attempt, told), grace_s)
        if held:
            hint = "processes are left and the slot stays charged: stop it again"
            return {"ok": False, "error": "unconfirmed", "stopped": False, "held": list(held), "hint": hint}
        return {"ok": True, "stopped": True, "node": child.id} | await self._footer(caller.node.id)

    async def select(
        self,
        visitor: Visitor,
        call: CallKey | None,
        *,
        nodes: Sequence[str],
        objectives: Sequence[str] = (),
        allow_unchecked: bool = False,
    ) -> Answer:
        """Choose among settled children by their verdicts (C7)."""
        caller = await self._caller(visitor, "select")
        if len(nodes) > NODES:
            raise Refused("too_large", f"nodes: {len(nodes)} are named; at most {NODES} are taken")
        checked_list(objectives, "objectives", OBJECTIVES)
        digest = digest_of("select", {"nodes": list(nodes), "objectives": list(objectives), "all": allow_unchecked})

        def effect(tx: Transaction) -> Answer:
            children = [child_named(tx, caller.node.id, name) for name in nodes]
            for child in children:
                if child.state != "settled":
                    raise Refused("not_eligible", f"{child.label} has not settled yet")
            chosen = choose([_candidate(tx, child) for child in children], list(objectives), allow_unchecked)
            why = clip(chosen.why, REASON_BYTES)
            data = Selected([c.id for c in children], list(objectives), chosen.winner, why)
            tx.append(Draft(data, caller.tree.id, caller.node.id, caller.attempt, actor=caller.attempt, origin="model"))
            ranking = [{"node": name, "why": clip(why, 120)} for name, why in chosen.ranking]
            told = fitting(ranking, _RANKING_BYTES)
            answer = {"ok": True, "winner": chosen.winner, "why": why, "ranking": told}
            return answer | ({"more": len(ranking) - len(told)} if len(told) < len(ranking) else {})

        return await self._once(caller, call, "select", digest, effect)

    # ── questions ────────────────────────────────────────────────────────────────────────────────

    async def ask_parent(
        self,
        visitor: Visitor,
        call: CallKey | None,
        *,
        question: str | None = None,
        why: str = "",
        urgency: Literal["blocks_run", "blocks_step", "can_continue"] = "blocks_step",
        options: Sequence[str] | None = None,
        kind: Literal["decision", "permission", "plan"] = "decision",
        wait_s: float | None = None,
        question_id: str | None = None,
        since: float = 0.0,
        progress: Progress | None = None,
    ) -> Answer:
        """Ask the level above and wait for the answer, or wait again for an earlier question's."""
        caller = await self._caller(visitor, "ask_parent", begin=question_id is None)
        if question_id is None:
            seen = checked_list(options or (), "options", OPTIONS)
            asking = questions.Asking(
                await self._store.keep(checked_text(question or "", "question")),
                await self._store.keep(checked_text(why, "why")),
                urgency,
                kind,
                seen or None,
            )
            digest = digest_of(
                "ask_parent",
                {"asked": question, "why": why, "urgency": urgency, "options": asking.options, "kind": kind},
            )

            def effect(tx: Transaction) -> Answer:
                return {"question": questions.ask(tx, caller.attempt, asking).id}

            question_id = (await self._once(caller, call, "ask_parent", digest, effect))["question"]
        asked = await self._question(caller, str(question_id))
        limit = wait_s
        if limit is None:
            limit = 0.0 if asked.urgency == "can_continue" else 45.0 if caller.attached else AWAIT_MAX_S
        end = self._house.clock.monotonic() + max(min(limit, AWAIT_MAX_S) - since, 0.0)
        return await self._await_answer(caller, asked.id, end, progress)

    async def answer(
        self,
        visitor: Visitor,
        call: CallKey | None,
        *,
        question: str,
        text: str | None = None,
        escalate: str | None = None,
    ) -> Answer:
        """Decide a question one holds, or re-raise it one level (Q1)."""
        caller = await self._caller(visitor, "answer")
        kept = await self._store.keep(checked_text(text if text is not None else escalate or "", "text"))
        digest = digest_of("answer", {"question": question, "text": text, "escalate": escalate})

        def effect(tx: Transaction) -> Answer:
            if text is None:
                raised = questions.escalate(tx, question, caller.node.id, kept, actor=caller.attempt)
                return {"ok": True, "question": raised.id, "state": questions.standing_of(raised)}
            questions.answer(tx, question, caller.node.id, kept, actor=caller.attempt)
            return {"ok": True, "question": question, "state": "answered"}

        return await self._once(caller, call, "answer", digest, effect)

    # ── oneself ──────────────────────────────────────────────────────────────────────────────────

    async def submit(
        self,
        visitor: Visitor,
        call: CallKey | None,
        *,
        result: str,
        artifacts: Sequence[str] | None = None,
        incomplete: bool = False,
    ) -> Answer:
        """Hand in the result; accepted only if the deliverable checks pass (C6)."""
        caller = await self._caller(visitor, "submit", begin=True, after_submit="ok")
        return await self._submits.submit(
            caller, call, result=result, artifacts=list(artifacts or ()), incomplete=incomplete
        )

    async def notify(
        self,
        visitor: Visitor,
        call: CallKey | None,
        *,
        summary: str,
        salience: int = 1,
        refs: Sequence[str] | None = None,
    ) -> Answer:
        """Tell the parent something, without waiting."""
        caller = await self._caller(visitor, "notify", begin=True)
        named = checked_list(refs or (), "refs", NAMES)
        data = Notified(await self._store.keep(checked_text(summary, "summary")), salience, named or None)

        def effect(tx: Transaction) -> Answer:
            queue.room_for_notice(tx, caller.node)
            draft = Draft(data, caller.tree.id, caller.node.id, caller.attempt, actor=caller.attempt, origin="model")
            return {"ok": True, "event": tx.append(draft).seq}

        return await self._once(
            caller,
            call,
            "notify",
            digest_of("notify", {"summary": summary, "salience": salience, "refs": list(refs or ())}),
            effect,
        )

    async def observe(
        self, visitor: Visitor, *, node: str | None = None, after: int | None = None, limit: int = 50
    ) -> Answer:
        """A node of one's own subtree as it stands, or a page of its journal."""
        caller = await self._caller(visitor, "observe", after_submit="ok")
        top = await self._store.read(lambda reading: node_named(reading, caller.node.id, node))
        return {"ok": True} | await observe(self._house, top.id, after=after, limit=limit)

    # ── shared ───────────────────────────────────────────────────────────────────────────────────

    async def _caller(
        self, visitor: Visitor, verb: str, *, begin: bool = False, after_submit: Literal["ok", "refused"] = "refused"
    ) -> Caller:
        """The caller, if it holds the verb (S8); an attached root's first write begins its tree."""
        if self._house.stopping:
            raise Refused("supervisor_stopping", "the supervisor is going down")
        caller = await self._store.read(lambda reading: find_caller(reading, visitor))
        if caller is None:
            caller = await self._roots.begin(visitor) if begin else None
        if caller is None:
            caller = await self._store.read(lambda reading: require_caller(reading, visitor))
        if caller.attached and caller.tree.detached:
            await self._mark(visitor, Attached(clip(visitor.connection, REASON_BYTES)))
        require(verb, caller.node.role, depth_of(caller.node.id), caller.tree.max_depth)
        if caller.node.submit == "accepted" and after_submit == "refused":
            raise Refused("already_submitted", "the result was accepted")
        return caller

    async def _once(
        self,
        caller: Caller,
        call: CallKey | None,
        verb: str,
        digest: str,
        effect: Callable[[Transaction], Answer],
    ) -> Answer:
        return await self._store.transact(lambda tx: once(tx, call, verb, digest, caller.attempt, lambda: effect(tx)))

    async def _question(self, caller: Caller, question_id: str) -> Question:
        found = await self._store.read(lambda reading: reading.get(Question, question_id))
        if found is None or found.asker != caller.node.id:
            raise Refused("unknown_question", f"you have asked no question {question_id!r}")
        return found

    async def _await_answer(self, caller: Caller, question_id: str, end: float, progress: Progress | None) -> Answer:
        node_id = caller.node.id
        life = self._house.lives.get(node_id)
        with self._house.waits.asking(node_id, question_id) as wait:
            if life is not None:
                life.activity.wait_begins()
            try:
                while True:
                    asked = await self._question(caller, question_id)
                    if asked.state != "open":
                        return await self._decided(caller, asked)
                    if not await self._changed(wait.changed.wait, end, node_id, progress):
                        standing = questions.standing_of(asked)
                        hint = "the answer comes as a message; ask_parent(question_id=…) waits again"
                        return {"ok": True, "question": asked.id, "state": standing, "hint": hint}
            finally:
                if life is not None:
                    life.activity.wait_ends()
                    life.signal.set()

    async def _decided(self, caller: Caller, asked: Question) -> Answer:
        """The answer, handed over by this call unless another road took it first (Q2)."""
        if asked.state == "withdrawn":
            reason = "nobody is above you: you are the last to decide" if asked.holder is None else "withdrawn"
            return {"ok": True, "question": asked.id, "state": questions.standing_of(asked), "reason": reason}

        def command(tx: Transaction) -> None:
            if asked.message is not None and messages.send(tx, asked.message, caller.attempt, "call") is not None:
                messages.conclude(tx, asked.message, "delivered")

        await self._store.transact(command)
        text = "" if asked.answer is None else await self._store.text(asked.answer)
        by = "person" if asked.answered_by == "person" else "parent"
        return {"ok": True, "answer": text, "by": by, "question": asked.id, "state": "answered"}

    async def _handed(self, node_id: str, taken: queue.Taken) -> Answer:
        seqs = [delivery.seq for delivery in taken.deliveries if delivery.type in ("notify", "finding", "check")]
        found: dict[int, Event] = {}
        for seq in seqs:
            found |= {event.seq: event for event in await self._store.events(after=seq - 1, limit=1)}
        wanted = await self._store.read(lambda reading: answers.texts_of(reading, taken, found))
        texts: dict[Text, str] = {value: await self._store.text(value) for value in set(wanted)}
        told = await self._store.read(lambda reading: answers.event_answers(reading, taken, found, texts))
        return {"ok": True, "events": told, "cursor": taken.cursor} | await self._footer(node_id)

    async def _footer(self, node_id: str) -> Answer:
        """What every answer of a waiting driver ends with."""

        def query(reading: Reading) -> Answer:
            live = open_children(reading, node_id)
            return {
                "live": [{"node": child.id, "label": child.label} for child in live[:50]],
                "budget": answers.balance(the_purse(reading, node_id)),
                "queued": len(reading.find(Delivery, node=node_id)),
            }

        footer = await self._store.read(query)
        for child in footer["live"]:
            life = self._house.lives.get(child["node"])
            child["state"] = "starting" if life is None else "idle" if life.idle is not None else "working"
        return {"free_slots": self._house.slots().free, **footer}

    async def _changed(
        self, changed: Callable[[], Awaitable[None]], end: float, node_id: str, progress: Progress | None
    ) -> bool:
        """Wait for a nudge, with a heartbeat for the client; False when the time is up."""
        while True:
            rest = end - self._house.clock.monotonic()
            if rest <= 0:
                return False
            with self._house.clock.limit(min(rest, HEARTBEAT_S)):
                await changed()
                return True
            if progress is not None and end > self._house.clock.monotonic():
                await progress(await self._store.read(lambda reading: answers.heartbeat(reading, node_id)))


def _candidate(tx: Transaction, node: Node) -> Candidate:
    purse = the_purse(tx, node.id)
    return Candidate(node.id, node.settled_seq or 0, node.settlement or "", node.valid, node.verdicts, purse.spent)
