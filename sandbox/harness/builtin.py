"""The driver of the builtin harness: one agent process under a reaper, spoken to in JSON lines.

All of its work is done by whoever reads `events()` (and by `stop`), so no task of its own has to be owned by anybody.
Each model call is held and booked here, through the Ledger, until the gateway does it: enforcement `reported`, calls
held.
"""

import json
import logging
import os
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import anyio
import anyio.to_thread

from palmette.coordination.errors import HarnessError, PalmetteError, Refused
from palmette.coordination.ports import Delivered, Exit, HarnessEvent, Idle, Launch, Ledger, Started, StepTaken
from palmette.sandbox.errors import IsolationError
from palmette.sandbox.harness.agent.lines import LINE_LIMIT, LineCutter, clean, encode
from palmette.sandbox.harness.telling import (
    BookedTold,
    DeliveredTold,
    FatalTold,
    HoldTold,
    IdleTold,
    ReadyTold,
    StartedTold,
    StepTold,
    Told,
    parse,
)
from palmette.sandbox.isolation.capabilities import Capabilities
from palmette.sandbox.isolation.process import ReapedProcess
from palmette.sandbox.isolation.reaper import read_process

__all__ = ["BuiltinHarness", "Isolation", "Tuning"]

logger = logging.getLogger(__name__)

_AGENT = Path(__file__).with_name("agent") / "__main__.py"
_CHUNK = 65536
_INLINE_PARSE = 128 * 1024
"""Bytes above which a line is parsed in a worker, off the event loop (DESIGN §2: at most 20 ms on it)."""
_LOG_TAIL = 4000
_OPEN_HOLDS = 8
_ENDLESS_LINE = 4 * LINE_LIMIT
"""Bytes without a line's end, after which none is expected."""


class Isolation(Protocol):
    """What of an isolation is needed here: UnsafeNone has it."""

    def probe(self) -> Capabilities: ...

    def environment(self, home: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]: ...

    async def launch(
        self, attempt: str, argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, grace_s: float = 2.0
    ) -> ReapedProcess: ...


@dataclass(frozen=True, slots=True)
class Tuning:
    """Bounds, in seconds unless said otherwise.

    Attributes:
        start_s: from its start to its being ready, MCP included.
        noise: lines that are none of the protocol, after which the agent is ended.
        end_s: for the process to end once it has closed its output.
        silence_s: a model's silence.
        first_pause_s: before a failed model call is made again; doubled each time.
        agent: the command; None for the real one.
    """

    start_s: float = 60.0
    noise: int = 1000
    end_s: float = 5.0
    silence_s: float = 300.0
    first_pause_s: float = 0.5
    agent: tuple[str, ...] | None = None


