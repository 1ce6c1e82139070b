"""What a person may do with every tree: the service behind the operator API and the command line."""

from collections.abc import Callable, Sequence
from typing import Any

from palmette.coordination.commands import messages, questions
from palmette.coordination.commands.settling import Ending
from palmette.coordination.commands.standing import open_children, the_node, the_tree
from palmette.coordination.errors import Refused
from palmette.coordination.events import Draft, Event, NodePaused, NodeResumed, RootAdopted
from palmette.coordination.ports import Transaction
from palmette.coordination.records import Delivery, Node, Question, Tree
from palmette.coordination.supervisor.supervisor import Supervisor
from palmette.coordination.tables import Reading
from palmette.coordination.values import checked_text
from palmette.coordination.verbs.observing import event_line, observe
from palmette.coordination.verbs.roots import Roots, RunOrder
from palmette.coordination.views import TreeView, tree_view

__all__ = ["Operator"]

UNREAD_SHOWN_AFTER = 60_000_000
"""E10: what an attached root leaves unread for this many microseconds is shown in the inbox."""

Answer = dict[str, Any]


class Operator:
    """A person's acts; each is journaled with actor `person`."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._house = supervisor
        self._store = supervisor.store
        self._roots = Roots(supervisor)

    # ── looking ──────────────────────────────────────────────────────────────────────────────────

    async def status(self) -> Answer:
        """How the supervisor stands."""
        trees = await self._store.read(lambda reading: len(reading.find(Tree, state="open")))
        slots = self._house.slots()
        return {
            "version": self._house.settings.version,
            "trees": trees,
            "live": slots.live,
            "free_slots": slots.free,
            "data": str(self._house.settings.data),
            "stopping": self._house.stopping,
        }

    async def trees(self) -> list[TreeView]:
        """Every tree, the newest first."""
        now = self._house.clock.now()

        def query(reading: Reading) -> list[TreeView]:
            trees = sorted(reading.all(Tree), key=lambda tree: tree.opened_at, reverse=True)
            return [tree_view(reading, tree.id, now) for tree in trees[:200]]

        return await self._store.read(query)

    async def tree(self, tree_id: str) -> TreeView:
        """One tree."""
        now = self._house.clock.now()
        return await self._store.read(lambda reading: tree_view(reading, the_tree(reading, tree_id).id, now))

    async def node(self, node_id: str, after: int | None = None, limit: int = 50) -> Answer:
        """One node, or a page of its journal."""
        await self._store.read(lambda reading: the_node(reading, node_id))
        return await observe(self._house, node_id, after=after, limit=limit)

    async def diff(self, node_id: str) -> Answer:
        """What a node's result changes."""
        node = await self._store.read(lambda reading: the_node(reading, node_id))
        if node.commit is None or node.base is None:
            raise Refused("not_eligible", f"{node.id} has no result commit", "Only a submitted result has a diff.")
        return {"node": node.id, "diff": await self._house.workspaces.diff(node.tree, node.base, node.commit)}

    async def events(
        self,
        after: int = 0,
        limit: int = 500,
        tree: str | None = None,
        node: str | None = None,
        kinds: Sequence[str] = (),
    ) -> list[Answer]:
        """A page of the journal (E11)."""
        found = await self._store.events(after=after, limit=limit, tree=tree, node=node, kinds=kinds)
        return [await event_line(self._house, event) for event in found]

    async def line(self, event: Event) -> Answer:
        """One event as the stream shows it."""
        return await event_line(self._house, event)

    def subscribe(self, receive: Callable[[Sequence[Event]], None]) -> Callable[[], None]:
        """Every committed batch, in order."""
        return self._store.subscribe(receive)

    async def inbox(self) -> list[Answer]:
        """Who needs a person: his questions over all trees, and what attached roots leave unread (Q9)."""
        now = self._house.clock.now()
        found = await self._store.read(lambda reading: _waiting_for_person(reading, now))
        unread = await self._store.read(lambda reading: _left_unread(reading, now))
        return [await self._inbox_line(question, node) for question, node in found] + unread

    async def _inbox_line(self, question: Question, asker: Node) -> Answer:
        return {
            "type": "question",
            "question": question.id,
            "tree": question.tree,
            "node": asker.id,
            "label": asker.label,
            "urgency": question.urgency,
            "kind": question.asked_as,
            "text": await self._store.text(question.question),
            "why": await self._store.text(question.why),
            "options": question.options,
            "asked_at": question.asked_at,
            "holder": question.holder,
        }

    # ── acting ───────────────────────────────────────────────────────────────────────────────────

    async def run(self, order: RunOrder) -> Answer:
        """Begin a tree."""
        return await self._roots.run(order)

    async def answer(self, question: str, text: str) -> Answer:
        """Decide a question that a person holds."""
        kept = await self._store.keep(checked_text(text, "text"))
        await self._store.transact(lambda tx: questions.answer(tx, question, "person", kept, actor="person") and None)
        return {"question": question, "state": "answered"}

    async def steer(self, node: str, text: str, interrupt: bool = False) -> Answer:
        """Say something to any node."""
        kept = await self._store.keep(checked_text(text, "text"))
        message = await self._store.transact(
            lambda tx: messages.intend(tx, node, kept, actor="person", interrupt=interrupt)
        )
        delivered = await self._house.delivered_within(message, 1.0)
        return {"message": message, "outcome": "delivered" if delivered else "queued"}

    async def stop(self, node: str, reason: str = "", grace_s: float | None = None) -> Answer:
        """End a node and all below it."""
        standing = await self._store.read(lambda reading: the_node(reading, node))
        if standing.state == "settled":
            return {"stopped": True, "node": node, "already": standing.settlement}
        ending = Ending("stopped", "person", checked_text(reason, "reason")[:500])
        held = await self._house.finish_for(node, ending, grace_s)
        if held:
            raise Refused("unconfirmed", f"processes are left: {', '.join(map(str, held))}", held=list(held))
        return {"stopped": True, "node": node}

    async def pause(self, node: str) -> Answer:
        """Freeze a node and all below it; its clock of active seconds stands still (B12)."""
        return await self._freeze(node, on=True)

    async def resume(self, node: str) -> Answer:
        """Let a paused node and all below it go on."""
        return await self._freeze(node, on=False)

    async def _freeze(self, node_id: str, *, on: bool) -> Answer:
        def command(tx: Transaction) -> list[str]:
            top = the_node(tx, node_id)
            if top.state == "settled":
                raise Refused("already_settled", f"{top.id} has settled ({top.cause})")
            if not on and not top.paused:
                raise Refused("not_paused", f"{top.id} is not paused")
            changed: list[str] = []
            for node in _open_below(tx, node_id):
                if node.paused != on:
                    data = NodePaused() if on else NodeResumed()
                    tx.append(Draft(data, node.tree, node.id, actor="person", origin="person"))
                    changed.append(node.id)
            return changed

        changed = await self._store.transact(command)
        for name in changed:
            await self._house.pause(name, on)
        return {"node": node_id, "paused": on, "nodes": changed}

    async def adopt(self, tree_id: str) -> Answer:
        """Take over a detached root: its questions and events come to the inbox, and it can be ended."""

        def command(tx: Transaction) -> None:
            tree = the_tree(tx, tree_id)
            if tree.state != "open":
                raise Refused("tree_closed", f"tree {tree.id} has ended")
            if tree.mode != "attached":
                raise Refused("not_eligible", f"tree {tree.id} is no attached root's", "It needs no adopting.")
            if not tree.adopted:
                tx.append(Draft(RootAdopted(), tree.id, f"{tree.id}/0", actor="person", origin="person"))

        await self._store.transact(command)
        return {"tree": tree_id, "adopted": True}

    async def shutdown(self, stop: bool) -> Answer:
        """Prepare the end: with `stop` the trees are stopped first, else they go on after `palmette up`."""
        await self._house.shut_down(stop=stop)
        return {"stopping": True, "trees_stopped": stop}


