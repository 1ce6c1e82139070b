"""The supervisor: it owns the lives of all attempts, starts them, ends them, and wakes whoever has to know."""

import logging
import os
import shutil
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import anyio
from anyio.abc import TaskGroup

from palmette.coordination.commands import budget, messages, settling, spawning
from palmette.coordination.commands.settling import Ending
from palmette.coordination.commands.standing import subtree, the_node, the_purse, the_tree
from palmette.coordination.errors import HarnessError, JournalError, PalmetteError
from palmette.coordination.events import (
    ClockMarked,
    Draft,
    Event,
    ResultPublished,
    SupervisorStarted,
    SupervisorStopped,
)
from palmette.coordination.identity import token_digest
from palmette.coordination.ledger import StoreLedger
from palmette.coordination.ports import (
    CheckRunner,
    Clock,
    Harnesses,
    Ids,
    Launch,
    Models,
    Prices,
    Store,
    Transaction,
    Workspaces,
)
from palmette.coordination.prompting import opening
from palmette.coordination.records import Message, Tree
from palmette.coordination.supervisor.deadlines import Deadlines
from palmette.coordination.supervisor.life import Life
from palmette.coordination.supervisor.recovery import Recovery, recover
from palmette.coordination.supervisor.settings import Settings
from palmette.coordination.supervisor.waits import Waits

__all__ = ["Supervisor"]

_log = logging.getLogger("palmette.supervisor")

_WAKING = frozenset(
    {
        "message_intended",
        "message_moved",
        "message_outcome",
        "node_settled",
        "node_resumed",
        "notified",
        "question_asked",
        "question_escalated",
        "question_answered",
        "question_withdrawn",
        "submit_judged",
    }
)
"""Events after which somebody may have something to do."""


