"""The subreaper: starts one command and sees to it that nothing of it is left. A program; stdlib only.

    python -I -S reaper.py --lock FILE --control-fd N --status-fd N --attempt ID [--grace S] -- COMMAND…

It takes the standard streams for the command and becomes the parent of every orphan below it
(PR_SET_CHILD_SUBREAPER), so that "no children" (ECHILD) is the kernel's word that no descendant lives, double-forked
daemons included. It ends them when the command ends, when told to, and when its control pipe closes, which is what
happens when the supervisor dies by any means.

Control, one line each: `term SECONDS` · `kill` · `pause` · `resume`. Status, one JSON object each:
`{event: started, pid, start}` · `{event: paused|resumed, count}` · `{event: exit, exit, signal, killed, left, held}`,
or `{event: refused, reason}` when the command could not be started. It holds a lock on FILE for its life and keeps its
record in it, so that a later supervisor can wait for it, or mend what a killed reaper left (`stale.py`).
"""

import argparse
import contextlib
import ctypes
import fcntl
import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

PR_SET_CHILD_SUBREAPER = 36
ROUND_S = 0.02
KILL_BOUND_S = 30.0
FREEZE_FOR_KILL_S = 1.0
FREEZE_FOR_PAUSE_S = 5.0
OPEN_FILES = 4096


@dataclass(frozen=True)
class Process:
    """One row of the process table; `start` is in clock ticks since boot and tells a pid from its next bearer."""

    pid: int
    parent: int
    group: int
    session: int
    start: int
    state: str


def read_process(pid: int) -> Process | None:
    """Read /proc/<pid>/stat; None if there is no such process any more."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read()
    except OSError:
        return None
    # The name, in parentheses, may hold anything, also `) R 1`: the last parenthesis ends it.
    fields = text[text.rindex(b")") + 2 :].split()
    return Process(pid, int(fields[1]), int(fields[2]), int(fields[3]), int(fields[19]), fields[0].decode())


def process_table() -> dict[int, Process]:
    """Every process that is shown to us, zombies too."""
    found = (read_process(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return {process.pid: process for process in found if process is not None}


def descendants(roots: set[int], table: dict[int, Process]) -> list[Process]:
    """All processes below `roots`, without the roots, parents first."""
    children: dict[int, list[Process]] = {}
    for process in table.values():
        children.setdefault(process.parent, []).append(process)
    out: list[Process] = []
    pending = list(roots)
    while pending:
        below = children.get(pending.pop(), [])
        out += below
        pending += [process.pid for process in below]
    return out


def crowds(processes: list[Process], own_session: int) -> set[int]:
    """The process groups with several members among `processes`.

    A signal to a group reaches all its members at once, those that are just being forked too, which is how a fork bomb
    is overtaken. A group lies within one session, and the command began a session of its own, so a group seen below us
    holds none but our descendants.
    """
    counts: dict[int, int] = {}
    for process in processes:
        if process.session != own_session:
            counts[process.group] = counts.get(process.group, 0) + 1
    return {group for group, count in counts.items() if count > 1 and group > 1}


def send_group(group: int, number: int) -> None:
    """Signal a group; that it is gone already is fine."""
    with contextlib.suppress(OSError):
        os.killpg(group, number)


def send(process: Process, number: int) -> bool:
    """Signal exactly this process, never a later bearer of its pid; False if it is gone or not ours to signal."""
    try:
        handle = os.pidfd_open(process.pid)
    except OSError:
        return False
    try:
        now = read_process(process.pid)
        if now is None or now.start != process.start:
            return False
        signal.pidfd_send_signal(handle, number)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


class Reaper:
    """State of the one command: who is to be killed, who was, and how the command ended."""

    def __init__(self, status: int) -> None:
        self._status = status
        self.main = 0
        self.exit: int | None = None
        self.signal: int | None = None
        self.ended = False
        self._killed: set[tuple[int, int]] = set()

    def tell(self, **fields: object) -> None:
        """Write a status line; nobody may be there to read it."""
        with contextlib.suppress(OSError):
            os.write(self._status, json.dumps(fields).encode() + b"\n")

    def reap(self) -> bool:
        """Collect the dead; True if no descendant is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return True
            if pid == 0:
                return False
            if pid == self.main:
                self.ended = True
                if os.WIFSIGNALED(status):
                    self.signal = os.WTERMSIG(status)
                else:
                    self.exit = os.waitstatus_to_exitcode(status)

    def living(self) -> list[Process]:
        """Our descendants that are not dead yet."""
        return [process for process in descendants({os.getpid()}, process_table()) if process.state not in "ZX"]

    def freeze(self, bound: float) -> int:
        """Stop every descendant until the kernel shows all of them stopped, or `bound` seconds; return how many are.

        Repeatedly: new ones are born meanwhile, a peer may wake one up, and a stop takes a moment to arrive.
        """
        deadline = time.monotonic() + bound
        while True:
            living = self.living()
            moving = [process for process in living if process.state not in "Tt"]
            if not moving or time.monotonic() > deadline:
                return len(living) - len(moving)
            for group in crowds(moving, os.getsid(0)):
                send_group(group, signal.SIGSTOP)
            for process in moving:
                send(process, signal.SIGSTOP)

    def signal_all(self, number: int) -> int:
        """Send a signal to every descendant; return to how many."""
        return sum(send(process, number) for process in self.living())

    def kill_all(self) -> list[int]:
        """Kill every descendant until the kernel shows none, within a bound; return the pids that are left."""
        deadline = time.monotonic() + KILL_BOUND_S
        while not self.reap():
            # Frozen first: a fork bomb that is only killed one by one outruns us, one that is stopped cannot fork.
            self.freeze(FREEZE_FOR_KILL_S)
            living = self.living()
            self._killed |= {(process.pid, process.start) for process in living}
            for group in crowds(living, os.getsid(0)):
                send_group(group, signal.SIGKILL)
            for process in living:
                send(process, signal.SIGKILL)
            if time.monotonic() > deadline:
                return [process.pid for process in self.living()]
            time.sleep(ROUND_S)
        return []

    def finish(self, grace: float) -> list[int]:
        """TERM, a grace, KILL; return the pids that are left."""
        if grace > 0 and not self.reap():
            self.signal_all(signal.SIGTERM)
            self.signal_all(signal.SIGCONT)  # a paused process only acts on SIGTERM once it goes on
            deadline = time.monotonic() + grace
            while not self.reap() and time.monotonic() < deadline:
                time.sleep(ROUND_S)
        return self.kill_all()

    def report(self, held: list[int]) -> None:
        """The last status line."""
        killed = len({pid for pid, _ in self._killed} - {self.main})
        self.tell(event="exit", exit=self.exit, signal=self.signal, killed=killed, left=len(held), held=held)


