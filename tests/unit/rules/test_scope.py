"""Which verbs who holds."""

import pytest

from palmette.coordination.errors import Refused
from palmette.coordination.scope import require, verbs

LEAF = {"ask_parent", "submit", "notify", "observe"}
DRIVER = LEAF | {"spawn", "await_event", "steer", "stop", "answer", "select"}


@pytest.mark.rule("S3")
@pytest.mark.parametrize(
    ("role", "depth", "held"),
    [
        ("worker", 0, LEAF),
        ("worker", 4, LEAF),
        ("analyst", 1, LEAF),
        ("selector", 1, LEAF),
        ("nonsense", 1, LEAF),
        ("driver", 0, DRIVER),
        ("driver", 3, DRIVER),
        ("driver", 4, DRIVER - {"spawn"}),
        ("driver", 5, DRIVER - {"spawn"}),
    ],
)
def test_a_role_at_a_depth_holds_exactly_its_verbs(role: str, depth: int, held: set[str]) -> None:
    assert verbs(role, depth, 4) == held


@pytest.mark.rule("S3")
def test_a_leaf_holds_four_and_a_driver_ten() -> None:
    assert (len(verbs("worker", 1, 4)), len(verbs("driver", 1, 4))) == (4, 10)


@pytest.mark.rule("S8")
@pytest.mark.parametrize("role", ["worker", "analyst", "selector", "driver"])
@pytest.mark.parametrize("depth", [0, 4])
def test_exactly_what_is_not_held_is_refused(role: str, depth: int) -> None:
    for verb in DRIVER | {"define_check", "no_such_verb"}:
        if verb in verbs(role, depth, 4):
            require(verb, role, depth, 4)
            continue
        with pytest.raises(Refused) as refused:
            require(verb, role, depth, 4)
        deep = role == "driver" and verb == "spawn"
        assert refused.value.code == ("depth_limit" if deep else "not_permitted")
