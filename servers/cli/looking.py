"""Commands that only look: they answer from a running supervisor, else from the journal, and start nothing."""

import sys
from collections.abc import AsyncGenerator
from typing import Annotated, Any

import anyio
import typer

from palmette.coordination.codec import encode
from palmette.coordination.errors import PalmetteError
from palmette.servers.cli import screens
from palmette.servers.cli.connection import ask
from palmette.servers.cli.naming import all_trees, node_named, tree_named, view_of
from palmette.servers.cli.output import Data, Json, data_of, emit, next_command, show, width
from palmette.servers.client import Client, Gone, connect

__all__ = ["add_to"]

_PAGE = 500
_LOOK_EVERY_S = 0.5


def add_to(app: typer.Typer) -> None:
    """Give the application these commands."""
    app.command("tree")(tree)
    app.command("node")(node)
    app.command("diff")(diff)
    app.command("events")(events)
    app.command("inbox")(inbox)


def tree(
    name: Annotated[str | None, typer.Argument(metavar="[ID | adopt]", show_default=False)] = None,
    adopted: Annotated[str | None, typer.Argument(metavar="[ID]", show_default=False)] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Show it again whenever it changes, until it ends.")] = False,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """List the trees, show one, or take over a detached root's: `tree adopt ID`."""
    if name == "adopt":
        if adopted is None:
            raise typer.BadParameter("adopt needs a tree's id")
        _adopt(adopted, as_json=as_json, data=data)
        return
    if adopted is not None:
        raise typer.BadParameter(f"unexpected argument {adopted!r}")

    async def act(client: Client) -> None:
        if name is None:
            views = await all_trees(client)
            if as_json:
                emit([encode(view) for view in views])
            else:
                show(screens.trees_screen(views, width()))
            return
        tree_id = await tree_named(client, name)
        shown: list[str] = []
        while True:
            view = await view_of(client, tree_id)
            # What a clock alone changes is no news.
            now = [str(encode(view) | {"now": 0})] if as_json else screens.tree_screen(view, width())
            if now != shown:
                shown = now
                if as_json:
                    emit(encode(view))
                else:
                    show(now)
            if not watch or view.state != "open" or not client.live:
                return
            await anyio.sleep(_LOOK_EVERY_S)

    ask(data, act)


def _adopt(name: str, *, as_json: bool, data: Data) -> None:
    async def act(client: Client) -> None:
        tree_id = await tree_named(client, name)
        answer = await client.post(f"trees/{tree_id}/adopt")
        if as_json:
            emit(answer)
        else:
            show([f"tree {tree_id} is yours: its questions come to the inbox", next_command("palmette inbox")])

    ask(data, act)


def node(
    name: Annotated[str, typer.Argument(metavar="NODE", help="A node's id, a label, or TREE/LABEL.")],
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Show a node: how it stands, what it spent, its last steps, its children."""

    async def act(client: Client) -> None:
        told = await client.get(f"nodes/{await node_named(client, name)}")
        if as_json:
            emit(told)
        else:
            show(screens.node_screen(told, width()))

    ask(data, act)


def diff(
    name: Annotated[str, typer.Argument(metavar="NODE", help="A node's id, a label, or TREE/LABEL.")],
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Show what a node's result changes."""

    async def act(client: Client) -> None:
        told = await client.get(f"nodes/{await node_named(client, name)}/diff")
        if as_json:
            emit(told)
        else:
            show(screens.diff_screen(told))

    ask(data, act)


def inbox(as_json: Json = False, data: Data = None) -> None:
    """List what waits for you, over all trees; the most urgent first."""

    async def act(client: Client) -> None:
        items = await client.get("inbox")
        if as_json:
            emit(items)
        else:
            show(screens.inbox_screen(items))

    ask(data, act)


def events(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")] = False,
    tree: Annotated[str | None, typer.Option("--tree", metavar="ID", help="Only of this tree.")] = None,
    node: Annotated[str | None, typer.Option("--node", metavar="NODE", help="Only of this node and below.")] = None,
    kinds: Annotated[str | None, typer.Option("--kinds", metavar="K,K", help="Only of these kinds.")] = None,
    after: Annotated[int, typer.Option("--after", min=0, help="Only behind this seq.")] = 0,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="At most so many.")] = None,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Print the journal, one JSON object a line (with or without --json)."""
    place = data_of(data)

    async def stream() -> None:
        seq, left = after, limit
        async with connect(place) as client:
            query: dict[str, str | None] = {
                "tree": None if tree is None else await tree_named(client, tree),
                "node": None if node is None else await node_named(client, node),
                "kinds": kinds,
            }
            async for event in _pages(client, seq, query):
                if left == 0:
                    return
                emit(event)
                seq, left = event["seq"], None if left is None else left - 1
        while follow and left != 0:
            try:
                async with connect(place) as client:
                    if not client.live:
                        raise Gone("no supervisor runs here", "palmette up")
                    async for event in client.follow(seq, **query):
                        emit(event)
                        seq, left = event["seq"], None if left is None else left - 1
                        if left == 0:
                            return
            except Gone as gone:
                print(f"{gone.message}: waiting for one to come ({gone.hint})", file=sys.stderr)
            await _until_one_runs(place)

    anyio.run(stream)


async def _pages(client: Client, after: int, query: dict[str, str | None]) -> AsyncGenerator[dict[str, Any]]:
    while True:
        page: list[dict[str, Any]] = await client.get("events", after=after, limit=_PAGE, **query)
        for event in page:
            yield event
        if len(page) < _PAGE:
            return
        after = page[-1]["seq"]


async def _until_one_runs(place: str) -> None:
    while True:
        await anyio.sleep(_LOOK_EVERY_S)
        try:
            async with connect(place) as client:
                if client.live:
                    return
        except PalmetteError:
            continue
