"""A place of its own for each test of the relay."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.relay_process import Home
from tests.support.relay_process import home as make_home


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with make_home(tmp_path) as made:
        yield made
