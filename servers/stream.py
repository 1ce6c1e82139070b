"""The journal as server-sent events: what is there, then what comes (E11).

Nothing is buffered per client. A committed batch only wakes the stream, which then reads the next page from the
journal; so a slow reader costs one page, and one that takes nothing for half a minute is cut and can come again.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import anyio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from palmette.coordination.codec import dumps
from palmette.coordination.events import Event
from palmette.coordination.operator import Operator

__all__ = ["HEARTBEAT_S", "PAGE", "PATIENCE_S", "EventStream", "Filter"]

PAGE = 100
"""Events that are read and sent at once."""
HEARTBEAT_S = 15.0
"""A silent stream says this often that it lives, in seconds."""
PATIENCE_S = 30.0
"""Seconds that a reader may take for one page."""

_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


@dataclass(frozen=True, slots=True)
class Filter:
    """Which events: of a tree, of a node and all below it, of some kinds; None and empty for all."""

    tree: str | None = None
    node: str | None = None
    kinds: tuple[str, ...] = ()


class EventStream(Response):
    """One client's stream, from the event behind `after` on; each message's id is the event's seq."""

    def __init__(
        self,
        operator: Operator,
        wanted: Filter,
        after: int,
        *,
        heartbeat_s: float = HEARTBEAT_S,
        patience_s: float = PATIENCE_S,
    ) -> None:
        super().__init__(media_type="text/event-stream")
        self._operator = operator
        self._wanted = wanted
        self._after = after
        self._heartbeat_s = heartbeat_s
        self._patience_s = patience_s
        self._news = anyio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream until the client leaves or stops reading."""
        unsubscribe = self._operator.subscribe(self._committed)
        try:
            await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
            async with anyio.create_task_group() as tasks:

                async def watch() -> None:
                    while (await receive())["type"] != "http.disconnect":
                        pass
                    tasks.cancel_scope.cancel()

                tasks.start_soon(watch)
                await self._stream(send)
                tasks.cancel_scope.cancel()
        finally:
            unsubscribe()

    def _committed(self, batch: Sequence[Event]) -> None:
        self._news.set()

    async def _stream(self, send: Send) -> None:
        """Returns when the reader is to be cut; the response is then ended in good order where it can be."""
        if not await self._send(send, b": palmette\n\n"):
            return
        while True:
            self._news = anyio.Event()
            while page := await self._page():
                if not await self._send(send, page):
                    return
            with anyio.move_on_after(self._heartbeat_s) as silence:
                await self._news.wait()
            if silence.cancelled_caught and not await self._send(send, b": alive\n\n"):
                return

    async def _page(self) -> bytes:
        wanted = self._wanted
        lines = await self._operator.events(self._after, PAGE, wanted.tree, wanted.node, wanted.kinds)
        if not lines:
            return b""
        self._after = lines[-1]["seq"]
        text = "".join(f"id: {line['seq']}\nevent: {line['kind']}\ndata: {dumps(line)}\n\n" for line in lines)
        return text.encode("utf-8", "backslashreplace")

    async def _send(self, send: Send, body: bytes) -> bool:
        with anyio.move_on_after(self._patience_s):
            await send({"type": "http.response.body", "body": body, "more_body": True})
            return True
        return False
