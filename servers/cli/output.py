"""What every command shares: its options, how it prints, and how it fails."""

import json
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from palmette.coordination.errors import PalmetteError
from palmette.coordination.views import plain
from palmette.servers import places

__all__ = ["Data", "Json", "data_of", "emit", "fail", "next_command", "show", "width"]

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Data = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="The data directory ($PALMETTE_DATA, else ~/.local/share/palmette)."),
]


def data_of(given: Path | None) -> str:
    """The data directory's real path.

    Raises:
        PlaceError: bad_path.
    """
    return places.data_directory(None if given is None else str(given))


def width() -> int:
    """Columns of the terminal; 100 where there is none."""
    return shutil.get_terminal_size((100, 24)).columns


def emit(value: Any) -> None:
    """Print JSON, one value on one line."""
    # ASCII: a lone surrogate or an odd locale must not make a program's input unreadable.
    print(json.dumps(value, separators=(",", ":")), flush=True)


def show(lines: Iterable[str]) -> None:
    """Print lines that hold no text of agents but what went through `plain`."""
    encoding = sys.stdout.encoding or "utf-8"
    for line in lines:
        print(line.encode(encoding, "replace").decode(encoding), flush=True)


def next_command(text: str) -> str:
    """The last line of a screen."""
    return f"→ {text}"


def fail(error: PalmetteError | places.PlaceError, *, as_json: bool) -> None:
    """Print an error: as JSON on standard output, where whoever asked for JSON reads, else on standard error."""
    if as_json:
        emit({"error": {"kind": error.code, "message": error.message, "hint": error.hint}})
        return
    lines = [f"error: {plain(error.message, 2000)}"]
    if error.hint:
        lines.append(f"  → {plain(error.hint, 1000)}")
    for line in lines:
        print(line.encode("utf-8", "replace").decode(sys.stderr.encoding or "utf-8", "replace"), file=sys.stderr)
