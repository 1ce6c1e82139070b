"""What the deliverable checks make of a submit."""

from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.support.house import House

pytestmark = [pytest.mark.anyio, pytest.mark.rule("C6")]


def check(name: str, **more: Any) -> dict[str, Any]:
    """A check of that name."""
    return {"id": name, "kind": "command", "spec": {"command": ["true"]}, **more}


@pytest.mark.parametrize(
    ("says", "accepted", "valid"),
    [
        ({}, True, None),
        ({"a": ["pass"]}, True, True),
        ({"a": ["pass"], "b": ["pass"]}, True, True),
        ({"a": ["pass"], "b": ["fail"]}, False, None),
        ({"a": ["pass"], "b": ["unavailable"]}, False, None),
    ],
)
async def test_a_result_is_valid_only_if_every_deliverable_check_passed(
    tmp_path: Path, says: dict[str, list[Any]], accepted: bool, valid: bool | None
) -> None:
    house = House(tmp_path)
    house.checks.says.update(says)
    with anyio.fail_after(10):
        async with house.running():
            child = await house.spawn(await house.run(), checks=[check(name) for name in says])
            got = await house.verbs.submit(house.as_node(child), None, result="Done.")
    assert (got["accepted"], got.get("valid")) == (accepted, valid)
