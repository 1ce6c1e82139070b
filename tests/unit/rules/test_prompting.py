"""How a prompt begins."""

import inspect
from dataclasses import fields
from typing import Any

import pytest

from palmette.coordination.prompting import opening
from palmette.coordination.records import Node, Purse, Tree
from palmette.coordination.values import Amounts

NOW = 1_764_000_000_000_000  # Monday, 2025-11-24 16:00:00 UTC


def facts(deadline: int | None = None, repository: str | None = "/srv/shop", free: Amounts | None = None) -> str:
    """The opening of a node that matters only in these."""
    node = made(Node, id="t7/0.2", tree="t7", label="quick", role="driver", deadline_at=deadline, base="abc123")
    tree = made(Tree, id="t7", repository=repository)
    left = free or Amounts(usd=1_500_000, turns=12)
    purse = Purse("t7/0.2", "t7/0", granted=left, free=left, held=Amounts(), spent=Amounts())
    return opening(NOW, node, tree, purse)


def made(record: Any, **given: Any) -> Any:
    """A record whose other required fields are empty text."""
    empty = {
        field.name: ""
        for field in fields(record)
        if inspect.signature(record).parameters[field.name].default is inspect.Parameter.empty
    }
    return record(**(empty | given))


@pytest.mark.rule("P2")
def test_the_date_and_time_come_first() -> None:
    assert facts().splitlines()[0] == "It is Monday, 2025-11-24 16:00:00 UTC."


@pytest.mark.rule("P2")
def test_who_what_is_left_and_where_are_told() -> None:
    told = facts(deadline=NOW + 3_600_000_000)
    assert "node t7/0.2 (quick), a driver in tree t7" in told
    assert "Deadline: Monday, 2025-11-24 17:00:00 UTC." in told
    assert "Budget left: $1.50, 12 turns." in told
    assert "Repository: /srv/shop, base abc123." in told


@pytest.mark.rule("P2")
def test_what_there_is_none_of_is_said() -> None:
    told = facts(repository=None, free=Amounts())
    assert "Deadline: none." in told
    assert "Repository: none." in told
    assert "nothing is budgeted" in told
