"""The fold: trees and nodes."""

from collections.abc import Mapping
from dataclasses import replace

from palmette.coordination import events as e
from palmette.coordination.fold.shared import Change, enqueue, have
from palmette.coordination.records import Delivery, Handover, Node, Purse, Rest, Tree
from palmette.coordination.tables import Tables
from palmette.coordination.values import Amounts

__all__ = ["CHANGES"]


def _tree_opened(tables: Tables, event: e.Event, data: e.TreeOpened) -> None:
    tables.put(
        Tree(
            id=event.tree or "",
            mode=data.mode,
            root_key=data.root_key,
            repository=data.repository,
            max_depth=data.max_depth,
            person=data.person,
            evaluation=data.evaluation,
            model_source=data.model_source,
            opened_at=event.at,
        )
    )


def _tree_closed(tables: Tables, event: e.Event, _: e.TreeClosed) -> None:
    tables.put(replace(have(tables, Tree, event.tree), state="closed"))


def _node_spawned(tables: Tables, event: e.Event, data: e.NodeSpawned) -> None:
    node_id = event.node or ""
    if data.parent is not None:
        parent = have(tables, Node, data.parent)
        tables.put(replace(parent, children=data.ordinal))
        purse = have(tables, Purse, data.parent)
        tables.put(replace(purse, free=purse.free.minus(data.granted)))
    tables.put(
        Node(
            id=node_id,
            tree=event.tree or "",
            parent=data.parent,
            ordinal=data.ordinal,
            label=data.label,
            task=data.task,
            task_digest=data.task_digest,
            profile_name=data.profile_name,
            profile=data.profile,
            profile_body=data.profile_body,
            role=data.role,
            harness=data.harness,
            model=data.model,
            deadline_at=data.deadline_at,
            key=data.key,
            base=data.base,
            checks=data.checks,
            continuity=data.continuity,
            resumes=data.resumes,
            on_crash=data.on_crash,
            isolation=data.isolation,
            enforcement=data.enforcement,
            access=data.access,
            held=data.held,
            spawned_at=event.at,
            spawned_seq=event.seq,
        )
    )
    tables.put(
        Purse(
            node=node_id,
            parent=data.parent,
            granted=data.granted,
            free=data.granted,
            held=Amounts.zero(),
            spent=Amounts.zero(),
        )
    )


def _node_settled(tables: Tables, event: e.Event, data: e.NodeSettled) -> None:
    node = have(tables, Node, event.node)
    tables.put(
        replace(
            node,
            state="settled",
            settlement=data.settlement,
            cause=data.cause,
            reason=data.reason,
            valid=data.valid,
            result=data.result,
            artifacts=data.artifacts,
            commit=data.commit,
            diffstat=data.diffstat,
            session=data.session,
            settled_at=event.at,
            settled_by=event.actor,
            settled_seq=event.seq,
        )
    )
    purse = have(tables, Purse, node.id)
    tables.put(replace(purse, open=False))
    tables.delete(Rest, node.id)
    for delivery in tables.find(Delivery, node=node.id):
        tables.delete(Delivery, delivery.id)
    for handover in tables.find(Handover, node=node.id):
        tables.delete(Handover, handover.id)
    if node.parent is None:
        return
    above = have(tables, Purse, node.parent)
    # The unspent moves back, and an overdraft is debited (B5): what is free here may be negative.
    tables.put(
        replace(
            above,
            free=above.free.plus(purse.granted).minus(purse.spent),
            spent=above.spent.plus(purse.spent),
            unknown=above.unknown or purse.unknown,
            usd_closed=above.usd_closed or purse.usd_closed,
        )
    )
    enqueue(tables, event, node.parent, "settled", node.id)


def _root_adopted(tables: Tables, event: e.Event, _: e.RootAdopted) -> None:
    tables.put(replace(have(tables, Tree, event.tree), adopted=True, detached=False))


def _detached(tables: Tables, event: e.Event, _: e.Detached) -> None:
    tables.put(replace(have(tables, Tree, event.tree), detached=True))


def _attached(tables: Tables, event: e.Event, _: e.Attached) -> None:
    tables.put(replace(have(tables, Tree, event.tree), detached=False))


def _paused(tables: Tables, event: e.Event, _: e.NodePaused) -> None:
    tables.put(replace(have(tables, Node, event.node), paused=True))


def _unpaused(tables: Tables, event: e.Event, _: e.NodeResumed) -> None:
    tables.put(replace(have(tables, Node, event.node), paused=False))


def _published(tables: Tables, event: e.Event, data: e.ResultPublished) -> None:
    tables.put(replace(have(tables, Tree, event.tree), published=data.ref))


CHANGES: Mapping[str, Change] = {
    "tree_opened": _tree_opened,
    "tree_closed": _tree_closed,
    "node_spawned": _node_spawned,
    "node_settled": _node_settled,
    "root_adopted": _root_adopted,
    "attached": _attached,
    "detached": _detached,
    "node_paused": _paused,
    "node_resumed": _unpaused,
    "result_published": _published,
}
"""Kind of event → what it does."""
