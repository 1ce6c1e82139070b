"""The supervisor's side of the subreaper: start a command, pause it, end it, and believe only what the OS confirms."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import anyio
import anyio.to_thread
from anyio.abc import ByteReceiveStream, ByteSendStream, Process

from palmette.sandbox.errors import IsolationError
from palmette.sandbox.isolation.stale import ATTEMPT_VARIABLE, Record, end_survivors, read_record

__all__ = ["ExecResult", "Exit", "ReapedProcess", "run_reaped"]

_REAPER = Path(__file__).with_name("reaper.py")
_START_S = 30.0
_KILL_MARGIN_S = 40.0
_READ = 65536


@dataclass(frozen=True)
class Exit:
    """How a command ended, and what is left of it.

    Attributes:
        code: its exit code; None if a signal ended it, or nobody saw it end.
        signal: the signal that ended it.
        killed: descendants that had to be killed.
        held: pids that could not be ended; empty is the confirmation that nothing is left.
        reaper_lost: the reaper itself was killed; survivors were then looked for by their mark.
    """

    code: int | None
    signal: int | None
    killed: int
    held: tuple[int, ...]
    reaper_lost: bool = False

    @property
    def confirmed(self) -> bool:
        """Whether nothing of it is left."""
        return not self.held


@dataclass(frozen=True)
class ExecResult:
    """What a bounded command gave back.

    Attributes:
        exit: how it ended.
        stdout: what it printed, cut at the cap; so is `stderr`.
        timed_out: it was ended for its time.
        truncated: it was ended for its output.
    """

    exit: Exit
    stdout: bytes
    stderr: bytes
    timed_out: bool
    truncated: bool


class ReapedProcess:
    """One command under a reaper, from start to confirmed end.

    Its streams and methods may be used by several tasks of one event loop. Closing it (`aclose`, or leaving `async
    with`) ends it; so does the death of this process, by any means, since the control pipe then closes.
    """

    def __init__(self, process: Process, attempt: str, lock: Path, control: int, status: int) -> None:
        self._process = process
        self._attempt = attempt
        self._lock = lock
        self._control: int | None = control
        self._status: int | None = status
        self._buffer = b""
        self._changed = anyio.Event()
        self._reading = False
        self._ended = False
        self._exit: Exit | None = None
        self._refused = ""
        self._acknowledged = {"paused": 0, "resumed": 0}
        self.pid = 0
        """Pid of the command, and of its session."""

    @classmethod
    async def start(
        cls,
        argv: Sequence[str],
        *,
        attempt: str,
        env: Mapping[str, str],
        cwd: Path,
        lock: Path,
        grace_s: float = 2.0,
        stdin: bool = True,
    ) -> "ReapedProcess":
        """Start a command.

        Args:
            argv: the command.
            attempt: marks every process of it (`PALMETTE_ATTEMPT`).
            env: its whole environment; nothing is inherited.
            cwd: where it runs.
            lock: the reaper's lock file; one per life of a command, in the directory that `reap_stale` looks at.
            grace_s: seconds between SIGTERM and SIGKILL when this process dies.
            stdin: give it a pipe; otherwise it reads nothing.

        Raises:
            IsolationError: `launch_failed`.
        """
        if any("\0" in text for text in (*argv, *env.values(), str(cwd))):
            raise IsolationError("launch_failed", "a command, its environment or directory holds a NUL")
        control_end, control = os.pipe2(os.O_CLOEXEC)
        status, status_end = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(status, False)
        command = [sys.executable, "-I", "-S", str(_REAPER), f"--lock={lock}", f"--attempt={attempt}"]
        command += [f"--control-fd={control_end}", f"--status-fd={status_end}", f"--grace={grace_s}", "--", *argv]
        try:
            process = await anyio.open_process(
                command,
                env={**env, ATTEMPT_VARIABLE: attempt},
                cwd=cwd,
                stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
                start_new_session=True,
                pass_fds=(control_end, status_end),
            )
        except OSError as error:
            os.close(control)
            os.close(status)
            raise IsolationError("launch_failed", f"{argv[0]!r} could not be started: {error}") from error
        finally:
            os.close(control_end)
            os.close(status_end)
        self = cls(process, attempt, lock, control, status)
        try:
            with anyio.move_on_after(_START_S):
                await self._until(lambda: self.pid != 0 or self._ended)
            if self.pid == 0:
                reason = self._refused or "its reaper did not answer"
                raise IsolationError("launch_failed", f"{argv[0]!r} could not be started: {reason}")
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aenter__(self) -> "ReapedProcess":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    @property
    def stdin(self) -> ByteSendStream | None:
        """The command's standard input; None without a pipe."""
        return self._process.stdin

    @property
    def stdout(self) -> ByteReceiveStream:
        """The command's standard output."""
        return cast("ByteReceiveStream", self._process.stdout)

    @property
    def stderr(self) -> ByteReceiveStream:
        """The command's standard error."""
        return cast("ByteReceiveStream", self._process.stderr)

    @property
    def exit(self) -> Exit | None:
        """How it ended; None while it runs, or while nobody has waited for it."""
        return self._exit

    async def wait(self) -> Exit:
        """Wait until the command has ended and its descendants with it."""
        await self._until(lambda: self._ended)
        if self._exit is None:
            await self._mend()
        return cast("Exit", self._exit)

    async def terminate(self, grace_s: float) -> Exit:
        """SIGTERM to all of it, then SIGKILL after `grace_s` seconds; return once the OS confirms, or holds."""
        self._order(f"term {max(0.0, grace_s)}")
        return await self._ordered_end(grace_s)

    async def kill(self) -> Exit:
        """SIGKILL to all of it at once."""
        self._order("kill")
        return await self._ordered_end(0)

    async def pause(self) -> None:
        """Freeze it and every descendant; returns when they are stopped."""
        await self._ordered("pause", "paused")

    async def resume(self) -> None:
        """Let it go on."""
        await self._ordered("resume", "resumed")

    async def aclose(self) -> None:
        """End it at once if it runs, wait for the confirmation, free what is ours. Idempotent."""
        with anyio.CancelScope(shield=True):
            if self._status is not None:
                if not self._ended:
                    self._order("kill")
                    await self._ordered_end(0)
                os.close(self._status)
                self._status = None
            if self._control is not None:
                os.close(self._control)
                self._control = None
            await self._process.aclose()
            if self._exit is not None and self._exit.confirmed:
                await anyio.to_thread.run_sync(lambda: self._lock.unlink(missing_ok=True))

    async def _ordered_end(self, grace_s: float) -> Exit:
        with anyio.move_on_after(grace_s + _KILL_MARGIN_S):
            return await self.wait()
        # The reaper neither ends nor answers: it is stopped, or starved. Its work is done from here.
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._mend()
        return cast("Exit", self._exit)

    async def _ordered(self, order: str, answer: str) -> None:
        before = self._acknowledged[answer]
        self._order(order)
        await self._until(lambda: self._ended or self._acknowledged[answer] > before)

    def _order(self, line: str) -> None:
        if self._control is not None:
            with suppress(OSError):  # the reaper is gone: wait() tells
                os.write(self._control, line.encode() + b"\n")

    async def _until(self, done: Callable[[], bool]) -> None:
        # Whoever comes first reads the status pipe, the others wait for what he finds; if he is cancelled another
        # takes over. So no task of our own is needed.
        while not done():
            if self._reading:
                await self._changed.wait()
                continue
            if self._status is None:
                self._ended = True
                return
            self._reading = True
            try:
                await anyio.wait_readable(self._status)
                self._read(self._status)
            finally:
                self._reading = False
                changed, self._changed = self._changed, anyio.Event()
                changed.set()

    def _read(self, status: int) -> None:
        try:
            chunk = os.read(status, _READ)
        except BlockingIOError:
            return
        if not chunk:
            self._ended = True
            return
        *lines, self._buffer = (self._buffer + chunk).split(b"\n")
        for line in lines:
            self._take(cast("Mapping[str, object]", json.loads(line)))

    def _take(self, told: Mapping[str, object]) -> None:
        event = str(told["event"])
        if event == "started":
            self.pid = cast("int", told["pid"])
        elif event == "refused":
            self._refused = str(told["reason"])
            self._exit = Exit(None, None, 0, ())
            self._ended = True
        elif event == "exit":
            held = tuple(cast("list[int]", told["held"]))
            code, number = cast("int | None", told["exit"]), cast("int | None", told["signal"])
            self._exit = Exit(code, number, cast("int", told["killed"]), held)
            self._ended = True
        else:
            self._acknowledged[event] += 1

    async def _mend(self) -> None:
        """The reaper died without a last word: end what it left, by mark, session and descent."""
        self._ended = True
        record = await anyio.to_thread.run_sync(_record_of, self._lock)
        if record is None:
            record = Record(self._attempt, self._process.pid, 0, self.pid, over=False)
        killed, left = await anyio.to_thread.run_sync(end_survivors, record)
        self._exit = Exit(None, None, len(killed), tuple(left), reaper_lost=True)


