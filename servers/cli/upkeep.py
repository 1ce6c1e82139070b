"""Commands about the installation: its journal, its configuration, its surroundings, and the scripted model."""

from pathlib import Path
from typing import Annotated

import typer

from palmette.servers import config
from palmette.servers.cli import screens
from palmette.servers.cli.output import Data, Json, data_of, emit, next_command, show

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Give the application these commands."""
    app.command("verify")(verify)
    app.command("doctor")(doctor)
    app.command("config")(show_config)
    app.command("model")(model)
    app.command("demo")(demo)


def verify(as_json: Json = False, data: Data = None) -> None:
    """Replay the journal and compare it with every projection; works beside a running supervisor."""
    from dataclasses import asdict

    from palmette.coordination.store import verify as check

    place = data_of(data)
    report = check(Path(place))
    told = {**asdict(report), "ok": report.ok}
    if as_json:
        emit(told)
    else:
        show(screens.verify_screen(told, place))
    raise typer.Exit(0 if report.ok else 1)


def doctor(as_json: Json = False, data: Data = None) -> None:
    """Look at what palmette needs here, and name one remedy for each thing that is missing."""
    from palmette.servers.cli.examination import examine

    findings = examine(data_of(data))
    blocked = any(finding.state == "blocking" for finding in findings)
    if as_json:
        emit({"ok": not blocked, "findings": [finding.as_dict() for finding in findings]})
    else:
        signs = {"ok": "✓", "warning": "!", "blocking": "✗"}
        lines: list[str] = []
        for finding in findings:
            lines.append(f"{signs[finding.state]} {finding.what:<18} {finding.found}")
            if finding.remedy:
                lines.append(f"    {finding.remedy}")
        show([*lines, next_command("mend what is marked ✗" if blocked else "palmette demo")])
    raise typer.Exit(1 if blocked else 0)


def show_config(
    repo: Annotated[Path, typer.Option("--repo", metavar="PATH", help="Whose config to combine.")] = Path("."),
    as_json: Json = False,
) -> None:
    """Print each setting and where it is from."""
    shown = config.load(repository=str(repo.resolve())).as_dict()
    if as_json:
        emit(shown)
    else:
        show(screens.config_screen(shown))


def model(
    script: Annotated[Path, typer.Option("--script", metavar="FILE", help="The scenarios, as YAML.")],
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="TCP port on loopback; 0 is any.")] = 0,
    as_json: Json = False,
) -> None:
    """Serve a scripted model, which speaks three model APIs, until Ctrl-C."""
    from palmette.sandbox.model import main

    main(script, port=port, as_json=as_json)


def demo(
    ask: Annotated[bool, typer.Option("--ask", help="Wait for your own answer to the question.")] = False,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Play a real run on a small repository, with a scripted model: no key and no network."""
    from palmette.servers.demo.command import demonstrate

    raise typer.Exit(demonstrate(None if data is None else data_of(data), ask=ask, as_json=as_json))
