"""A wake-up that is never lost: set before or while somebody waits, it wakes once."""

import anyio

__all__ = ["Signal"]


class Signal:
    """An event that resets itself when its waiter has been woken; one waiter at a time."""

    def __init__(self) -> None:
        self._event = anyio.Event()

    def set(self) -> None:
        """Wake the waiter, or the next one."""
        self._event.set()

    async def wait(self) -> None:
        """Return when set; the caller looks at the world again afterwards."""
        await self._event.wait()
        self._event = anyio.Event()
