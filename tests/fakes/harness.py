"""A harness that does what the test says: for the supervisor's own behaviour, where a real one would hide the order."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from palmette.coordination.errors import HarnessError, Refused
from palmette.coordination.ports import (
    Delivered,
    Exit,
    HarnessEvent,
    HarnessProbe,
    Idle,
    Launch,
    Ledger,
    Started,
)

__all__ = ["FakeHarness", "FakeHarnesses"]


class FakeHarness:
    """Fills ports.Harness. What it was told is in `said`; the test speaks for it with `tell`."""

    def __init__(self, launch: Launch, ledger: Ledger) -> None:
        self.launch = launch
        self.ledger = ledger
        self.said: list[tuple[str, str, str]] = []
        self.started = anyio.Event()
        self.prompted = anyio.Event()
        self.heard = anyio.Event()
        self.stopped = False
        self.frozen = False
        self.survivors: list[int] = []
        self.refuses_to_start = False
        self.deaf = False
        """What it is told does not arrive: no receipt comes."""
        self._send: MemoryObjectSendStream[HarnessEvent]
        self._receive: MemoryObjectReceiveStream[HarnessEvent]
        self._send, self._receive = anyio.create_memory_object_stream[HarnessEvent](1_000)

    async def events(self) -> AsyncIterator[HarnessEvent]:
        async with self._receive:
            async for event in self._receive:
                yield event
                if isinstance(event, Exit):
                    return

    async def start(self) -> None:
        if self.refuses_to_start:
            self._send.close()
            self._receive.close()
            raise HarnessError("it is not installed")
        self.tell(Started(self.launch.session or f"session-of-{self.launch.attempt}", "1.0"))
        self.started.set()

    async def prompt(self, message: str, text: str) -> None:
        self._hear("prompt", message, text)
        self.prompted.set()

    async def steer(self, message: str, text: str, *, interrupt: bool) -> None:
        self._hear("interrupt" if interrupt else "steer", message, text)

    async def interrupt(self) -> None:
        self.tell(Idle("interrupt"))

    async def answer(self, request: str, decision: str) -> None:
        self._hear("answer", request, decision)

    async def pause(self) -> None:
        self.frozen = True

    async def resume(self) -> None:
        self.frozen = False

    async def stop(self, grace_s: float) -> Sequence[int]:
        if self.survivors:
            return self.survivors
        if not self.stopped:
            self.stopped = True
            self.tell(Exit(0))
        return []

    def tell(self, event: HarnessEvent) -> None:
        """Say something in the harness's name."""
        if isinstance(event, Exit):
            self.stopped = True
        self._send.send_nowait(event)
        if isinstance(event, Exit):
            self._send.close()

    def _hear(self, how: str, message: str, text: str) -> None:
        self.said.append((how, message, text))
        if not self.deaf:
            self.tell(Delivered(message))
        self.heard.set()
        self.heard = anyio.Event()


@dataclass
class FakeHarnesses:
    """Fills ports.Harnesses; every harness it made is in `made`, by attempt."""

    made: dict[str, FakeHarness] = field(default_factory=dict[str, FakeHarness])
    broken: set[str] = field(default_factory=set[str])
    changed: anyio.Event = field(default_factory=anyio.Event)

    def names(self) -> Sequence[str]:
        return ("builtin",)

    async def probe(self, name: str) -> HarnessProbe:
        return HarnessProbe(name == "builtin", "1.0", "" if name == "builtin" else "it is not installed", "install it")

    def create(self, name: str, launch: Launch, ledger: Ledger) -> FakeHarness:
        if name != "builtin":
            raise Refused("unknown_harness", f"{name} is not installed")
        harness = self.made[launch.attempt] = FakeHarness(launch, ledger)
        harness.refuses_to_start = launch.attempt.partition("#")[0] in self.broken
        self.changed.set()
        self.changed = anyio.Event()
        return harness

    async def of(self, attempt: str) -> FakeHarness:
        """The harness of an attempt, once it has had its first prompt."""
        while attempt not in self.made:
            await self.changed.wait()
        await self.made[attempt].prompted.wait()
        return self.made[attempt]
