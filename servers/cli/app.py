"""The application: every command, and what becomes of an error."""

from collections.abc import Sequence
from typing import Any, cast

import typer

from palmette import __version__
from palmette.coordination.errors import PalmetteError
from palmette.servers import places
from palmette.servers.cli import acting, looking, running, upkeep
from palmette.servers.cli.output import fail

__all__ = ["app", "run"]

app = typer.Typer(
    name="palmette",
    help="Run coding agents as one tree with one budget.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"palmette {__version__}")
        raise typer.Exit


@app.callback()
def _palmette(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    pass


@app.command("mcp", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def _mcp() -> None:
    """Serve MCP on standard input and output: what a harness starts."""
    raise AssertionError("`palmette mcp` is told apart before the application is built")


running.add_to(app)
looking.add_to(app)
acting.add_to(app)
upkeep.add_to(app)


def run(argv: Sequence[str]) -> int:
    """Run one command line. Returns the exit status: 0, 1 for an error, 2 for wrong usage, 130 for Ctrl-C."""
    words = list(argv)
    as_json = "--json" in (words[: words.index("--")] if "--" in words else words)
    try:
        status: Any = cast(Any, typer.main.get_command(app)).main(
            args=words, prog_name="palmette", standalone_mode=False
        )
    except (PalmetteError, places.PlaceError) as error:
        fail(error, as_json=as_json)
        return 1
    except typer.Abort:
        return 130
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 1
    except Exception as error:
        # The parser's own errors have no public base class; this method is how they are told apart.
        if not hasattr(error, "format_message"):
            raise
        usage = cast(Any, error)
        if not usage.format_message():  # no command was given, and the help is on the screen
            return 2
        command = getattr(getattr(usage, "ctx", None), "command_path", "palmette")
        fail(PalmetteError(usage.format_message(), f"{command} --help", code="usage"), as_json=as_json)
        return 2
    return status if isinstance(status, int) else 0
