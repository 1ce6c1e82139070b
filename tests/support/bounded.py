"""A deadline around a whole asynchronous test: what hangs fails, and says where."""

import functools
from collections.abc import Awaitable, Callable
from typing import ParamSpec

import anyio

__all__ = ["bounded"]

P = ParamSpec("P")


def bounded(seconds: float) -> Callable[[Callable[P, Awaitable[None]]], Callable[P, Awaitable[None]]]:
    """Fail the decorated test with TimeoutError after `seconds`."""

    def decorate(test: Callable[P, Awaitable[None]]) -> Callable[P, Awaitable[None]]:
        @functools.wraps(test)
        async def run(*args: P.args, **kwargs: P.kwargs) -> None:
            with anyio.fail_after(seconds):
                await test(*args, **kwargs)

        return run

    return decorate
