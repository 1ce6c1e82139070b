"""One live attempt of a driven node: it listens to the harness, and minds what an idle node is told (E10)."""

from collections.abc import Sequence
from typing import Protocol

import anyio

from palmette.coordination.causes import ExitFacts, classify
from palmette.coordination.codec import steps_text
from palmette.coordination.commands import messages
from palmette.coordination.commands.queue import waiting
from palmette.coordination.commands.settling import Ending
from palmette.coordination.commands.standing import open_children, the_node
from palmette.coordination.errors import HarnessError
from palmette.coordination.events import Draft, Prompted, SessionStarted, Stepped
from palmette.coordination.ports import (
    Ask,
    Clock,
    Delivered,
    Exit,
    Harness,
    HarnessEvent,
    Idle,
    Started,
    StepTaken,
    Store,
    Transaction,
)
from palmette.coordination.records import Message, Node, Question
from palmette.coordination.supervisor.activity import Activity
from palmette.coordination.supervisor.signals import Signal
from palmette.coordination.supervisor.waits import Waits
from palmette.coordination.supervisor.wakes import Standing, next_act
from palmette.coordination.tables import Reading

__all__ = ["Household", "Life"]


class Household(Protocol):
    """What a life needs of the supervisor around it."""

    store: Store
    clock: Clock
    waits: Waits

    async def finish(self, node_id: str, ending: Ending, grace_s: float | None = None) -> Sequence[int]:
        """End a node and all below it."""
        ...

    def begin_finish(self, node_id: str, ending: Ending) -> None:
        """End it in a task of the supervisor's own, for a caller that will itself be ended by it."""
        ...

    async def opening(self, node_id: str) -> str:
        """What every prompt begins with (P2)."""
        ...


