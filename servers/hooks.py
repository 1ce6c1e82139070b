"""Commands that are told of events (E11), and the notification of a person (Q9). From the user's own config only."""

import logging
import os
import signal
import subprocess
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import anyio
from anyio.abc import ObjectReceiveStream

from palmette.coordination.codec import dumps, encode
from palmette.coordination.errors import PalmetteError
from palmette.coordination.events import Event, NodeSettled, QuestionAsked, QuestionEscalated
from palmette.coordination.ports import Store
from palmette.coordination.supervisor.settings import Settings
from palmette.coordination.values import Blob, parent_of
from palmette.servers.config import Hook

__all__ = ["AT_ONCE", "SECONDS", "Told", "concerns_a_person", "running_hooks", "with_hooks"]

logger = logging.getLogger(__name__)

AT_ONCE = 4
"""Commands that run at the same time; further events wait."""
SECONDS = 30.0
"""What a command may take before it is killed."""
_WAITING = 1000
"""Commands that may wait; what comes beyond is dropped and logged, since a hook is told and never relied on."""
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "USER", "LOGNAME", "DISPLAY", "WAYLAND_DISPLAY")
_NOTIFIERS_NEED = ("DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR")

OpenOutside = Callable[[Settings, Store], AbstractAsyncContextManager[Any]]


@dataclass(frozen=True, slots=True)
class Told:
    """One command for one event."""

    command: tuple[str, ...]
    event: Event


def with_hooks(open_outside: OpenOutside, hooks: Sequence[Hook], notify: Sequence[str]) -> OpenOutside:
    """The same outside, with the hooks running as long as it is open."""

    @asynccontextmanager
    async def opened(settings: Settings, store: Store) -> AsyncGenerator[Any]:
        async with open_outside(settings, store) as outside, running_hooks(store, hooks, notify):
            yield outside

    return opened


@asynccontextmanager
async def running_hooks(
    store: Store, hooks: Sequence[Hook], notify: Sequence[str] = (), *, seconds: float = SECONDS
) -> AsyncGenerator[None]:
    """Run the commands for every event that is committed inside. Events of an earlier life are not told again."""
    if not hooks and not notify:
        yield
        return
    send, receive = anyio.create_memory_object_stream[Told](_WAITING)

    def committed(batch: Sequence[Event]) -> None:
        for event in batch:
            for told in _wanted(event, hooks, notify):
                try:
                    send.send_nowait(told)
                except anyio.WouldBlock:
                    logger.warning("too many hooks wait: %s is not told of event %d", told.command[0], event.seq)

    unsubscribe = store.subscribe(committed)
    try:
        async with anyio.create_task_group() as tasks:
            for _ in range(AT_ONCE):
                tasks.start_soon(_work, store, receive.clone(), seconds)
            yield
            tasks.cancel_scope.cancel()
    finally:
        unsubscribe()
        send.close()
        receive.close()


def concerns_a_person(event: Event) -> bool:
    """Q9: a question that a person holds, a settled root, a node out of budget or time; nothing else."""
    match event.data:
        case QuestionAsked() | QuestionEscalated():
            return event.data.holder == "person"
        case NodeSettled():
            is_root = event.node is not None and parent_of(event.node) is None
            return is_root or event.data.cause in ("budget_exhausted", "deadline")
        case _:
            return False


def _wanted(event: Event, hooks: Sequence[Hook], notify: Sequence[str]) -> list[Told]:
    told = [Told(tuple(hook.command), event) for hook in hooks if event.kind in hook.kinds]
    if notify and concerns_a_person(event):
        told.append(Told(tuple(notify), event))
    return told


async def _work(store: Store, waiting: ObjectReceiveStream[Told], seconds: float) -> None:
    async with waiting:
        async for told in waiting:
            await _tell(told, await _line(store, told.event), seconds)


async def _line(store: Store, event: Event) -> bytes:
    data = encode(event.data)
    for name in list(data):
        value = getattr(event.data, name)
        if isinstance(value, Blob):
            try:
                data[name] = await store.text(value)
            except PalmetteError as error:
                data[name] = f"[{error.message}]"
    data.pop("token_digest", None)
    envelope = {
        name: getattr(event, name) for name in ("seq", "at", "tree", "node", "attempt", "kind", "version", "actor")
    }
    return dumps({**envelope, "data": data}).encode("utf-8", "backslashreplace") + b"\n"


async def _tell(told: Told, line: bytes, seconds: float) -> None:
    """Run the command; whatever becomes of it is only logged."""
    try:
        with anyio.fail_after(seconds):
            code = await _run(told.command, line)
    except TimeoutError:
        logger.warning("the hook %s took more than %g s for event %d", told.command[0], seconds, told.event.seq)
    except OSError as error:
        logger.warning("the hook %s cannot be run: %s", told.command[0], error.strerror)
    else:
        if code:
            logger.warning("the hook %s ended with %d", told.command[0], code)


async def _run(command: Sequence[str], line: bytes) -> int:
    process = await anyio.open_process(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=_environment(os.environ),
        cwd="/",
        start_new_session=True,
    )
    async with process:
        try:
            if process.stdin is not None:
                # A command need not read what it is told.
                with suppress(anyio.BrokenResourceError):
                    await process.stdin.send(line)
                await process.stdin.aclose()
            return await process.wait()
        finally:
            if process.returncode is None:
                # Its session is its own: whatever it started ends with it.
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Clean: no key or token of the supervisor's reaches a hook; a desktop's notifier still works."""
    return {name: environ[name] for name in (*_PASSED_ON, *_NOTIFIERS_NEED) if name in environ}
