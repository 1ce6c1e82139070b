"""Commands that begin and end: the supervisor (`up`, `down`) and a tree (`run`)."""

import logging
import os
import sys
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Annotated, Any

import anyio
import typer

from palmette import __version__
from palmette.coordination.codec import encode
from palmette.coordination.errors import PalmetteError
from palmette.coordination.values import checked_text, micro_dollars
from palmette.servers import config, launch, places
from palmette.servers.cli import screens
from palmette.servers.cli.naming import view_of
from palmette.servers.cli.output import Data, Json, data_of, emit, next_command, show, width
from palmette.servers.client import Client, Gone, connect

__all__ = ["add_to"]

_DOWN_S = 60.0
"""Seconds that `down` waits for the supervisor to go: it parks what is live, with its graces."""


def add_to(app: typer.Typer) -> None:
    """Give the application these commands."""
    app.command("up")(up)
    app.command("down")(down)
    app.command("run")(run)


# ── the supervisor ───────────────────────────────────────────────────────────────────────────────


def up(
    port: Annotated[int | None, typer.Option("--port", min=0, max=65535, help="TCP port; 0 is any, then kept.")] = None,
    foreground: Annotated[bool, typer.Option("--foreground", help="Stay here until Ctrl-C.")] = False,
    status: Annotated[bool, typer.Option("--status", help="Only say whether one runs.")] = False,
    by_relay: Annotated[bool, typer.Option("--started-by-relay", hidden=True)] = False,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Start the supervisor; trees that were live go on."""
    place = data_of(data)
    if status:
        _status(place, as_json=as_json)
        return
    if foreground:
        if not by_relay:
            _clear_marker(place)
        _foreground(place, port, by_relay=by_relay, as_json=as_json)
        return
    if launch.is_running(place):
        pid = launch.recorded(place).get("pid")
        raise PalmetteError(
            f"a supervisor runs here already{f' (pid {pid})' if pid else ''}",
            f"palmette up --status --data {place}",
            code="supervisor_running",
        )
    record = launch.start(place, [] if port is None else ["--port", str(port)])
    if as_json:
        emit({"running": True, **record})
    else:
        show([*_described(record), next_command("palmette tree")])


def _status(place: str, *, as_json: bool) -> None:
    running = launch.is_running(place)
    record = launch.recorded(place) if running else {}
    if as_json:
        nothing: dict[str, Any] = {"pid": None, "version": None, "addresses": None, "data": place}
        emit({"running": running, **nothing, **record})
    elif running:
        show([*_described(record), next_command("palmette tree")])
    else:
        by_person = " (palmette down)" if os.path.exists(places.down_marker(place)) else ""
        show([f"no supervisor runs on {place}{by_person}", next_command("palmette up")])


def _described(record: dict[str, Any]) -> list[str]:
    if not record:
        return ["the supervisor is starting"]
    lines = [f"palmette {record['version']} runs, pid {record['pid']}, data {record['data']}"]
    return lines + [f"  {name:<5} {address}" for name, address in record["addresses"].items()]


def _foreground(place: str, port: int | None, *, by_relay: bool, as_json: bool) -> None:
    from palmette.coordination.supervisor.settings import Settings
    from palmette.servers.composition import IDLE_EXIT_S, Running, supervise
    from palmette.servers.hooks import with_hooks
    from palmette.servers.operator import operator_routes
    from palmette.servers.outside import open_outside

    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    given = config.load({"port": port})
    settings = Settings(
        data=Path(place),
        version=__version__,
        relay_argv=(),
        started_by="relay" if by_relay else "person",
        pool=given.pool(),
        max_depth=given.of("max_depth"),
        max_live=given.of("max_live"),
        grace_s=given.of("grace_s"),
        harness=given.of("harness"),
        model=given.of("model"),
        model_source=given.of("model_source"),
    )

    def ready(running: Running) -> None:
        if as_json:
            emit({"running": True, **running.as_dict()})
        else:
            show([*_described(running.as_dict()), next_command("palmette tree, in another terminal; Ctrl-C parks")])

    async def serve() -> None:
        await supervise(
            settings,
            port=given.of("port"),
            idle_exit_s=IDLE_EXIT_S,
            open_outside=with_hooks(open_outside, given.hooks, given.notify),
            operator_routes=operator_routes,
            on_ready=ready,
        )

    anyio.run(serve)


def down(
    stop: Annotated[bool, typer.Option("--stop", help="Stop every tree first, instead of parking it.")] = False,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """End the supervisor: live nodes are parked, and go on after `palmette up`."""
    place = places.ensure_data_directory(data_of(data))
    # Before anything else, so that no relay that sees it go starts another (R3).
    with open(os.open(places.down_marker(place), os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600), "w"):
        pass
    if not launch.is_running(place):
        if as_json:
            emit({"running": False, "was_running": False, "trees_stopped": False})
        else:
            show([f"no supervisor ran on {place}; none starts by itself now", next_command("palmette up")])
        return

    pid = launch.recorded(place).get("pid")

    async def act() -> None:
        async with connect(place) as client:
            with suppress(Gone):  # it may go before its answer is out
                await client.post("shutdown", {"stop": stop})

    anyio.run(act)
    if not launch.wait_until_gone(place, _DOWN_S, pid):
        raise PalmetteError(f"the supervisor (pid {pid}) is still there", f"kill {pid}", code="still_running")
    if as_json:
        emit({"running": False, "was_running": True, "trees_stopped": stop})
    else:
        what = "its trees are stopped" if stop else "its live nodes are parked"
        show([f"the supervisor is down; {what}", next_command("palmette up")])


def _clear_marker(place: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(places.down_marker(place))


# ── a tree ───────────────────────────────────────────────────────────────────────────────────────


def run(
    task: Annotated[str, typer.Argument(metavar="TASK", help="What is to be done; - reads it from standard input.")],
    repo: Annotated[Path | None, typer.Option("--repo", metavar="PATH", help="The git work tree to work on.")] = None,
    base: Annotated[str | None, typer.Option("--base", metavar="REF", help="Where to start from.")] = None,
    harness: Annotated[str | None, typer.Option("--harness", help="builtin, …")] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="URL|scripted:FILE", help="Where model calls go.")
    ] = None,
    model_name: Annotated[str | None, typer.Option("--model-name", metavar="NAME", help="Which model.")] = None,
    profile: Annotated[str | None, typer.Option("--profile", metavar="NAME", help="Who the root is.")] = None,
    label: Annotated[str, typer.Option("--label", help="What the root is called.")] = "root",
    usd: Annotated[str | None, typer.Option("--budget-usd", metavar="DOLLARS")] = None,
    tokens: Annotated[int | None, typer.Option("--budget-tokens", min=0)] = None,
    turns: Annotated[int | None, typer.Option("--budget-turns", min=0)] = None,
    seconds: Annotated[int | None, typer.Option("--budget-seconds", min=0)] = None,
    deadline: Annotated[int | None, typer.Option("--deadline", min=1, metavar="SECONDS")] = None,
    max_depth: Annotated[int | None, typer.Option("--max-depth", min=0)] = None,
    evaluation: Annotated[bool, typer.Option("--evaluation", help="No person can be asked.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait for the end.")] = False,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Run a task as a tree of its own, and show how it goes; Ctrl-C stops it."""
    place = data_of(data)
    repository = None if repo is None else os.path.realpath(repo)
    text = checked_text(sys.stdin.read() if task == "-" else task, "task")
    flags = {
        "usd": None if usd is None else micro_dollars(usd) / 1_000_000,
        "tokens": tokens,
        "turns": turns,
        "seconds": seconds,
        "deadline_s": deadline,
        "max_depth": max_depth,
        "harness": harness,
        "model": model_name,
        "model_source": model,
        "profile": profile,
    }
    given = config.load(flags, repository=repository)
    body: dict[str, Any] = {
        "task": text,
        "repository": repository,
        "base": base,
        "profile": given.of("profile"),
        "harness": given.of("harness"),
        "model": given.of("model"),
        "model_source": _absolute(given.of("model_source")),
        "label": label,
        "pool": {
            channel: amount
            for channel in ("usd", "tokens", "turns", "seconds")
            if (amount := given.pool().get(channel)) is not None
        },
        "deadline_s": given.of("deadline_s"),
        "max_depth": given.of("max_depth"),
        "evaluation": evaluation,
        "checks": list(given.checks),
    }
    started_here = not launch.is_running(place)
    if started_here:
        _clear_marker(places.ensure_data_directory(place))
        launch.start(place)
    status = anyio.run(_run, place, body, detach, as_json, started_here)
    raise typer.Exit(status)


def _absolute(source: str) -> str:
    """A script's path as the supervisor, which lives in another directory, can find it."""
    prefix = "scripted:"
    return prefix + os.path.realpath(source.removeprefix(prefix)) if source.startswith(prefix) else source


async def _run(place: str, body: dict[str, Any], detach: bool, as_json: bool, started_here: bool) -> int:
    async with connect(place) as client:
        begun = await client.post("runs", body)
        tree: str = begun["tree"]
        if detach:
            if as_json:
                emit(begun)
            else:
                show([f"tree {tree} has begun", *_uncommitted(begun), next_command(f"palmette tree {tree} --watch")])
            return 0
        if not as_json:
            show([f"tree {tree} has begun; Ctrl-C stops it", *_uncommitted(begun)])
        try:
            await _watch(client, tree, quiet=as_json)
        except BaseException as error:
            if isinstance(error, PalmetteError):
                raise
            with anyio.CancelScope(shield=True):
                await _interrupted(client, begun["node"], started_here)
            raise
        view = await view_of(client, tree)
        if as_json:
            emit({**begun, "view": encode(view)})
        else:
            show(screens.tree_screen(view, width()))
        return 0 if view.root.shown in ("done", "unchecked") else 1


def _uncommitted(begun: dict[str, Any]) -> list[str]:
    """W3: what the root does not see."""
    files: list[str] = begun.get("uncommitted", [])
    return [f"  not committed, so not seen: {', '.join(screens.short(name) for name in files)}"] if files else []


async def _watch(client: Client, tree: str, *, quiet: bool) -> None:
    async with aclosing(client.follow(0, tree=tree)) as events:
        async for event in events:
            line = screens.event_line(event)
            if line is not None and not quiet:
                show([line])
            if event["kind"] == "tree_closed":
                return
    raise Gone("the supervisor went away", f"palmette up, then palmette tree {tree}")


async def _interrupted(client: Client, node: str, started_here: bool) -> None:
    """Ctrl-C leaves nothing behind: the tree is stopped, and a supervisor that was started for it alone ends."""
    print("stopping the tree", file=sys.stderr)
    await client.post(f"nodes/{node}/stop", {"reason": "Ctrl-C"})
    if started_here and (await client.get("status"))["trees"] == 0:
        await client.post("shutdown", {"stop": True})
