"""What a node may see of its own subtree, and a person of everything: state as it stands, or a page of the journal."""

from typing import Any

from palmette.coordination.codec import dumps, encode, steps_from
from palmette.coordination.commands import messages
from palmette.coordination.commands.standing import open_children, the_node, the_purse
from palmette.coordination.events import Event
from palmette.coordination.records import Delivery, Node, Question
from palmette.coordination.supervisor.supervisor import Supervisor
from palmette.coordination.tables import Reading
from palmette.coordination.values import Blob
from palmette.coordination.verbs import answers

__all__ = ["event_line", "observe", "observe_node"]

PAGE_CHARACTERS = 20_000
"""A journal page ends before this many characters (S7)."""
STEPS_SHOWN = 5


async def observe(house: Supervisor, node_id: str, *, after: int | None = None, limit: int = 50) -> dict[str, Any]:
    """The node as it stands; with `after`, the next page of its subtree's journal, cut to what agents read."""
    if after is not None:
        # Beyond what a store counts to there is nothing, and SQLite has no such number.
        return await _page(house, node_id, min(after, 2**62), min(limit, 500))
    return await observe_node(house, node_id)


async def observe_node(house: Supervisor, node_id: str) -> dict[str, Any]:
    """State, idle time, last steps, unread messages, spend, diffstat, and the children in one line each."""

    def query(reading: Reading) -> dict[str, Any]:
        node = the_node(reading, node_id)
        purse = the_purse(reading, node_id)
        children = sorted(reading.find(Node, parent=node_id), key=lambda child: child.ordinal)
        return {
            "node": node.id,
            "label": node.label,
            "state": node.state,
            "settlement": node.settlement,
            "cause": node.cause,
            "reason": node.reason,
            "valid": node.valid,
            "role": node.role,
            "harness": node.harness,
            "submit": node.submit,
            "budget": {"granted": purse.granted.shown(), "free": purse.free.shown(), "spent": purse.spent.shown()},
            "spent_unknown": purse.unknown,
            "diffstat": node.diffstat,
            "deadline_at": node.deadline_at,
            "unread": [message.id for message in messages.pending(reading, node_id)],
            "queued": len(reading.find(Delivery, node=node_id)),
            "open_questions": [
                {"question": q.id, "urgency": q.urgency, "holder": q.holder}
                for q in reading.find(Question, asker=node_id, state="open")
            ],
            "holds_questions": [q.id for q in reading.find(Question, holder=node_id, state="open")],
            "children": [
                {
                    "node": child.id,
                    "label": child.label,
                    "state": child.settlement or child.state,
                    "cause": child.cause,
                    "live": len(open_children(reading, child.id)),
                }
                for child in children[:100]
            ],
            "more_children": max(len(children) - 100, 0),
        }

    told = await house.store.read(query)
    for row in (told, *told["children"]):
        if row["state"] == "open":
            row["state"], row["idle_s"] = _reading(house, row["node"])
    told["result"] = answers.shorten(
        await house.store.text((await house.store.read(lambda r: the_node(r, node_id))).result), 6_000
    )
    told["steps"] = await _last_steps(house, node_id)
    return told


def _reading(house: Supervisor, node_id: str) -> tuple[str, float | None]:
    """A live node's state, and how long nothing was heard of it: a reading, never a reason to end it (E9)."""
    life = house.lives.get(node_id)
    if life is None:
        return "starting", None
    state = "waiting" if house.waits.waiting(node_id) else "sleeping" if life.idle is not None else "working"
    return state, round(house.clock.monotonic() - life.activity.last, 1)


async def _last_steps(house: Supervisor, node_id: str) -> list[dict[str, Any]]:
    tree = node_id.partition("/")[0]
    events = await house.store.events(tree=tree, node=node_id, kinds=("stepped",), limit=STEPS_SHOWN * 4, newest=True)
    shown: list[dict[str, Any]] = []
    for event in reversed([event for event in events if event.node == node_id]):
        for step in reversed(steps_from(await house.store.text(event.data.steps))):
            message = step.message if isinstance(step.message, str) else ""
            calls = [call.name for call in step.tool_calls]
            shown.append(
                {"seq": event.seq, "source": step.source, "text": answers.shorten(message, 400), "calls": calls}
            )
            if len(shown) == STEPS_SHOWN:
                return list(reversed(shown))
    return list(reversed(shown))


async def _page(house: Supervisor, node_id: str, after: int, limit: int) -> dict[str, Any]:
    """Events in order; the first always comes, cut if need be, so that a cursor always advances."""
    tree = node_id.partition("/")[0]
    events = await house.store.events(after=after, limit=limit, tree=tree, node=node_id)
    told: list[dict[str, Any]] = []
    room = PAGE_CHARACTERS
    for event in events:
        line = await event_line(house, event, text_limit=1_000)
        size = len(dumps(line))
        if told and size > room:
            break
        if size > room:
            line["data"] = {"cut": True}
        room -= size
        told.append(line)
    more = len(told) < len(events) or len(events) == limit
    return {"events": told, "after": told[-1]["seq"] if told else after, "more": more}


async def event_line(house: Supervisor, event: Event, *, text_limit: int | None = None) -> dict[str, Any]:
    """An event as JSON: its envelope and its data, long text fetched and, for agents, cut."""
    data = encode(event.data)
    for name in list(data):
        value = getattr(event.data, name)
        if isinstance(value, Blob):
            data[name] = await house.store.text(value)
        if text_limit is not None and isinstance(data[name], str):
            data[name] = answers.shorten(data[name], text_limit)
    data.pop("token_digest", None)
    return {
        "seq": event.seq,
        "at": event.at,
        "tree": event.tree,
        "node": event.node,
        "attempt": event.attempt,
        "kind": event.kind,
        "version": event.version,
        "actor": event.actor,
        "because": event.because,
        "origin": event.origin,
        "label": sorted(event.label),
        "data": data,
    }
