"""A harness on a stage: a watched scripted model, a real MCP server behind the real relay, a recording ledger."""

import json
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from secrets import token_hex
from typing import Any, TypeVar

import anyio
from anyio.abc import TaskGroup
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from palmette.coordination.ports import Delivered, Exit, Harness, HarnessEvent, Idle, Launch, Ledger, Started, StepTaken
from palmette.coordination.values import Step
from palmette.sandbox.harness.builtin import BuiltinHarness, Tuning
from palmette.sandbox.isolation.unsafe_none import UnsafeNone
from palmette.sandbox.model import Script, create_app
from palmette.servers.http import listen, serve_application
from tests.fakes.ledger import RecordingLedger
from tests.support.mcp_peer import McpPeer

__all__ = ["DRIVERS", "Driver", "Played", "Stage", "staged"]

Event = TypeVar("Event", bound=HarnessEvent)


@dataclass(frozen=True)
class Driver:
    """How the suite meets one harness.

    Attributes:
        create: makes it under an isolation.
        pid: its process, to be killed by a test.
        shell: its native shell tool's name; the command's argument is `command`.
        metered: its model calls are held and booked by its driver; otherwise the gateway does it.
    """

    name: str
    create: Callable[[Launch, Ledger, UnsafeNone], Harness]
    pid: Callable[[Any], int]
    shell: str = "shell"
    metered: bool = True

    def __str__(self) -> str:
        return self.name


def _builtin(launch: Launch, ledger: Ledger, isolation: UnsafeNone) -> Harness:
    return BuiltinHarness(launch, ledger, isolation, Tuning(first_pause_s=0.01))


DRIVERS: Sequence[Driver] = (Driver("builtin", _builtin, lambda harness: harness.pid),)


@dataclass
class Played:
    """One life of a harness and all that it told."""

    harness: Harness
    launch: Launch
    events: list[HarnessEvent] = field(default_factory=list[HarnessEvent])
    changed: anyio.Event = field(default_factory=anyio.Event)

    async def read(self) -> None:
        """Read its events to the end."""
        async for event in self.harness.events():
            self.events.append(event)
            self.changed.set()
            self.changed = anyio.Event()

    async def until(self, kind: type[Event], count: int = 1) -> Event:
        """The `count`th event of that kind."""
        while len(found := self.of(kind)) < count:
            await self.changed.wait()
        return found[count - 1]

    def of(self, kind: type[Event]) -> list[Event]:
        """The events of that kind so far."""
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def delivered(self) -> list[str]:
        """The receipts so far."""
        return [event.message for event in self.of(Delivered)]

    @property
    def steps(self) -> list[Step]:
        """The steps told so far, model calls apart."""
        return [step for event in self.of(StepTaken) for step in event.steps]

    async def turn(self, message: str, text: str) -> Idle:
        """Prompt it, and wait for the turn's end."""
        before = len(self.of(Idle))
        await self.harness.prompt(message, text)
        return await self.until(Idle, before + 1)

    async def session(self) -> str:
        """Its session."""
        return (await self.until(Started)).session


@dataclass
class Stage:
    """Everything around a harness."""

    driver: Driver
    directory: Path
    peer: McpPeer
    ledger: RecordingLedger
    isolation: UnsafeNone
    launch: Launch
    tasks: TaskGroup
    requests: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    asked: anyio.Event = field(default_factory=anyio.Event)
    lives: list[Played] = field(default_factory=list[Played])

    @property
    def order(self) -> list[str]:
        """What happened, in one word each: held, refused, request, booked."""
        return [word for word, _ in self.ledger.order]

    def said(self, request: int) -> str:
        """The messages of the request of that number, as text."""
        return json.dumps(self.requests[request]["messages"])

    async def start(self, **changes: Any) -> Played:
        """One life of the harness; its events are read to the end."""
        number = len(self.lives) + 1
        launch = replace(
            self.launch,
            attempt=f"{self.launch.attempt}#{number}",
            directory=self.directory / f"attempt-{number}",
            **changes,
        )
        played = Played(self.driver.create(launch, self.ledger, self.isolation), launch)
        self.lives.append(played)
        await played.harness.start()
        self.tasks.start_soon(played.read)
        return played

    async def until_asked(self, count: int) -> dict[str, Any]:
        """The request of that number, counted from 1."""
        while len(self.requests) < count:
            await self.asked.wait()
        return self.requests[count - 1]

    def watch(self, app: ASGIApp) -> ASGIApp:
        """The application, with every model request noted before it is answered."""

        async def watched(scope: Scope, receive: Receive, send: Send) -> None:
            body = b""
            messages: list[Message] = []
            while not messages or messages[-1].get("more_body"):
                messages.append(await receive())
                body += messages[-1].get("body", b"")
            self.requests.append(json.loads(body))
            self.ledger.order.append(("request", len(self.requests)))
            self.asked.set()
            self.asked = anyio.Event()

            async def again() -> Message:
                return messages.pop(0) if messages else await receive()

            await app(scope, again, send)

        return watched


@asynccontextmanager
async def staged(driver: Driver, directory: Path, script: str) -> AsyncGenerator[Stage]:
    """Set the stage for one test; at its end every harness that is left is stopped."""
    async with AsyncExitStack() as stack:
        peer = await stack.enter_async_context(McpPeer.serving())
        listener = stack.enter_context(listen(str(directory), 0))
        tasks = await stack.enter_async_context(anyio.create_task_group())
        for name in ("work", "sessions"):
            (directory / name).mkdir()
        token = directory / "attempt-token"
        token.write_text("the-token")
        token.chmod(0o600)
        launch = Launch(
            attempt=f"t{token_hex(4)}/0",
            directory=directory,
            workspace=directory / "work",
            session_directory=directory / "sessions",
            relay_argv=peer.relay_argv,
            token_file=token,
            system="You are on a stage.",
            model="scripted",
            model_url=f"http://127.0.0.1:{listener.getsockname()[1]}",
            max_output=1000,
        )
        isolation = UnsafeNone(directory / "locks")
        stage = Stage(driver, directory, peer, RecordingLedger(), isolation, launch, tasks)
        server = await stack.enter_async_context(anyio.create_task_group())
        await server.start(serve_application, stage.watch(create_app(Script.load(script))), listener)
        try:
            yield stage
        finally:
            with anyio.CancelScope(shield=True):
                for played in stage.lives:
                    if not played.of(Exit):
                        await played.harness.stop(0)
            server.cancel_scope.cancel()
            tasks.cancel_scope.cancel()
