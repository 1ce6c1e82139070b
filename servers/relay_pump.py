"""The relay at work: one thread, one poll loop between the harness's two streams and the supervisor's socket.

Standard library only. Rules R3 (start, or not, again), R6 (nothing blocks, buffers are bounded), R7 (the end) of the
stdio-relay note.
"""

import os
import select
import sys
import time

from palmette.servers import places
from palmette.servers.relay_dial import Dialer, DialError, DownError, Link, Target
from palmette.servers.relay_exchange import Exchange, Refusal, ReplayRefusedError, Turn
from palmette.servers.relay_wire import LineCutter, printable

__all__ = ["Relay"]

_BUFFER = 1024 * 1024
"""Bytes waiting for a slow reader above which nothing more is read for it (R6)."""
_KEPT = 64 * 1024 * 1024
"""Bytes of unanswered requests, or of unread answers of our own, above which the harness is not read."""
_CHUNK = 256 * 1024
_DIAL_EVERY_MS = 30
_DRAIN_SECONDS = 2.0

_DOWN = Refusal("supervisor_down", "the supervisor was stopped by a person", "palmette up")


class Relay:
    """One relay process: its two streams, its connection, and what it remembers."""

    def __init__(self, target: Target, stdin: int = 0, stdout: int = 1) -> None:
        self._target = target
        self._stdin, self._stdout = stdin, stdout
        self._exchange = Exchange()
        self._from_harness, self._from_supervisor = LineCutter(), LineCutter()
        self._up, self._out = bytearray(), bytearray()
        self._link: Link | None = None
        self._dialer: Dialer | None = None
        self._end: float | None = None
        self._finished = False

    def run(self) -> int:
        """Pump until the harness closes its stream. Returns the exit status."""
        data = self._target.data
        if data is None or not os.path.exists(places.down_marker(data)):
            self._dialer = Dialer(self._target)
        try:
            while not self._finished:
                self._turn()
        except DialError as error:
            return self._fail(str(error))
        except ReplayRefusedError as error:
            return self._fail(f"the restarted supervisor refused this session: {error}; start the session again")
        finally:
            if self._dialer is not None:
                self._dialer.close()
            if self._link is not None:
                self._link.sock.close()
        self._flush(_DRAIN_SECONDS)
        return 0

    def _turn(self) -> None:
        """Wait for something and do it."""
        if self._dialer is not None:
            self._dial(self._dialer)
        elif self._link is None and self._exchange.waiting and self._end is None:
            self._dialer = Dialer(self._target)
            return
        if self._end is not None and (self._link is None or time.monotonic() > self._end):
            self._finished = True
            return
        ready = self._poll()
        if ready.get(self._stdout, 0) & (select.POLLERR | select.POLLNVAL):
            self._finished = True  # the harness is gone
            return
        if ready.get(self._stdout, 0) & select.POLLOUT:
            self._write_out()
        if self._link is not None:
            happened = ready.get(self._link.sock.fileno(), 0)
            if happened & select.POLLOUT:
                self._write_up(self._link)
            if happened & ~select.POLLOUT:
                self._read_supervisor(self._link)
        if ready.get(self._stdin, 0):
            self._read_harness()

    def _poll(self) -> dict[int, int]:
        """The events of one wait, by descriptor."""
        poll = select.poll()
        timeout: float | None = None
        # Always watched for its reader's end; written to only when it has room, at most PIPE_BUF at once, so that a
        # write never blocks and the descriptor, which is not ours alone, can stay as the harness made it.
        poll.register(self._stdout, select.POLLOUT if self._out else 0)
        kept = max(len(self._out), self._exchange.held)
        if self._end is None and len(self._up) < _BUFFER and kept < _KEPT:
            poll.register(self._stdin, select.POLLIN)
        if self._link is not None:
            events = (select.POLLIN if len(self._out) < _BUFFER else 0) | (select.POLLOUT if self._up else 0)
            if events:
                poll.register(self._link.sock.fileno(), events)
        if self._dialer is not None:
            timeout = _DIAL_EVERY_MS
            if (descriptor := self._dialer.fileno()) is not None:
                poll.register(descriptor, select.POLLIN)
        elif self._end is not None:
            timeout = max(0.0, self._end - time.monotonic()) * 1000 + 1
        return dict(poll.poll(timeout))

    def _dial(self, dialer: Dialer) -> None:
        try:
            link = dialer.step()
        except DownError:
            dialer.close()
            self._dialer = None
            self._send(Turn(out=self._exchange.refuse(_DOWN)))
            return
        if link is not None:
            self._dialer, self._link = None, link
            self._from_supervisor = LineCutter()
            self._send(self._exchange.resume(link.version))
            self._take(link.rest)

    def _read_harness(self) -> None:
        chunk = os.read(self._stdin, _CHUNK)
        if not chunk:
            self._end = time.monotonic() + _DRAIN_SECONDS
            self._half_close()
            return
        for line in self._from_harness.feed(chunk):
            self._send(self._exchange.from_harness(line))

    def _read_supervisor(self, link: Link) -> None:
        try:
            chunk = link.sock.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""
        if chunk:
            self._take(chunk)
            return
        link.sock.close()
        self._link = None
        self._up.clear()
        self._send(Turn(out=self._exchange.lost()))

    def _take(self, chunk: bytes) -> None:
        for line in self._from_supervisor.feed(chunk):
            if line is None:
                raise DialError("the supervisor sent a line over 16 MiB; palmette doctor")
            self._send(Turn(out=self._exchange.from_supervisor(line)))

    def _send(self, turn: Turn) -> None:
        for line in turn.up:
            self._up += line + b"\n"
        for line in turn.out:
            self._out += line + b"\n"

    def _write_up(self, link: Link) -> None:
        try:
            sent = link.sock.send(memoryview(self._up)[:_CHUNK])
        except OSError:
            return  # if the supervisor is gone, reading says so
        del self._up[:sent]
        if self._end is not None:
            self._half_close()

    def _half_close(self) -> None:
        """The harness has said all: once it has gone up, tell the supervisor, whose last words are still taken (R7)."""
        if self._link is not None and not self._up:
            try:
                self._link.sock.shutdown(1)
            except OSError:
                return  # gone already; the next read says so

    def _write_out(self) -> None:
        try:
            sent = os.write(self._stdout, memoryview(self._out)[: select.PIPE_BUF])
        except OSError:
            self._finished = True
            return
        del self._out[:sent]

    def _flush(self, seconds: float) -> None:
        """Give the harness what it has not read yet, for a while."""
        poll = select.poll()
        poll.register(self._stdout, select.POLLOUT)
        until = time.monotonic() + seconds
        while self._out and (left := until - time.monotonic()) > 0:
            events = dict(poll.poll(left * 1000)).get(self._stdout, 0)
            if not events & select.POLLOUT or events & select.POLLERR:
                return
            self._write_out()

    def _fail(self, cause: str) -> int:
        self._send(Turn(out=self._exchange.refuse(Refusal("supervisor_unavailable", cause, "palmette doctor"))))
        self._flush(_DRAIN_SECONDS)
        print(printable(f"palmette mcp: {cause}", 2000), file=sys.stderr, flush=True)
        return 1
