"""Waiting for what another process does, where no event of our own can tell."""

import time
from collections.abc import Callable

__all__ = ["until"]


def until(predicate: Callable[[], bool], timeout: float = 30.0) -> None:
    """Return as soon as `predicate()` is true, looked at every 10 ms; TimeoutError after `timeout` seconds."""
    end = time.monotonic() + timeout
    while not predicate():
        if time.monotonic() > end:
            raise TimeoutError("what the test waits for did not happen")
        time.sleep(0.01)
