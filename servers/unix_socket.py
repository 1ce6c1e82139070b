"""A unix socket to listen on, and its connections.

Not anyio's own unix streams: their readiness callback is not guarded against a cancellation that comes in the same turn
of the event loop (anyio 4.16, `_wait_until_readable`), so ending a server logged "invalid state" now and then.
`anyio.wait_readable` is guarded.
"""

import errno
import logging
import os
import socket
import stat
import struct
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import anyio
import anyio.lowlevel

__all__ = ["Peer", "SocketInUseError", "UnixSocket", "accept_all", "listening"]

logger = logging.getLogger(__name__)

_BACKLOG = 128
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_EXHAUSTED_SECONDS = 0.1


class SocketInUseError(Exception):
    """Somebody listens on the socket already."""


@dataclass(frozen=True)
class Peer:
    """Who is at the other end, by the kernel's word (SO_PEERCRED)."""

    pid: int
    uid: int
    gid: int


class UnixSocket:
    """A connected unix stream socket."""

    def __init__(self, raw: socket.socket) -> None:
        raw.setblocking(False)
        self._raw = raw

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        anyio.notify_closing(self._raw)
        self._raw.close()

    def peer(self) -> Peer:
        """The other end's process and user."""
        return Peer(*struct.unpack("3i", self._raw.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)))

    async def receive(self, size: int) -> bytes:
        """At most `size` bytes. Raises anyio.EndOfStream at the end, anyio.BrokenResourceError if the peer broke."""
        await anyio.lowlevel.checkpoint()
        while True:
            try:
                data = self._raw.recv(size)
            except BlockingIOError:
                await anyio.wait_readable(self._raw)
            except OSError as error:
                raise anyio.BrokenResourceError from error
            else:
                if not data:
                    raise anyio.EndOfStream
                return data

    async def send(self, data: bytes) -> None:
        """Send all of `data`, as fast as the peer reads. Raises anyio.BrokenResourceError if it is gone."""
        await anyio.lowlevel.checkpoint()
        view = memoryview(data)
        while view:
            try:
                view = view[self._raw.send(view) :]
            except BlockingIOError:
                await anyio.wait_writable(self._raw)
            except OSError as error:
                raise anyio.BrokenResourceError from error


@contextmanager
def listening(path: str) -> Generator[socket.socket]:
    """Listen at `path` (mode 0600) and take the socket away at the end, unless a successor has put its own there.

    Raises SocketInUseError if somebody listens there, FileExistsError if what is there is no socket, OSError.
    """
    _clear_stale(path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.setblocking(False)
        listener.bind(path)
        made = os.lstat(path)
        try:
            os.chmod(path, 0o600)  # before listen, so that nobody connects earlier
            listener.listen(_BACKLOG)
            yield listener
        finally:
            _unlink_own(path, made)


async def accept_all(listener: socket.socket, handle: Callable[[UnixSocket], Awaitable[None]]) -> None:
    """Run `handle` for each connection until cancelled; its connections are cancelled with it."""

    async def connection(raw: socket.socket) -> None:
        async with UnixSocket(raw) as accepted:
            await handle(accepted)

    async with anyio.create_task_group() as tasks:
        while True:
            await anyio.wait_readable(listener)
            try:
                raw, _ = listener.accept()
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    logger.warning("no connection can be accepted for now: %s", error.strerror)
                    await anyio.sleep(_EXHAUSTED_SECONDS)  # the listener stays readable: not in a busy loop
                elif error.errno not in (errno.EAGAIN, errno.ECONNABORTED, errno.EINTR):
                    raise
            else:
                tasks.start_soon(connection, raw)


def _clear_stale(path: str) -> None:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise FileExistsError(errno.EEXIST, "in the way, and no socket", path)
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except BlockingIOError:
            pass  # its backlog is full: somebody is there
        except OSError:
            os.unlink(path)
            return
    raise SocketInUseError(f"somebody listens on {path} already: palmette up --status")


def _unlink_own(path: str, made: os.stat_result) -> None:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if (found.st_dev, found.st_ino) == (made.st_dev, made.st_ino):
        os.unlink(path)
