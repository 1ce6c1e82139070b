"""What people call trees and nodes."""

import pytest

from palmette.coordination.errors import PalmetteError
from palmette.coordination.values import Amounts
from palmette.coordination.views import NodeRow, TreeView
from palmette.servers.cli.naming import choose_node, choose_tree

_NO = Amounts.zero()


def view(tree: str, *labels: str, state: str = "open") -> TreeView:
    """A tree whose root has a child for each label."""
    rows = [_row(f"{tree}/0", "root", 0)]
    rows += [_row(f"{tree}/0.{number}", label, 1) for number, label in enumerate(labels, 1)]
    return TreeView(tree, "driven", state, None, 0, 0, False, None, tuple(rows), ())


def _row(node: str, label: str, depth: int) -> NodeRow:
    return NodeRow(
        id=node,
        label=label,
        depth=depth,
        last=(),
        shown="working",
        role="worker",
        harness="builtin",
        model="m",
        isolation="unsafe-none",
        settlement=None,
        cause=None,
        reason="",
        attempts=1,
        granted=_NO,
        free=_NO,
        held=_NO,
        spent=_NO,
        unknown=False,
        age_s=0,
        verdicts=(),
        diffstat=None,
        questions=(),
        commit=None,
    )


TREES = [view("taaa11", "fixer", "tester"), view("taab22", "fixer", state="closed"), view("tbbb33", "writer")]


@pytest.mark.parametrize(
    ("name", "node"),
    [
        ("taaa11/0.2", "taaa11/0.2"),
        ("taaa11", "taaa11/0"),
        ("taab22/fixer", "taab22/0.1"),
        ("fixer", "taaa11/0.1"),
        ("writer", "tbbb33/0.1"),
        ("tnone/0", "tnone/0"),
    ],
)
def test_a_node_goes_by_its_id_its_tree_or_its_label(name: str, node: str) -> None:
    assert choose_node(TREES, name) == node


@pytest.mark.parametrize(
    ("name", "code"),
    [("root", "ambiguous"), ("nobody", "unknown_node"), ("tnone/fixer", "unknown_node"), ("", "unknown_node")],
)
def test_a_name_that_is_nobodys_or_several_ones_is_refused(name: str, code: str) -> None:
    with pytest.raises(PalmetteError) as caught:
        choose_node(TREES, name)
    assert caught.value.code == code


def test_a_tree_goes_by_the_beginning_of_its_id() -> None:
    assert choose_tree(TREES, "tb") == "tbbb33"
    assert choose_tree(TREES, "taaa11") == "taaa11"
    for name, code in (("ta", "ambiguous"), ("x", "unknown_tree"), ("", "unknown_tree")):
        with pytest.raises(PalmetteError) as caught:
            choose_tree(TREES, name)
        assert caught.value.code == code
