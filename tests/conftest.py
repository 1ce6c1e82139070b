"""What every test shares: the event loop's backend."""

import pytest


@pytest.fixture
def anyio_backend() -> str:
    """asyncio, the loop the product runs on."""
    return "asyncio"
