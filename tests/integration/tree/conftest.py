"""A house for each test."""

from pathlib import Path

import pytest

from tests.support.house import House


@pytest.fixture
def house(tmp_path: Path) -> House:
    """A supervisor to be, with everything around it."""
    return House(tmp_path)
