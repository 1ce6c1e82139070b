"""Reaching a supervisor from a relay: find its socket, say hello, and start one where none runs.

Standard library only. Rules R1 (double fork), R2 (one of many relays starts it), R3 (not where a person stopped it),
R9 (wire version) of the stdio-relay note. Nothing here blocks: `Dialer.step` is called until it answers.
"""

import errno
import fcntl
import json
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple, cast

from palmette.servers import places
from palmette.servers.relay_wire import HELLO_LIMIT, WIRE, printable

__all__ = ["DialError", "Dialer", "DownError", "Link", "Target", "clean_environment"]

_HELLO_SECONDS = 10.0
_NOBODY = frozenset({errno.ENOENT, errno.ECONNREFUSED, errno.ECONNRESET, errno.EPIPE, errno.EAGAIN})


class DialError(Exception):
    """There is no supervisor to be had. The text is one line: the cause and the next command."""


class DownError(Exception):
    """A person stopped the supervisor and nothing may start it (R3)."""


class Link(NamedTuple):
    """A connection whose hello was answered; `rest` is what came behind the answer."""

    sock: socket.socket
    version: str
    rest: bytes


class Target(NamedTuple):
    """What to dial. With `data` None the socket is dialled and nothing is ever started (inside a node).

    `find` names the socket's path at each attempt; `command` is the supervisor's argv. `patience` is how many seconds a
    supervisor may take to come up: a cold one takes about 1, with a million events 3.
    """

    find: Callable[[], str]
    hello: bytes
    version: str
    data: str | None = None
    command: tuple[str, ...] = ()
    patience: float = 20.0