def _open_below(reading: Reading, node_id: str) -> list[Node]:
    """The node and every open one below it, top first."""
    found = [the_node(reading, node_id)]
    for child in open_children(reading, node_id):
        found += _open_below(reading, child.id)
    return found


def _waiting_for_person(reading: Reading, now: int) -> list[tuple[Question, Node]]:
    found: list[tuple[Question, Node]] = []
    for question in reading.find(Question, state="open"):
        tree = the_tree(reading, question.tree)
        root = f"{tree.id}/0"
        unread = tree.mode == "attached" and question.holder == root
        if question.holder == "person" or (
            unread and (tree.adopted or tree.detached or now - question.asked_at >= UNREAD_SHOWN_AFTER)
        ):
            found.append((question, the_node(reading, question.asker)))
    rank = {"blocks_run": 0, "blocks_step": 1}
    return sorted(found, key=lambda pair: (rank.get(pair[0].urgency, 2), pair[0].asked_at))


def _left_unread(reading: Reading, now: int) -> list[Answer]:
    """E10: what attached roots have not taken for a minute; a question among it is in the list above."""
    return [
        {
            "type": "unread",
            "tree": tree.id,
            "node": delivery.source,
            "event": delivery.seq,
            "kind": delivery.type,
            "at": delivery.at,
        }
        for tree in reading.find(Tree, state="open")
        if tree.mode == "attached"
        for delivery in reading.find(Delivery, node=f"{tree.id}/0")
        if delivery.type != "question" and not delivery.handed and now - delivery.at >= UNREAD_SHOWN_AFTER
    ]