async def run_reaped(
    argv: Sequence[str],
    *,
    attempt: str,
    env: Mapping[str, str],
    cwd: Path,
    lock: Path,
    timeout_s: float,
    max_output: int = 10 * 1024 * 1024,
    stdin: bytes = b"",
) -> ExecResult:
    """Run a command to its end, bounded in time and output; whatever it started is ended with it.

    Raises:
        IsolationError: `launch_failed`.
    """
    process = await ReapedProcess.start(argv, attempt=attempt, env=env, cwd=cwd, lock=lock, stdin=bool(stdin))
    captured = {"stdout": bytearray(), "stderr": bytearray()}
    truncated = False

    async def drain(stream: ByteReceiveStream, name: str) -> None:
        nonlocal truncated
        with suppress(anyio.EndOfStream, anyio.ClosedResourceError):
            while True:
                captured[name].extend(await stream.receive(_READ))
                if len(captured[name]) > max_output:
                    del captured[name][max_output:]
                    truncated = True
                    await process.kill()
                    return

    async def feed(stream: ByteSendStream) -> None:
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            await stream.send(stdin)
            await stream.aclose()

    async with process:
        with anyio.move_on_after(timeout_s) as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(drain, process.stdout, "stdout")
                tasks.start_soon(drain, process.stderr, "stderr")
                if process.stdin is not None and stdin:
                    tasks.start_soon(feed, process.stdin)
                await process.wait()
        ended = await (process.kill() if scope.cancelled_caught else process.wait())
    return ExecResult(ended, bytes(captured["stdout"]), bytes(captured["stderr"]), scope.cancelled_caught, truncated)


def _record_of(lock: Path) -> Record | None:
    with suppress(OSError):
        return read_record(lock.read_bytes())
    return None
