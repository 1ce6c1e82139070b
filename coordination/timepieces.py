"""The real clock and the real randomness; tests bring their own."""

import secrets
import time
from contextlib import AbstractContextManager

import anyio
from anyio import CancelScope

__all__ = ["RandomIds", "SystemClock"]

_TREE_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


class SystemClock:
    """The machine's clocks."""

    def now(self) -> int:
        """See ports.Clock."""
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        """See ports.Clock."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """See ports.Clock."""
        await anyio.sleep(seconds)

    def limit(self, seconds: float) -> AbstractContextManager[CancelScope]:
        """See ports.Clock."""
        return anyio.move_on_after(seconds)


class RandomIds:
    """Ids from the operating system's generator."""

    def tree(self) -> str:
        """`t` and five characters without look-alikes: 33 million, and the store refuses one given out twice."""
        return "t" + "".join(secrets.choice(_TREE_ALPHABET) for _ in range(5))

    def token(self) -> str:
        """See ports.Ids: 256 bits."""
        return secrets.token_urlsafe(32)
