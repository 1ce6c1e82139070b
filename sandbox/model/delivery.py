"""How a reply leaves: whole or chunk by chunk, slowly, cut, in silence, or broken by an error."""

import json
from dataclasses import dataclass
from typing import Any

import anyio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from palmette.sandbox.model.dialects import Dialect, Request
from palmette.sandbox.model.player import TurnReply
from palmette.sandbox.model.steps import Cut, Silent, Slow, StreamError

__all__ = ["Delivery", "Plan", "planned"]

_PARTS = 8
"""Pieces of a reply without a stream, where it is sent slowly."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is put on the wire.

    Attributes:
        status: HTTP status.
        stream: server-sent events, else one JSON body.
        chunks: what is sent, in order.
        length: bytes announced; None for a stream. More than the chunks hold where the reply is cut.
        first_s: seconds before the first byte.
        delay_s: seconds before each chunk.
        cut: the connection is closed after the last chunk, as if it had failed.
        silent: seconds of silence, infinite for ever; None for none.
        silent_headers: headers are sent before the silence.
    """

    status: int
    stream: bool
    chunks: tuple[bytes, ...]
    length: int | None
    first_s: float = 0.0
    delay_s: float = 0.0
    cut: bool = False
    silent: float | None = None
    silent_headers: bool = True


def planned(reply: TurnReply, request: Request, dialect: Dialect) -> Plan:
    """How a turn is delivered in a dialect, with the fault that the script gives it."""
    fault = reply.fault
    status = 200
    if request.stream:
        chunks, length = dialect.events(reply, request), None
    else:
        body: dict[str, Any] = dialect.whole(reply, request)
        if isinstance(fault, StreamError):
            status, body = 500, dialect.error(500, fault.type, None, fault.message)
        whole = json.dumps(body, ensure_ascii=False).encode(errors="replace")
        size = -(-len(whole) // _PARTS)
        chunks, length = [whole[at : at + size] for at in range(0, len(whole), size)], len(whole)
    match fault:
        case Slow():
            return Plan(status, request.stream, tuple(chunks), length, fault.first_s, fault.delay_s)
        case Cut():
            # A cut never lets the whole reply through: the last chunk stays here.
            kept = min(int(len(chunks) * fault.after), len(chunks) - 1)
            return Plan(status, request.stream, tuple(chunks[:kept]), length, cut=True)
        case Silent():
            silent = float("inf") if fault.for_s is None else fault.for_s
            return Plan(status, request.stream, tuple(chunks), length, silent=silent, silent_headers=fault.headers)
        case StreamError() if request.stream:
            kept = min(int(len(chunks) * fault.after), len(chunks) - 1)
            broken = dialect.broken(fault.type, fault.message)
            return Plan(status, True, (*chunks[:kept], broken), None)
        case _:
            return Plan(status, request.stream, tuple(chunks), length)


class Delivery(Response):
    """Sends a plan, and stops as soon as the client is gone."""

    def __init__(self, plan: Plan, headers: dict[str, str]) -> None:
        super().__init__(None, plan.status)
        self.plan = plan
        kind = "text/event-stream; charset=utf-8" if plan.stream else "application/json"
        fields = {"content-type": kind, "cache-control": "no-cache", **headers}
        if plan.length is not None:
            fields["content-length"] = str(plan.length)
        self.raw_headers = [
            (name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in fields.items()
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with anyio.create_task_group() as tasks:

            async def until_gone() -> None:
                while (await receive())["type"] != "http.disconnect":
                    pass
                tasks.cancel_scope.cancel()

            tasks.start_soon(until_gone)
            await self._deliver(send)
            tasks.cancel_scope.cancel()

    async def _deliver(self, send: Send) -> None:
        plan = self.plan
        start = {"type": "http.response.start", "status": plan.status, "headers": self.raw_headers}
        await anyio.sleep(plan.first_s)
        if plan.silent is not None and not plan.silent_headers:
            await anyio.sleep(plan.silent)
        await send(start)
        if plan.silent is not None and plan.silent_headers:
            await anyio.sleep(plan.silent)
        for chunk in plan.chunks:
            if plan.delay_s:
                await anyio.sleep(plan.delay_s)
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        if not plan.cut:
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        # A body that is never ended makes the server close the connection in mid-reply: the cut.