class Life:
    """One attempt, from its process's start to its end."""

    def __init__(self, house: Household, node: Node, attempt: str, harness: Harness, grace_s: float) -> None:
        self.node = node.id
        self.attempt = attempt
        self.harness = harness
        self.activity = Activity(house.clock)
        self.signal = Signal()
        self.idle: Idle | None = Idle()
        self.ending = False
        self.accepted = False
        self.refused_for_budget = False
        self.gone = anyio.Event()
        self._house = house
        self._grace_s = grace_s
        self._session = node.session
        self._told: tuple[int, ...] = ()
        self._ignored = 0
        self._model_failed = False

    async def run(self, why: str, text: str) -> None:
        """Start the harness, give it its first prompt, and see it through to its end."""
        left = Exit(None, "the harness told nothing", "start")
        try:
            await self.harness.start()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._mind, why, text)
                async for event in self.harness.events():
                    if isinstance(event, Exit):
                        left = event
                    else:
                        await self._hear(event)
                tasks.cancel_scope.cancel()
        except HarnessError as error:
            left = Exit(None, error.message, "start")
        finally:
            self.activity.turn(False)
            self.gone.set()
        if not self.ending:
            await self._house.finish(self.node, await self._verdict_on(left))

    async def stop(self, grace_s: float | None = None) -> Sequence[int]:
        """End the process; returns the pids that are left (none: confirmed)."""
        self.ending = True
        held = await self.harness.stop(self._grace_s if grace_s is None else grace_s)
        if held:
            self.ending = False  # it lives on, and is minded again
        else:
            with self._house.clock.limit(self._grace_s):
                await self.gone.wait()
        return held

    async def pause(self, on: bool) -> None:
        """Freeze the process, or let it go on."""
        if on:
            await self.harness.pause()
        else:
            await self.harness.resume()
        self.activity.freeze(on)
        self.signal.set()

    async def _hear(self, event: HarnessEvent) -> None:
        self.activity.touch()
        store = self._house.store
        match event:
            case Started(session, version):
                if session != self._session:
                    self._session = session
                    await store.transact(lambda tx: self._append(tx, SessionStarted(session, version)))
            case StepTaken(steps):
                told = await store.keep(steps_text(steps))
                await store.transact(lambda tx: self._append(tx, Stepped(told, len(steps)), origin="model"))
            case Delivered(message) if message.startswith("m"):
                await store.transact(lambda tx: messages.conclude(tx, message, "delivered"))
            case Ask(request):
                # Permission prompts become questions with the drivers that have them (Q6); denied, never left hanging.
                await self.harness.answer(request, "deny")
            case Idle(stopped_by):
                self.activity.turn(False)
                self.idle = event
                self.refused_for_budget = stopped_by == "budget"
                self._model_failed = stopped_by == "model"
                self.signal.set()
            case _:
                pass

    async def _mind(self, why: str, text: str) -> None:
        """Prompt, then see to it that an idle node is told what E10 says and a busy one what is sent to it."""
        try:
            await self._prompt(why, text)
            self.signal.set()  # something may have been said to it before it lived
            while True:
                await self.signal.wait()
                if self.ending:
                    continue
                if self.idle is None:
                    await self._say_to_busy()
                elif not await self._tend_idle(self.idle):
                    return
        except HarnessError:
            return  # it cannot be spoken to any more; its Exit tells why

    async def _tend_idle(self, idle: Idle) -> bool:
        """Do the next act; False if the node is being settled by it."""
        standing = await self._house.store.read(lambda reading: self._standing(reading, idle))
        act = next_act(standing)
        match act.kind:
            case "sleep":
                pass
            case "message":
                await self._say_to_idle()
            case "settle":
                reason = idle.text if act.cause == "model_failed" else ""
                actor = self.attempt if act.cause == "submitted" else "supervisor"
                self.ending = True
                self._house.begin_finish(self.node, Ending(act.cause, actor, reason))
                return False
            case "wake" | "refund":
                self._ignored += 1
                await self._prompt(act.kind, act.text)
            case "remind":
                await self._prompt("reminder", act.text)
        return True

    def _standing(self, reading: Reading, idle: Idle) -> Standing:
        node = the_node(reading, self.node)
        fresh = [delivery for delivery in waiting(reading, node.id) if not delivery.handed]
        unread = [delivery for delivery in fresh if delivery.type not in ("message", "answer")]
        seqs = tuple(delivery.seq for delivery in unread)
        if seqs != self._told:
            self._told, self._ignored = seqs, 0
        return Standing(
            stopped_by=idle.stopped_by,
            submit=node.submit,
            messages=len(messages.pending(reading, node.id)),
            unread=tuple(f"{delivery.type} {_told_of(reading, delivery.source)}" for delivery in unread),
            ignored=self._ignored,
            children=len(open_children(reading, node.id)),
            questions=len(reading.find(Question, asker=node.id, state="open"))
            + len(reading.find(Question, asker=node.id, state="answered")),
            reminders=node.reminders,
            paused=node.paused,
        )

    async def _prompt(self, why: str, text: str) -> None:
        opening = await self._house.opening(self.node)
        whole = f"{opening}\n\n{text}"
        kept = await self._house.store.keep(whole)
        event = await self._house.store.transact(
            lambda tx: self._append(tx, Prompted(why, kept))  # type: ignore[arg-type]
        )
        await self._begin_turn(f"p{event}", whole)

    async def _begin_turn(self, message: str, text: str) -> None:
        self.idle = None
        self.activity.turn(True)
        await self.harness.prompt(message, text)

    async def _say_to_idle(self) -> None:
        """Begin a turn with the oldest waiting message; the others follow in mid-turn."""
        for message in await self._house.store.read(lambda reading: messages.pending(reading, self.node)):
            sent = await self._house.store.transact(
                lambda tx, m=message: messages.send(tx, m.id, self.attempt, "harness")
            )
            if sent is not None:
                opening = await self._house.opening(self.node)
                await self._begin_turn(sent.id, f"{opening}\n\n{await self._worded(sent)}")
                self.signal.set()
                return

    async def _say_to_busy(self) -> None:
        """Steer with what is waiting, unless an open call of the node will take it."""
        for message in await self._house.store.read(lambda reading: messages.pending(reading, self.node)):
            if self.idle is not None or self._house.waits.takes_messages(self.node, message.question):
                continue
            sent = await self._house.store.transact(
                lambda tx, m=message: messages.send(tx, m.id, self.attempt, "harness")
            )
            if sent is not None:
                if self.idle is not None:  # the turn ended meanwhile, and this begins another
                    self.idle = None
                    self.activity.turn(True)
                await self.harness.steer(sent.id, await self._worded(sent), interrupt=sent.interrupt)

    async def _worded(self, message: Message) -> str:
        text = await self._house.store.text(message.text)
        if message.purpose == "answer":
            return f"Answer to your question {message.question}: {text}"
        if message.purpose == "override":
            return f"Your parent overrides an earlier decision (event {message.supersedes}): {text}"
        return f"Message from {'a person' if message.actor == 'person' else 'your parent'}: {text}"

    async def _verdict_on(self, left: Exit) -> Ending:
        """The cause of an end that nobody ordered (E8)."""
        node = await self._house.store.read(lambda reading: the_node(reading, self.node))
        facts = ExitFacts(
            submit=node.submit,
            refused_for_budget=self.refused_for_budget,
            stage=left.stage,
            exit_code=left.code,
            model_failed=self._model_failed,
            killed=left.stage == "run" and left.code is None,
        )
        return Ending(classify(facts), "supervisor", left.reason, left.code)

    def _append(self, tx: Transaction, data: Prompted | SessionStarted | Stepped, origin: str = "supervisor") -> int:
        node = the_node(tx, self.node)
        actor = "supervisor" if isinstance(data, Prompted) else self.attempt
        return tx.append(Draft(data, node.tree, node.id, self.attempt, actor=actor, origin=origin)).seq


def _told_of(reading: Reading, source: str) -> str:
    """How a source is named in a wake line: a child's label, or a question's id and asker."""
    node = reading.get(Node, source)
    if node is not None:
        return node.label
    question = reading.get(Question, source)
    if question is not None:
        asker = reading.get(Node, question.asker)
        return f"{source} from {question.asker if asker is None else asker.label}"
    return source