class Supervisor:
    """One per data directory. Use `running()` around everything else."""

    def __init__(
        self,
        settings: Settings,
        *,
        store: Store,
        clock: Clock,
        ids: Ids,
        harnesses: Harnesses,
        workspaces: Workspaces,
        checks: CheckRunner,
        prices: Prices,
        models: Models,
    ) -> None:
        self.settings = settings
        self.store = store
        self.clock = clock
        self.ids = ids
        self.harnesses = harnesses
        self.workspaces = workspaces
        self.checks = checks
        self.models = models
        self.ledger = StoreLedger(store, prices)
        self.waits = Waits()
        self.deadlines = Deadlines(clock)
        self.lives: dict[str, Life] = {}
        self.stopping = False
        self._slots: set[str] = set()
        self._admitting = 0
        self._ending: Counter[str] = Counter()
        self._receipts: dict[str, anyio.Event] = {}
        self._launches: dict[str, anyio.CancelScope] = {}
        self._thawed: dict[str, anyio.Event] = {}
        self._tasks: TaskGroup | None = None

    # ── its own life ─────────────────────────────────────────────────────────────────────────────

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Recover what an earlier life left open, then run until the block ends; lives still going are parked."""
        unsubscribe = self.store.subscribe(self._told)
        try:
            async with anyio.create_task_group() as tasks:
                self._tasks = tasks
                started = SupervisorStarted(self.settings.version, os.getpid(), self.settings.started_by)
                await self.store.transact(lambda tx: tx.append(Draft(started)) and None)
                plan = await recover(self.store)
                self._take_up(plan)
                tasks.start_soon(self._keep_time)
                tasks.start_soon(self._keep_deadlines)
                try:
                    yield
                finally:
                    with anyio.CancelScope(shield=True):
                        await self._park_all()
                        tasks.cancel_scope.cancel()
        finally:
            self._tasks = None
            unsubscribe()

    def _take_up(self, plan: Recovery) -> None:
        for node_id, deadline_at, rest in plan.deadlines:
            self.deadlines.set(node_id, deadline_at, rest)
        for node_id, ending in plan.endings:
            self.begin_finish(node_id, ending)
        for node_id, why, text in plan.launches:
            self.launch(node_id, why, text)
        for root_id in plan.unpublished:
            self._start(self._publish, root_id)

    async def shut_down(self, *, stop: bool) -> None:
        """Before the end: with `stop` the trees are stopped, else their attempts will be parked (DESIGN §2)."""
        if stop:
            for tree in await self.store.read(lambda reading: reading.find(Tree, state="open")):
                await self.finish(f"{tree.id}/0", Ending("stopped", "person", "palmette down --stop"))
        self.stopping = True

    async def _park_all(self) -> None:
        self.stopping = True
        for scope in list(self._launches.values()):
            scope.cancel()
        async with anyio.create_task_group() as tasks:
            for life in list(self.lives.values()):
                tasks.start_soon(self._park, life)
        rests = self.deadlines.rests()

        def command(tx: Transaction) -> None:
            _mark_clock(tx, rests)
            tx.append(Draft(SupervisorStopped("down")))

        await self.store.transact(command)

    async def _park(self, life: Life) -> None:
        await self._book_time(life)
        held = await life.stop()
        if not held:
            await self.store.transact(lambda tx: settling.end_attempt(tx, life.node, "parked"))

    # ── slots ────────────────────────────────────────────────────────────────────────────────────

    def slots(self) -> spawning.Slots:
        """How many nodes may be live, and how many are or are about to be."""
        return spawning.Slots(self.settings.max_live, len(self._slots) + self._admitting)

    @asynccontextmanager
    async def admitting(self) -> AsyncGenerator[spawning.Slots]:
        """Reserve a slot while a spawn is decided; it is free again if the block does not claim it."""
        slots = self.slots()
        self._admitting += 1
        try:
            yield slots
        finally:
            self._admitting -= 1

    # ── starting ─────────────────────────────────────────────────────────────────────────────────

    def launch(self, node_id: str, why: str = "first", text: str = "") -> None:
        """Start the node's next attempt in the background; what goes wrong settles it with the right cause."""
        self._slots.add(node_id)
        self._start(self._live, node_id, why, text)

    async def _live(self, node_id: str, why: str, text: str) -> None:
        life: Life | None = None
        with anyio.CancelScope() as scope:
            self._launches[node_id] = scope
            try:
                text = text or await self._first_text(node_id)
                life = await self._prepare(node_id)
                await self._while_paused(node_id)
            except PalmetteError as error:
                cause = "harness_failed" if isinstance(error, HarnessError) else "setup_failed"
                self.begin_finish(node_id, Ending(cause, "supervisor", f"{error.message} {error.hint}".strip()))
            finally:
                self._launches.pop(node_id, None)
        if life is None or self.stopping or self.is_ending(node_id):
            return
        self.lives[node_id] = life
        try:
            await life.run(why, text)
        except JournalError:
            raise  # without its journal the supervisor must not go on; a restart takes everything up again
        except Exception as error:
            _log.exception("the life of %s failed", life.attempt)
            self.begin_finish(
                node_id, Ending("harness_failed", "supervisor", f"internal error: {type(error).__name__}")
            )
        finally:
            if self.lives.get(node_id) is life:
                del self.lives[node_id]

    async def _prepare(self, node_id: str) -> Life:
        node, tree = await self.store.read(lambda r: (the_node(r, node_id), the_tree(r, the_node(r, node_id).tree)))
        workspace: Path | None = None
        if tree.repository is not None and node.base is not None:
            workspace = await self.workspaces.create(tree.id, node.id, tree.repository, node.base)
        url = await self.models.endpoint(tree.model_source)
        session = node.session
        if session is None and node.resumes is not None:
            session = await self._take_session(node.resumes, node.id)
        token = self.ids.token()
        attempt = await self.store.transact(
            lambda tx: spawning.begin_attempt(tx, node.id, token_digest(token), session)
        )
        await self.store.transact(lambda tx: messages.move_along(tx, node.id, attempt))
        directory = self.settings.attempt_directory(attempt)
        token_file = await anyio.to_thread.run_sync(_write_token, directory, token)
        sessions = self.settings.session_directory(node.id)
        await anyio.to_thread.run_sync(lambda: sessions.mkdir(parents=True, exist_ok=True, mode=0o700))
        launch = Launch(
            attempt=attempt,
            directory=directory,
            workspace=workspace,
            session_directory=sessions,
            relay_argv=self.settings.relay_argv,
            token_file=token_file,
            system=await self.store.text(node.profile_body),
            model=node.model,
            model_url=url,
            max_output=int(node.profile.get("max_output") or 8192),
            tools=None if node.profile.get("tools") is None else tuple(node.profile["tools"]),
            session=session,
            grace_s=self.settings.grace_s,
        )
        harness = self.harnesses.create(node.harness, launch, self.ledger)
        return Life(self, replace(node, session=session), attempt, harness, self.settings.grace_s)

    async def _take_session(self, earlier: str, node_id: str) -> str | None:
        """Copy a settled node's session files for the node that resumes it."""
        source, target = self.settings.session_directory(earlier), self.settings.session_directory(node_id)
        prior = await self.store.read(lambda reading: the_node(reading, earlier))
        await anyio.to_thread.run_sync(_copy_tree, source, target)
        return prior.session

    async def _first_text(self, node_id: str) -> str:
        node = await self.store.read(lambda reading: the_node(reading, node_id))
        return f"Your task:\n{await self.store.text(node.task)}"

    async def opening(self, node_id: str) -> str:
        """P2: date and time, deadline, grant, repository and base."""
        node, tree, purse = await self.store.read(
            lambda r: (the_node(r, node_id), the_tree(r, the_node(r, node_id).tree), the_purse(r, node_id))
        )
        return opening(self.clock.now(), node, tree, purse)

    # ── ending ───────────────────────────────────────────────────────────────────────────────────

    def begin_finish(self, node_id: str, ending: Ending) -> None:
        """End a node in a task of its own."""
        self._start(self.finish, node_id, ending)

    def finish_after_grace(self, node_id: str, ending: Ending) -> None:
        """End a node whose submit was accepted when its turn ends, or when the grace is over (C6)."""
        self._start(self._finish_after_grace, node_id, ending)

    async def _finish_after_grace(self, node_id: str, ending: Ending) -> None:
        life = self.lives.get(node_id)
        if life is not None:
            with self.clock.limit(self.settings.grace_s):
                await life.gone.wait()
        await self.finish(node_id, ending)

    async def finish(self, node_id: str, ending: Ending, grace_s: float | None = None) -> Sequence[int]:
        """End a node and all below it, depth first: stop what runs, then settle (B13).

        Returns the pids that the OS still shows; if there are any, nothing was settled and the slots stay charged.
        """
        self._ending[node_id] += 1
        try:
            halted: set[str] = set()
            # A spawn may have been under way: look again until nothing below is new.
            while doomed := [n.id for n in await self.store.read(lambda r: subtree(r, node_id)) if n.id not in halted]:
                held: list[int] = []
                for name in doomed:
                    held += await self._halt(name, grace_s)
                if held:
                    return held
                halted.update(doomed)
            await self._deliver(node_id)
            if ending.cause == "submitted":
                await self._publish(node_id)
            await self.store.transact(lambda tx: settling.settle(tx, node_id, ending))
            for name in [slot for slot in self._slots if slot == node_id or slot.startswith(node_id + ".")]:
                self._slots.discard(name)
                self.deadlines.drop(name)
            self.deadlines.drop(node_id)
        finally:
            self._ending[node_id] -= 1
            self._ending += Counter()  # drop what is no longer being ended
        return []

    async def finish_for(self, node_id: str, ending: Ending, grace_s: float | None = None) -> Sequence[int]:
        """`finish` for a call that may be cut: the end, once begun, goes on without it."""
        held: list[int] = []
        done = anyio.Event()

        async def end() -> None:
            try:
                held.extend(await self.finish(node_id, ending, grace_s))
            finally:
                done.set()

        self._start(end)
        await done.wait()
        return held

    def is_ending(self, node_id: str) -> bool:
        """Whether the node, or one above it, is being ended."""
        return any(node_id == end or node_id.startswith(end + ".") for end in self._ending)

    async def _halt(self, node_id: str, grace_s: float | None) -> Sequence[int]:
        scope = self._launches.get(node_id)
        if scope is not None:
            scope.cancel()
        life = self.lives.get(node_id)
        if life is None:
            return ()
        await self._book_time(life)
        held = await life.stop(grace_s)
        if not held:
            self.ledger.forget(life.attempt)
        return held

    async def _deliver(self, node_id: str) -> None:
        """W8: a settled child's commit lies in its parent's reach before the parent is told."""
        node = await self.store.read(lambda reading: the_node(reading, node_id))
        if node.commit is not None and node.parent is not None and node.state == "open":
            await self.workspaces.deliver(node.tree, node.id, node.commit, node.parent, node.label)

    async def _publish(self, node_id: str) -> None:
        """W8: the root's accepted result becomes a ref in the repository, before the tree is said to have ended."""
        tree, root = await self.store.read(lambda r: (the_tree(r, the_node(r, node_id).tree), the_node(r, node_id)))
        if root.parent is not None or tree.repository is None or root.commit is None or tree.published is not None:
            return
        ref = f"refs/palmette/{tree.id}/{root.label}"
        try:
            await self.workspaces.publish(tree.id, tree.repository, root.commit, ref)
        except PalmetteError as error:
            # The result is safe in the tree's own store; the next start tries again.
            _log.warning("%s is not published: %s", ref, error.message)
            return
        data = ResultPublished(ref, root.commit)

        def command(tx: Transaction) -> None:
            # Two roads may end a root at once: its turn's end and its grace's. The ref is the same, the event one.
            if the_tree(tx, tree.id).published is None:
                tx.append(Draft(data, tree.id, root.id))

        await self.store.transact(command)

    async def _while_paused(self, node_id: str) -> None:
        """A paused node is not prompted, also after a restart: its attempt waits until it goes on."""
        while (await self.store.read(lambda reading: the_node(reading, node_id))).paused:
            await self._thawed.setdefault(node_id, anyio.Event()).wait()

    async def pause(self, node_id: str, on: bool) -> None:
        """Freeze or thaw a node's process, if it has one."""
        if not on and node_id in self._thawed:
            self._thawed.pop(node_id).set()
        life = self.lives.get(node_id)
        if life is not None:
            await life.pause(on)

    # ── telling ──────────────────────────────────────────────────────────────────────────────────

    async def delivered_within(self, message_id: str, seconds: float) -> bool:
        """Whether a message reaches its conversation in that time (E4: its outcome, not a hope)."""
        arrived = self._receipts.setdefault(message_id, anyio.Event())
        try:
            with self.clock.limit(seconds):
                message = await self.store.read(lambda reading: reading.get(Message, message_id))
                if message is not None and message.state in ("intent", "sent"):
                    await arrived.wait()
        finally:
            self._receipts.pop(message_id, None)
        message = await self.store.read(lambda reading: reading.get(Message, message_id))
        return message is not None and message.state == "delivered"

    def nudge(self, node_id: str) -> None:
        """Whoever minds this node looks at it again."""
        self.waits.nudge(node_id)
        life = self.lives.get(node_id)
        if life is not None:
            life.signal.set()

    def _told(self, events: Sequence[Event]) -> None:
        """Committed events arrive here, in order, on the event loop (E1)."""
        for event in events:
            if event.kind == "message_outcome" and event.data.message in self._receipts:
                self._receipts[event.data.message].set()
            if event.kind not in _WAKING or event.node is None:
                continue
            self.nudge(event.node)
            head, dot, _ = event.node.rpartition(".")
            if dot:
                self.nudge(head)
            holder = getattr(event.data, "holder", None)
            if holder:
                self.nudge(holder)

    # ── time ─────────────────────────────────────────────────────────────────────────────────────

    async def _keep_time(self) -> None:
        """Book active seconds; a node whose seconds are spent is ended (B12)."""
        marked = self.clock.monotonic()
        while True:
            await self.clock.sleep(self.settings.book_seconds_every)
            for life in list(self.lives.values()):
                if not await self._book_time(life) and not life.ending:
                    life.ending = True
                    reason = "its seconds are spent"
                    self.begin_finish(life.node, Ending("budget_exhausted", "supervisor", reason))
            rests = self.deadlines.rests()
            if rests and self.clock.monotonic() - marked >= self.settings.mark_clock_every:
                marked = self.clock.monotonic()
                await self.store.transact(lambda tx, r=rests: _mark_clock(tx, r))

    async def _book_time(self, life: Life) -> bool:
        seconds = life.activity.take()
        if seconds == 0:
            return True
        return await self.store.transact(lambda tx: budget.spend_seconds(tx, life.node, seconds))

    async def _keep_deadlines(self) -> None:
        while True:
            rest = self.deadlines.next_in()
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as tasks:
                    if rest is not None:
                        tasks.start_soon(self._sleep_then_cancel, rest, scope)
                    await self.deadlines.changed.wait()
                    tasks.cancel_scope.cancel()
            for node_id in self.deadlines.over():
                self.deadlines.drop(node_id)
                self.begin_finish(node_id, Ending("deadline", "supervisor", "its deadline is over"))

    async def _sleep_then_cancel(self, seconds: float, scope: anyio.CancelScope) -> None:
        await self.clock.sleep(seconds)
        scope.cancel()

    def _start(self, function: object, *arguments: object) -> None:
        if self._tasks is None:
            raise RuntimeError("the supervisor is not running")
        self._tasks.start_soon(function, *arguments)  # type: ignore[arg-type]


def _mark_clock(tx: Transaction, rests: dict[str, int]) -> None:
    """Journal the rests of all deadlines, so many an event that each stays within its size."""
    names = list(rests)
    for start in range(0, len(names), 100):
        tx.append(Draft(ClockMarked({name: rests[name] for name in names[start : start + 100]})))


def _write_token(directory: Path, token: str) -> Path:
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = directory / "token"
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        os.write(handle, token.encode())
    finally:
        os.close(handle)
    return path


def _copy_tree(source: Path, target: Path) -> None:
    if source.is_dir() and not target.exists():
        shutil.copytree(source, target, symlinks=True)