def clean_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What a supervisor that a relay starts may inherit: no key of a harness, no secret (DESIGN §2)."""
    names = {"PATH", "HOME", "LANG", "TMPDIR", "USER", "LOGNAME"}
    secret = ("TOKEN", "KEY", "SECRET", "PASSWORD")
    return {
        name: value
        for name, value in environ.items()
        if name in names
        or name.startswith(("LC_", "XDG_"))
        or (name.startswith("PALMETTE_") and not any(word in name for word in secret))
    }


class Dialer:
    """One search for a supervisor, as long as the target's patience; make a new one for the next search."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._deadline = time.monotonic() + target.patience
        self._sock: socket.socket | None = None
        self._greeted = 0.0
        self._answer = b""
        self._lock: int | None = None
        self._starting: int | None = None
        self._launched = False
        self._log_from = 0

    def fileno(self) -> int | None:
        """The descriptor to wait on for the hello's answer, if one is awaited."""
        return None if self._sock is None else self._sock.fileno()

    def step(self) -> Link | None:
        """Try once, without blocking; None means "again in 30 ms, or when `fileno` is readable".

        Raises DialError (hopeless, or too long), DownError (a person stopped it).
        """
        if self._sock is None:
            self._sock = self._connect()
        if self._sock is None:
            self._start()
        if self._sock is not None and (link := self._greet(self._sock)) is not None:
            self._sock = None
            self.close()
            return link
        if time.monotonic() > self._deadline:
            raise DialError(f"the supervisor did not answer within {self._target.patience:.0f} s; {self._where()}")
        return None

    def close(self) -> None:
        """Let go of everything but a supervisor that was started."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None
        for descriptor in (self._lock, self._starting):
            if descriptor is not None:
                os.close(descriptor)
        self._lock = self._starting = None

    def _connect(self) -> socket.socket | None:
        sock = socket.socket(socket.AF_UNIX)
        sock.setblocking(False)
        try:
            sock.connect(self._target.find())
            sock.sendall(self._target.hello)
        except OSError as error:
            sock.close()
            if error.errno not in _NOBODY:
                raise DialError(
                    f"the supervisor's socket cannot be used ({error.strerror}); {self._where()}"
                ) from error
            return None
        except places.PlaceError as error:
            sock.close()
            raise DialError(str(error)) from error
        self._greeted, self._answer = time.monotonic(), b""
        return sock

    def _greet(self, sock: socket.socket) -> Link | None:
        try:
            chunk = sock.recv(HELLO_LIMIT)
        except BlockingIOError:
            if time.monotonic() - self._greeted > _HELLO_SECONDS:
                self._drop()
            return None
        except OSError:
            chunk = b""
        self._answer += chunk
        line, end, rest = self._answer.partition(b"\n")
        if end:
            return Link(sock, self._accepted(line), rest)
        if not chunk or len(self._answer) > HELLO_LIMIT:
            self._drop()
        return None

    def _drop(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def _accepted(self, line: bytes) -> str:
        try:
            value: object = json.loads(line)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise DialError(f"what listens on the supervisor's socket is no palmette supervisor; {self._where()}")
        answer = cast(dict[str, object], value)
        version = str(answer.get("version"))
        if answer.get("palmette") != WIRE:
            raise DialError(
                f"this relay (palmette {self._target.version}) speaks wire version {WIRE}, the supervisor (palmette "
                f"{printable(version)}) speaks {printable(str(answer.get('palmette')))}; palmette down && palmette up"
            )
        if "error" in answer:
            cause = printable(str(answer.get("message") or answer["error"]))
            hint = printable(str(answer.get("hint") or "palmette doctor"))
            raise DialError(f"the supervisor refuses this relay: {cause}; {hint}")
        return version

    def _start(self) -> None:
        """Nobody listens: see to it that somebody will, once for all relays that see the same."""
        data = self._target.data
        if data is None:
            return
        if os.path.exists(places.down_marker(data)):
            raise DownError
        if self._starting is not None:
            if select.select([self._starting], [], [], 0)[0]:  # only the end of file can come
                os.close(self._starting)
                self._starting = None
                self._died(data)
            return
        if self._launched or not self._target.command or not self._locked(data):
            return
        self._sock = self._connect()  # whoever held the lock until now may have brought one up
        if self._sock is None:
            self._log_from = _size(places.supervisor_log(data))
            self._starting = _launch(self._target.command, data)
            self._launched = True

    def _locked(self, data: str) -> bool:
        try:
            places.ensure_data_directory(data)
            if self._lock is None:
                flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
                self._lock = os.open(places.start_lock(data), flags, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except places.PlaceError as error:
            raise DialError(str(error)) from error
        except OSError as error:
            raise DialError(f"{data} cannot be written ({error.strerror}); give another with --data DIR") from error
        return True

    def _died(self, data: str) -> None:
        if _is_locked(places.supervisor_lock(data)):
            return  # another supervisor owns the directory, ours gave way: go on dialling
        said = _last_words(places.supervisor_log(data), self._log_from)
        if not said and places.is_full(data):
            said = ": the disk is full, free space or give --data DIR"
        raise DialError(f"the supervisor ended while starting{said}; see {places.supervisor_log(data)}")

    def _where(self) -> str:
        return "palmette doctor" if self._target.data is None else f"see {places.supervisor_log(self._target.data)}"


def _launch(command: tuple[str, ...], data: str) -> int:
    """Start a supervisor that is nobody's child (R1). Returns a descriptor whose end of file says that it has ended.

    A single fork is not enough: opencode ends every descendant of its servers, sessions of their own included.
    """
    environment = clean_environment(os.environ)
    read, write = os.pipe()
    child = os.fork()
    if child:
        os.close(write)
        os.waitpid(child, 0)
        return read
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        os.umask(0o077)
        os.chdir("/")
        log = os.open(places.supervisor_log(data), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.dup2(write, 3)
        os.set_inheritable(3, True)  # dup2 onto itself leaves close-on-exec as it was
        # All above is closed: what the harness leaked to us must not live as long as the supervisor.
        os.closerange(4, os.sysconf("SC_OPEN_MAX"))
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        os.execve(command[0], command, environment)  # noqa: S606 - argv is ours, no shell
    except OSError as error:
        os.write(2, f"palmette: cannot start {command[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(127)


def _is_locked(path: str) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _last_words(path: str, start: int) -> str:
    """The last line written behind `start`, made harmless for a terminal, as ": text"; an error with its next step."""
    try:
        with open(path, "rb") as log:
            log.seek(max(start, _size(path) - 4096))
            lines = log.read(4096).decode(errors="replace").strip().splitlines()
    except OSError:
        return ""
    if not lines:
        return ""
    before, arrow, hint = lines[-1].partition("→ ")
    if arrow and not before.strip() and len(lines) > 1:  # how the command line ends an error
        return f": {printable(lines[-2].removeprefix('error: '))}; {printable(hint)}"
    return f": {printable(lines[-1])}"
