"""Documents that say what the code says are compared with it."""

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path

import pytest

from palmette.coordination.errors import REFUSALS
from palmette.coordination.events import EVENT_TYPES
from palmette.servers import catalogue

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def document(name: str) -> str:
    """The text of a document."""
    return (DOCS / name).read_text(encoding="utf-8")


@pytest.mark.rule("E11")
def test_the_catalogue_of_events_is_that_of_the_code() -> None:
    assert document("events.md") == catalogue.events(), "python -m palmette.servers.catalogue events > docs/events.md"


@pytest.mark.rule("E11")
def test_every_kind_of_event_is_in_the_catalogue_and_explained() -> None:
    page = catalogue.events()
    for kind, _ in EVENT_TYPES:
        assert re.search(rf"^## `{re.escape(kind)}`.*\n\n[A-Z]", page, re.MULTILINE), kind


@pytest.mark.rule("S2")
def test_every_refusal_is_in_the_troubleshooting() -> None:
    page = document("troubleshooting.md")
    assert page.endswith(catalogue.refusals()), "python -m palmette.servers.catalogue refusals"
    assert all(f"| `{code}` |" in page for code in REFUSALS)


def test_the_catalogue_prints_its_pages(capsys: pytest.CaptureFixture[str]) -> None:
    assert catalogue.main(["refusals"]) == 0
    assert capsys.readouterr().out == catalogue.refusals()
    assert catalogue.main(["nothing"]) == 2
    assert "events|refusals" in capsys.readouterr().err


def test_each_dependency_is_explained_and_each_explained_one_is_there() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    _, run, dev = re.split(r"^## (?:At run time|For development)$", document("dependencies.md"), flags=re.MULTILINE)
    assert explained(run) == named(project["project"]["dependencies"])
    assert explained(dev.partition("## What is not there")[0]) == named(project["dependency-groups"]["dev"])


@pytest.mark.parametrize("page", [*sorted(path.name for path in DOCS.glob("*.md")), "../README.md"])
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", document(page)):
        if "://" not in target:
            assert (DOCS / page).parent.joinpath(target).exists(), target


def named(requirements: Iterable[str]) -> list[str]:
    """The names of requirements, sorted."""
    return sorted(re.split(r"[<>=!~;\[ ]", requirement)[0] for requirement in requirements)


def explained(table: str) -> list[str]:
    """The names in the first column of a table, as they stand."""
    return re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)
