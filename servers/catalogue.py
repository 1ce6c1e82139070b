"""Reference pages made of the code: the journal's kinds of event (E11), and what to do about each refusal.

python -m palmette.servers.catalogue events > docs/events.md
python -m palmette.servers.catalogue refusals      # the last part of docs/troubleshooting.md
"""

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from typing import Any, cast

from palmette.coordination.errors import REFUSALS
from palmette.coordination.events import EVENT_TYPES, EventData

__all__ = ["PAGES", "events", "main", "refusals"]

_EVENTS = """# Events of the journal

Made of the code by `python -m palmette.servers.catalogue events`. `palmette events --follow` and the operator API's
stream give the same events, one JSON object each: `seq` (its place, strictly increasing), `at` (UTC, microseconds since
1970), `tree`, `node`, `attempt`, `kind`, `version`, `actor` (who did it), `because` (the seq of the event that led to
it), `origin` and `label` (where its content comes from), and `data`, whose fields are below.

Fields of a kind may be added under the same version; a change of meaning is a new version beside the old one.
"""

_REFUSALS = """## Refusals, by code

A refusal changes nothing: the caller may mend what is named and go on.

| code | what to do |
|---|---|
"""


def events() -> str:
    """The page of every kind of event, in the order of the code, as Markdown."""
    return _EVENTS + "".join(f"\n{_kind(kind, version, data)}" for (kind, version), data in EVENT_TYPES.items())


def refusals() -> str:
    """The table of refusals, as Markdown."""
    return _REFUSALS + "".join(f"| `{code}` | {_cell(hint)} |\n" for code, hint in sorted(REFUSALS.items()))


PAGES: Mapping[str, Callable[[], str]] = {"events": events, "refusals": refusals}
"""What can be printed, by name."""


def main(arguments: list[str]) -> int:
    """Print a page. Returns the exit status: 2 if there is no such page."""
    page = PAGES.get(arguments[0]) if len(arguments) == 1 else None
    if page is None:
        sys.stderr.write(f"usage: python -m palmette.servers.catalogue {'|'.join(PAGES)}\n")
        return 2
    sys.stdout.write(page())
    return 0


def _kind(kind: str, version: int, data: type[EventData]) -> str:
    summary, attributes = _documented(inspect.getdoc(data) or "")
    lines = [f"## `{kind}`" + (f" (version {version})" if version > 1 else ""), "", *summary, ""]
    # Every kind is a frozen dataclass; the base class cannot say so.
    for field in fields(cast(Any, data)):
        told = attributes.get(field.name)
        lines.append(f"- `{field.name}`" + (f": {told}" if told else ""))
    return "\n".join(lines).rstrip() + "\n"


def _documented(text: str) -> tuple[list[str], dict[str, str]]:
    """A docstring's summary, and what its `Attributes:` say of each name (`a, b: …` says it of both)."""
    summary, _, rest = text.partition("\nAttributes:\n")
    told: dict[str, str] = {}
    for names, words in _entries(rest):
        for name in names.split(","):
            told[name.strip()] = words
    return summary.strip().splitlines(), told


def _entries(block: str) -> Iterator[tuple[str, str]]:
    entry: list[str] = []
    for line in [*block.splitlines(), "    end:"]:
        indent = len(line) - len(line.lstrip())
        if indent == 4 and entry:
            names, _, words = " ".join(entry).partition(":")
            yield names, words.strip()
            entry = []
        if line.strip():
            entry.append(line.strip())


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
