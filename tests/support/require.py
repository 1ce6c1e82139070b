"""What a test needs from the machine: without it the test is skipped, unless PALMETTE_REQUIRE says that it must run."""

import os

import pytest

__all__ = ["require"]


def require(name: str, available: bool, reason: str) -> None:
    """Skip the running test if `name` is not available; fail it if the words of PALMETTE_REQUIRE name it."""
    if available:
        return
    required = os.environ.get("PALMETTE_REQUIRE", "").replace(",", " ").split()
    if name in required:
        pytest.fail(f"{name} is required here, but {reason}")
    pytest.skip(f"no {name}: {reason}")
