"""Whether the books balance."""

from dataclasses import replace

import pytest

from palmette.coordination.balance import Imbalance, budget_imbalances
from palmette.coordination.records import Hold, Purse, Tree
from palmette.coordination.tables import MemoryTables
from palmette.coordination.values import Amounts

ROOT = Purse(
    "t1/0",
    None,
    granted=Amounts(100, 100, None, 100),
    free=Amounts(50, -5, None, 100),
    held=Amounts(10, 0, 1, 0),
    spent=Amounts(10, 105, 7, 0),
)
CHILD = Purse(
    "t1/0.1",
    "t1/0",
    granted=Amounts(30, 0, None, 0),
    free=Amounts(30, 0, None, 0),
    held=Amounts.zero(),
    spent=Amounts.zero(),
)
HOLD = Hold("h1", "t1/0", "t1/0#1", Amounts(10, 0, 1, 0), 1)
TREE = Tree("t1", "driven", None, None, 4, person=True, evaluation=False, model_source="", opened_at=1)


def tables(*records: Purse | Hold | Tree) -> MemoryTables:
    made = MemoryTables()
    for record in (ROOT, CHILD, HOLD, TREE, *records):
        made.put(record)
    return made


def test_books_that_balance_have_nothing_to_tell_even_overdrawn_or_without_a_budget() -> None:
    assert budget_imbalances(tables()) == []


@pytest.mark.rule("B1")
@pytest.mark.parametrize(
    ("change", "total"),
    [
        ({"free": Amounts(51, -5, None, 100)}, 101),
        ({"spent": Amounts(9, 105, 7, 0)}, 99),
    ],
)
def test_one_too_many_or_too_few_is_found(change: dict[str, Amounts], total: int) -> None:
    (found,) = budget_imbalances(tables(replace(ROOT, **change)))
    assert (found.rule, found.node, found.channel, found.expected, found.found) == ("B1", "t1/0", "usd", 100, total)


@pytest.mark.rule("B1")
def test_the_grant_of_a_settled_child_counts_no_more() -> None:
    (found,) = budget_imbalances(tables(replace(CHILD, open=False)))
    assert (found.channel, found.found) == ("usd", 70)


@pytest.mark.rule("B1")
def test_held_is_what_the_open_holds_say() -> None:
    without = tables()
    without.delete(Hold, "h1")
    found = budget_imbalances(without)
    why = "held is not the sum of the open holds"
    assert found == [Imbalance("B1", "t1/0", "usd", 0, 10, why), Imbalance("B1", "t1/0", "turns", 0, 1, why)]


@pytest.mark.rule("B6")
def test_an_open_hold_in_an_ended_tree_is_found() -> None:
    (found,) = budget_imbalances(tables(replace(TREE, state="closed")))
    assert (found.rule, found.node, found.why) == ("B6", "t1/0", "hold h1 is open in an ended tree")


@pytest.mark.rule("B6")
def test_an_open_hold_of_an_ended_node_is_found() -> None:
    (found,) = budget_imbalances(tables(replace(ROOT, open=False)))
    assert (found.rule, found.node, found.why) == ("B6", "t1/0", "hold h1 is open in an ended node")
