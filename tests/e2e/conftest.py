"""An installation for each test."""

from collections.abc import Generator

import pytest

from tests.support.installation import Installation, installation


@pytest.fixture
def place() -> Generator[Installation]:
    """A fresh installation, removed afterwards with everything that it started."""
    with installation() as made:
        yield made
