"""`palmette demo`: a whole run on a repository of its own, without a key and without a network (DESIGN §13)."""

import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import anyio

from palmette.coordination.codec import encode
from palmette.coordination.errors import PalmetteError
from palmette.coordination.store import verify
from palmette.coordination.views import TreeView, render_text
from palmette.servers import launch, places
from palmette.servers.cli.output import emit, show, width
from palmette.servers.client import Gone, connect
from palmette.servers.demo.play import books, play
from palmette.servers.demo.stage import build_repository, write_script

__all__ = ["demonstrate"]

_DOWN_S = 60.0

Tell = Callable[[str], None]
Ask = Callable[[str], str]


def demonstrate(data: str | None, *, ask: bool, as_json: bool) -> int:
    """Play the demo and print it; returns the exit status: 0 if the run went as it should and the books add up.

    Args:
        data: the data directory; None makes a fresh one.
        ask: wait for the person's own answer to the question.

    Raises:
        PalmetteError: supervisor_running, no_answer, and whatever ends the run early.
    """
    place = tempfile.mkdtemp(prefix="palmette-demo-") if data is None else places.ensure_data_directory(data)
    if launch.is_running(place):
        raise PalmetteError(
            f"a supervisor runs on {place} already", f"palmette down --data {place}", code="supervisor_running"
        )
    repository, script = Path(place, "demo-repository"), Path(place, "demo-script.yaml")
    build_repository(repository)
    write_script(script)
    with suppress(FileNotFoundError):
        Path(places.down_marker(place)).unlink()
    tell = _quiet if as_json else _tell
    tell(f"data {place}")
    tell("no cage is used here (isolation: unsafe-none): the model is scripted and does only what its script says")
    launch.start(place)
    try:
        view = anyio.run(_play, place, repository, script, tell, _ask if ask else None)
    finally:
        # After the loop, since Ctrl-C cancels whatever runs in it: no supervisor and no process is left behind.
        _end(place)
    report = verify(Path(place))
    if as_json:
        emit({"data": place, "repository": str(repository), "verified": report.ok, "view": encode(view)})
    else:
        show(["", *render_text(view, width()), "", "the books", *books(view), ""])
        show([f"verify: {report.events} events replayed, {'all tables agree' if report.ok else 'DIFFERENCES FOUND'}"])
        show(["", "look around", *_commands(place, repository, view)])
    return 0 if report.ok and view.root.shown == "done" else 1


async def _play(place: str, repository: Path, script: Path, tell: Tell, ask: Ask | None) -> TreeView:
    async with connect(place) as client:
        return await play(client, repository, script, tell, ask)


def _end(place: str) -> None:
    async def shut_down() -> None:
        async with connect(place) as client:
            if client.live:
                await client.post("shutdown", {"stop": True})

    pid = launch.recorded(place).get("pid")
    with suppress(Gone):
        anyio.run(shut_down)
    launch.wait_until_gone(place, _DOWN_S, pid)


def _tell(line: str) -> None:
    show([line])


def _quiet(line: str) -> None:
    del line


def _ask(prompt: str) -> str:
    print(prompt, end="", flush=True)
    line = sys.stdin.readline()
    if not line:
        raise PalmetteError("standard input ended before the question was answered", "palmette demo", code="no_answer")
    return line.strip() or "decide yourself"


def _commands(place: str, repository: Path, view: TreeView) -> list[str]:
    lines = [
        f"  palmette tree {view.id} --data {place}",
        f"  palmette events --tree {view.id} --data {place}",
        f"  palmette verify --data {place}",
    ]
    return lines if view.published is None else [*lines, f"  git -C {repository} show --stat {view.published}"]