class BuiltinHarness:
    """Fills ports.Harness."""

    def __init__(self, launch: Launch, ledger: Ledger, isolation: Isolation, tuning: Tuning = Tuning()) -> None:
        self._launch = launch
        self._ledger = ledger
        self._isolation = isolation
        self._tuning = tuning
        self._process: ReapedProcess | None = None
        self._cutter = LineCutter()
        self._lines: deque[bytes | None] = deque()
        self._endless = 0
        self._events: deque[HarnessEvent | IdleTold] = deque()
        self._pumping = anyio.Lock()
        self._deadline = 0.0
        self._log = b""
        self._log_open = True
        self._stage: str = "start"
        self._fatal: FatalTold | None = None
        self._why_killed = ""
        self._ended = False
        self._told_exit = False
        self._busy = False
        self._paused = False
        self._stopping = False
        self._sent = 0
        self._undelivered: set[str] = set()
        self._holds: dict[str, str] = {}
        self._results_due = False
        self.noise = 0
        """Lines so far that were none of the protocol."""

    @property
    def pid(self) -> int:
        """The agent's process; 0 before its start."""
        return 0 if self._process is None else self._process.pid

    # ── the port ──

    async def events(self) -> AsyncIterator[HarnessEvent]:
        """See ports.Harness. Reading may be broken off and taken up again; nothing is lost or told twice."""
        while not self._told_exit:
            while not self._events:
                await self._pump()
            event = self._events.popleft()
            if isinstance(event, IdleTold):
                if event.heard < self._sent or not self._busy:
                    continue  # something was said meanwhile, with which the agent begins another turn
                self._busy = False
                event = Idle(event.stopped_by, event.text)
            self._told_exit = isinstance(event, Exit)
            yield event

    async def start(self) -> None:
        """See ports.Harness."""
        launch = self._launch
        try:
            path = await anyio.to_thread.run_sync(_write_launch_file, launch, self._tuning)
            command = self._tuning.agent or (sys.executable, "-I", "-S", str(_AGENT), str(path))
            extra = {**launch.environment, "TMPDIR": str(launch.directory / "tmp")}
            self._process = await self._isolation.launch(
                launch.attempt,
                command,
                env=self._isolation.environment(launch.directory, extra),
                cwd=launch.workspace or launch.directory,
                grace_s=min(launch.grace_s, 2.0),
            )
        except (IsolationError, OSError) as error:
            self._end(Exit(None, str(error), "start"))
            raise HarnessError(f"the builtin agent could not be started: {error}") from error
        self._deadline = time.monotonic() + self._tuning.start_s

    async def prompt(self, message: str, text: str) -> None:
        """See ports.Harness. If a turn is running after all it joins that as a steer: nothing said is lost."""
        await self._say("steer" if self._busy else "prompt", message, text)

    async def steer(self, message: str, text: str, *, interrupt: bool) -> None:
        """See ports.Harness. If the turn has just ended it begins another: the caller cannot know in time."""
        await self._say("steer" if self._busy else "prompt", message, text, interrupt=interrupt and self._busy)

    async def interrupt(self) -> None:
        """See ports.Harness; nothing happens if no turn is running."""
        if self._busy:
            await self._send({"kind": "interrupt"})

    async def answer(self, request: str, decision: str) -> None:
        """See ports.Harness.

        Raises:
            HarnessError: always, because this harness never asks.
        """
        raise HarnessError(f"the builtin harness asked nothing ({request!r})")

    async def pause(self) -> None:
        """See ports.Harness."""
        self._paused = True
        if self._process is not None and not self._ended:
            await self._process.pause()

    async def resume(self) -> None:
        """See ports.Harness."""
        self._paused = False
        if self._process is not None and not self._ended:
            await self._process.resume()

    async def stop(self, grace_s: float) -> Sequence[int]:
        """See ports.Harness. May be called again, and by any task; `events()` ends with Exit as always."""
        process = self._process
        if process is None:
            self._end(Exit(None, "it was never started", "start"))
            return []
        self._stopping = True
        if not self._ended:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._end_process, process, grace_s)
                while not self._ended:
                    await self._pump()
        left = process.exit.held if process.exit is not None else ()
        return [pid for pid in left if (found := read_process(pid)) is not None and found.state not in "ZX"]

    # ── down ──

    async def _say(self, kind: str, message: str, text: str, *, interrupt: bool = False) -> None:
        self._busy = True
        self._sent += 1
        self._undelivered.add(message)
        line = {"kind": kind, "seq": self._sent, "message": message, "text": text, "interrupt": interrupt}
        await self._send(line)

    async def _send(self, line: Mapping[str, object]) -> None:
        if self._process is None or self._process.stdin is None or self._ended:
            raise HarnessError("the builtin agent does not run")
        try:
            await self._process.stdin.send(encode(line) + b"\n")
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            raise HarnessError("the builtin agent listens no more") from None

    async def _end_process(self, process: ReapedProcess, grace_s: float) -> None:
        """Ask, wait, and end it: its own stop, then SIGTERM and SIGKILL by the reaper."""
        half = max(0.0, grace_s) / 2
        with anyio.move_on_after(half):
            with suppress(HarnessError):
                await self._send({"kind": "stop"})
            if self._paused:
                await process.resume()  # a frozen process hears nothing
            await process.wait()
        if process.exit is None:
            await process.terminate(half)

    # ── up ──

    async def _pump(self) -> None:
        """Take what comes next. Whoever waits for events does it; one at a time."""
        async with self._pumping:
            if self._ended:
                return
            if self._process is None:
                raise HarnessError("the builtin agent was not started")
            if self._lines:
                await self._take(self._process, self._lines.popleft())
            elif not await self._read(self._process):
                await self._finish(self._process)

    async def _read(self, process: ReapedProcess) -> bool:
        """Wait for output of the agent, or for a bound to pass; False at its end."""
        chunk: bytes | None = b""
        async with anyio.create_task_group() as tasks:

            async def watch() -> None:
                await process.wait()
                # All that could write is dead, so what is in the pipe ends; only what the OS holds could keep it open.
                await anyio.sleep(self._tuning.end_s)
                tasks.cancel_scope.cancel()

            async def expire() -> None:
                await anyio.sleep(max(0.0, self._deadline - time.monotonic()))
                tasks.cancel_scope.cancel()

            tasks.start_soon(watch)
            if self._log_open:
                tasks.start_soon(self._read_log, process)
            if self._stage != "run" and not self._paused and not self._why_killed:
                tasks.start_soon(expire)
            try:
                chunk = await process.stdout.receive(_CHUNK)
                self._cut(chunk)  # before anything can cancel this task
            except (anyio.EndOfStream, anyio.ClosedResourceError):
                chunk = None
            tasks.cancel_scope.cancel()
        if self._endless > _ENDLESS_LINE:
            await self._kill(process, "the agent told a line without an end")
        if chunk == b"" and process.exit is None and not self._paused:
            await self._kill(process, f"the agent was not ready within {self._tuning.start_s:g} s")
        return bool(chunk) or (chunk is not None and process.exit is None)

    def _cut(self, chunk: bytes) -> None:
        lines = list(self._cutter.feed(chunk))
        self._lines.extend(lines)
        self._endless = 0 if lines else self._endless + len(chunk)

    async def _read_log(self, process: ReapedProcess) -> None:
        try:
            while True:
                self._log = (self._log + await process.stderr.receive(_CHUNK))[-_LOG_TAIL:]
        except (anyio.EndOfStream, anyio.ClosedResourceError):
            self._log_open = False

    async def _kill(self, process: ReapedProcess, why: str) -> None:
        if not self._why_killed:
            self._why_killed = why
            await process.kill()

    async def _take(self, process: ReapedProcess, line: bytes | None) -> None:
        if line is None:
            told = None
        elif len(line) > _INLINE_PARSE:
            told = await anyio.to_thread.run_sync(parse, line)
        else:
            told = parse(line)
        if told is None or not await self._hear(told):
            self.noise += 1
            if self.noise > self._tuning.noise:
                await self._kill(process, f"the agent told {self.noise} lines that make no sense")

    async def _hear(self, told: Told) -> bool:
        """Act on it; False if it is out of place."""
        match told:
            case StartedTold(session, version) if self._stage == "start":
                self._stage = "mcp"
                self._events.append(Started(session, version))
            case ReadyTold() if self._stage == "mcp":
                self._stage = "run"
            case HoldTold() if told.id not in self._holds:
                await self._hold(told)
            case BookedTold() if told.id in self._holds:
                self._results_due = told.sent
                await self._book(told.id, told)
            case BookedTold():
                return not told.sent  # a call whose hold was refused is given up without having been made
            case StepTold(steps) if steps and self._results_due:
                self._results_due = False  # each reply's tools give back once: the journal must not be flooded
                self._events.append(StepTaken(steps))
            case DeliveredTold(message) if message in self._undelivered:
                self._undelivered.discard(message)
                self._events.append(Delivered(message))
            case IdleTold() if told.heard <= self._sent:
                self._events.append(told)
            case FatalTold():
                self._fatal = self._fatal or told
            case _:
                return False
        return True

    async def _hold(self, told: HoldTold) -> None:
        try:
            if len(self._holds) >= _OPEN_HOLDS or not 0 < told.call.max_output <= self._launch.max_output:
                raise Refused("budget_exhausted", "the agent asked for more than one call may have")
            hold = await self._ledger.hold(self._launch.attempt, told.call)
        except PalmetteError as refusal:  # whatever the ledger's trouble is: no hold, no call
            answer = {"kind": "hold_refused", "id": told.id, "code": refusal.code, "reason": refusal.message}
        else:
            self._holds[told.id] = hold
            answer = {"kind": "hold_granted", "id": told.id, "hold": hold}
        with suppress(HarnessError):  # it died meanwhile: the hold is closed at its end
            await self._send(answer)

    async def _book(self, name: str, told: BookedTold | None) -> None:
        """Close a hold. One that the agent left open may have been used: it is charged whole (B8)."""
        booked = told or BookedTold(name, None, self._launch.model, sent=True, steps=())
        hold = self._holds[name]
        try:
            await self._ledger.book(
                self._launch.attempt, hold, booked.usage, model=booked.model, steps=booked.steps, sent=booked.sent
            )
        except PalmetteError as refusal:  # the hold stays as it is; a restart charges what is open (B11)
            logger.warning("%s: hold %s could not be booked: %s", self._launch.attempt, hold, refusal.message)
        del self._holds[name]

    # ── the end ──

    async def _finish(self, process: ReapedProcess) -> None:
        """Its output has ended: see it gone, close its holds, tell the exit."""
        with anyio.move_on_after(self._tuning.end_s):
            await process.wait()
        if process.exit is None:
            await self._kill(process, "the agent closed its output and went on running")
        ended = process.exit
        with anyio.move_on_after(self._tuning.end_s):
            if self._log_open:
                await self._read_log(process)
        for name in list(self._holds):
            await self._book(name, None)
        await process.aclose()
        stage = self._fatal.stage if self._fatal else self._stage
        code = ended.code if ended else None
        self._end(Exit(code, self._reason(code), stage if stage in ("start", "mcp") else "run"))

    def _reason(self, code: int | None) -> str:
        if self._why_killed:
            return self._why_killed
        if self._fatal is not None:
            return self._fatal.reason
        if code == 0 or self._stopping:
            return ""
        words = clean(self._log.decode("utf-8", "replace")).strip().rsplit("\n", 1)[-1]
        return "".join(letter if letter.isprintable() else " " for letter in words)[:500] or "it was killed"

    def _end(self, left: Exit) -> None:
        if not self._ended:
            self._ended = True
            self._events.append(left)


def _write_launch_file(launch: Launch, tuning: Tuning) -> Path:
    """Write what the agent needs to know beside its home; no secret is in it, only where the token lies."""
    fields = {
        "session_directory": str(launch.session_directory),
        "session": launch.session,
        "workspace": str(launch.workspace or launch.directory),
        "relay_argv": list(launch.relay_argv),
        "token_file": str(launch.token_file),
        "system": launch.system,
        "model": launch.model,
        "model_url": launch.model_url,
        "max_output": launch.max_output,
        "tools": None if launch.tools is None else list(launch.tools),
        "silence_s": tuning.silence_s,
        "first_pause_s": tuning.first_pause_s,
    }
    for directory in (launch.directory, launch.directory / "tmp", launch.session_directory):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = launch.directory / "launch.json"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        json.dump(fields, file)
    return path
