"""Commands that change something: each is a person's act, and needs a running supervisor."""

from typing import Annotated

import typer

from palmette.servers.cli.connection import ask
from palmette.servers.cli.naming import node_named
from palmette.servers.cli.output import Data, Json, emit, next_command, show
from palmette.servers.client import Client

__all__ = ["add_to"]

NodeName = Annotated[str, typer.Argument(metavar="NODE", help="A node's id, a label, or TREE/LABEL.")]


def add_to(app: typer.Typer) -> None:
    """Give the application these commands."""
    app.command("answer")(answer)
    app.command("steer")(steer)
    app.command("stop")(stop)
    app.command("pause")(pause)
    app.command("resume")(resume)


def answer(
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="The question's id, as the inbox shows it.")],
    text: Annotated[str, typer.Argument(metavar="TEXT")],
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Decide a question that waits for you."""

    async def act(client: Client) -> None:
        told = await client.post(f"questions/{_segment(question)}/answer", {"text": text})
        if as_json:
            emit(told)
        else:
            show([f"{told['question']} is answered", next_command("palmette inbox")])

    ask(data, act)


def steer(
    name: NodeName,
    text: Annotated[str, typer.Argument(metavar="TEXT")],
    interrupt: Annotated[bool, typer.Option("--interrupt", help="Break off what it is doing.")] = False,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Say something to a node."""

    async def act(client: Client) -> None:
        node = await node_named(client, name)
        told = await client.post(f"nodes/{node}/steer", {"text": text, "interrupt": interrupt})
        if as_json:
            emit(told)
        else:
            show([f"message {told['message']} to {node}: {told['outcome']}", next_command(f"palmette node {node}")])

    ask(data, act)


def stop(
    name: NodeName,
    reason: Annotated[str, typer.Option("--reason", help="Why, for the record.")] = "",
    grace: Annotated[float | None, typer.Option("--grace", min=0, max=3600, help="Seconds to end by itself.")] = None,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """End a node and all below it."""

    async def act(client: Client) -> None:
        node = await node_named(client, name)
        told = await client.post(f"nodes/{node}/stop", {"reason": reason, "grace_s": grace})
        if as_json:
            emit(told)
        else:
            what = f"had settled already ({told['already']})" if "already" in told else "is stopped"
            show([f"{node} {what}", next_command(f"palmette tree {node.partition('/')[0]}")])

    ask(data, act)


def pause(name: NodeName, as_json: Json = False, data: Data = None) -> None:
    """Freeze a node and all below it."""
    _freeze(name, "pause", as_json=as_json, data=data)


def resume(name: NodeName, as_json: Json = False, data: Data = None) -> None:
    """Let a paused node and all below it go on."""
    _freeze(name, "resume", as_json=as_json, data=data)


def _freeze(name: str, verb: str, *, as_json: bool, data: Data) -> None:
    async def act(client: Client) -> None:
        node = await node_named(client, name)
        told = await client.post(f"nodes/{node}/{verb}")
        if as_json:
            emit(told)
        else:
            state, after = ("paused", "resume") if told["paused"] else ("going on", "node")
            show([f"{state}: {', '.join(told['nodes']) or node}", next_command(f"palmette {after} {node}")])

    ask(data, act)


def _segment(text: str) -> str:
    """One segment of a path; whatever could be more is no id."""
    return text if text.isascii() and text.isalnum() else "unknown"