def watch(reaper: Reaper, control: int, wake: int, grace: float) -> list[int]:
    """Serve until the command has ended or is to be ended; return the pids that could not be ended."""
    buffer = b""
    while True:
        ready, _, _ = select.select([control, wake], [], [])
        if wake in ready:
            os.read(wake, 4096)
            reaper.reap()
            if reaper.ended:
                return reaper.kill_all()
        if control not in ready:
            continue
        chunk = os.read(control, 4096)
        if not chunk:
            return reaper.finish(grace)
        *lines, buffer = (buffer + chunk).split(b"\n")
        for line in lines:
            word, _, value = line.decode().partition(" ")
            if word == "term":
                return reaper.finish(float(value))
            if word == "kill":
                return reaper.kill_all()
            if word == "pause":
                reaper.tell(event="paused", count=reaper.freeze(FREEZE_FOR_PAUSE_S))
            elif word == "resume":
                reaper.tell(event="resumed", count=reaper.signal_all(signal.SIGCONT))


def note(_number: int, _frame: object) -> None:
    """A handler, because an ignored signal would stay ignored in the command."""


def prepare() -> int:
    """Become a subreaper, deaf to what a terminal or a careless kill sends; return the pipe that SIGCHLD writes to."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "PR_SET_CHILD_SUBREAPER")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(OPEN_FILES, most), most))
    wake, wake_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake_end, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT, signal.SIGPIPE):
        signal.signal(number, note)
    return wake


def keep_record(lock: int, record: dict[str, object]) -> None:
    """Replace what the lock file says."""
    os.ftruncate(lock, 0)
    os.pwrite(lock, json.dumps(record).encode() + b"\n", 0)


def main() -> int:
    """Start the command, hold it, end it, report it. Exits 0 once nothing is left, 3 otherwise, 2 if it never began."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--lock", required=True)
    parser.add_argument("--control-fd", type=int, required=True)
    parser.add_argument("--status-fd", type=int, required=True)
    parser.add_argument("--attempt", required=True)
    parser.add_argument("--grace", type=float, default=2.0)
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    for descriptor in (options.control_fd, options.status_fd):
        os.set_inheritable(descriptor, False)
    reaper = Reaper(options.status_fd)
    try:
        wake = prepare()
        lock = os.open(options.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        myself = read_process(os.getpid())
        record: dict[str, object] = {
            "attempt": options.attempt,
            "reaper": os.getpid(),
            "start": myself.start if myself else 0,
            "main": 0,
            "over": False,
        }
        keep_record(lock, record)
        command = subprocess.Popen(options.command, start_new_session=True, close_fds=True)
    except OSError as error:
        reaper.tell(event="refused", reason=f"{error.strerror}: {error.filename or options.command[0]}")
        return 2
    reaper.main = command.pid
    command.returncode = 0  # this program reaps its children itself
    record["main"] = command.pid
    keep_record(lock, record)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):  # else the command's streams would not end with it
        os.dup2(null, descriptor)
    started = read_process(command.pid)
    reaper.tell(event="started", pid=command.pid, start=started.start if started else 0)
    held = watch(reaper, options.control_fd, wake, options.grace)
    record["over"] = not held
    keep_record(lock, record)
    reaper.report(held)
    return 3 if held else 0


if __name__ == "__main__":
    sys.exit(main())
