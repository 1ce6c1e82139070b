"""Serving a script: on a loopback port, on a unix socket, or both."""

import contextlib
import json
import os
import signal
import socket
import stat
import sys
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import anyio
import uvicorn

from palmette.sandbox.model.endpoint import create_app
from palmette.sandbox.model.errors import ListenError
from palmette.sandbox.model.script import Script

__all__ = ["main", "serve"]

_GRACE_S = 1
"""Seconds that replies in flight get when the endpoint ends; a silent one would never end by itself."""


class _Server(uvicorn.Server):
    """A server inside somebody else's program: signals are theirs, readiness and the end are events."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = anyio.Event()
        self.ended = anyio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    async def main_loop(self) -> None:
        await self.ended.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End at once where nothing is in flight; uvicorn's own end always takes its 100 ms."""
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        with anyio.move_on_after(_GRACE_S):
            await self._drained()
        for task in self.server_state.tasks:
            task.cancel()
        with anyio.move_on_after(_GRACE_S):
            await self._drained()

    async def _drained(self) -> None:
        while self.server_state.connections or self.server_state.tasks:  # noqa: ASYNC110  (uvicorn has no such event)
            await anyio.sleep(0.005)


@contextlib.asynccontextmanager
async def serve(
    script: Script, host: str = "127.0.0.1", port: int | None = 0, uds: Path | str | None = None
) -> AsyncGenerator[str]:
    """Serve a script for as long as the context lasts; gives the base URL, without `/v1`.

    Args:
        host: loopback unless something else is asked for.
        port: 0 takes a free one; None listens on no port, only on `uds` (the URL is then `http://localhost`).
        uds: path of a unix socket to listen on as well, made with mode 0600 and removed at the end.

    Raises:
        ListenError: the port or path is taken, not permitted, or the path too long.
    """
    with contextlib.ExitStack() as listening:
        sockets: list[socket.socket] = []
        url = "http://localhost"
        if port is not None:
            sockets.append(listening.enter_context(_tcp(host, port)))
            name = f"[{host}]" if ":" in host else host
            url = f"http://{name}:{sockets[0].getsockname()[1]}"
        if uds is not None:
            sockets.append(listening.enter_context(_unix(Path(uds))))
        if not sockets:
            raise ListenError("neither a port nor a socket path was given", "Give one of them.")
        config = uvicorn.Config(
            create_app(script),
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",
            server_header=False,
            date_header=False,
        )
        server = _Server(config)
        failure: Exception | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_to_the_end, server, sockets)
            try:
                await server.ready.wait()
                yield url
            except Exception as error:
                failure = error  # raised below as it is, not in a group
            finally:
                server.ended.set()
        if failure is not None:
            raise failure


async def _to_the_end(server: _Server, sockets: list[socket.socket]) -> None:
    # Shielded, because a cancelled server leaves its connections open; `ended` is set on every way out.
    with anyio.CancelScope(shield=True):
        await server.serve(sockets)


@contextlib.contextmanager
def _tcp(host: str, port: int) -> Generator[socket.socket, None, None]:
    if not 0 <= port <= 65535:
        raise ListenError(f"{port} is no port", "Give a port from 1 to 65535, or 0 for a free one.")
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # The protocol is named: asyncio sets TCP_NODELAY only then, and without it each reply waits 40 ms.
        listener = socket.socket(family, kind, socket.IPPROTO_TCP)
    except (OSError, UnicodeError) as error:
        raise ListenError(f"{host}:{port} cannot be listened on: {error}", "Give another host or port.") from None
    with listener:
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(2048)
        except OSError as error:
            hint = "Give another port, or 0 for a free one."
            raise ListenError(f"{host}:{port} cannot be listened on: {error}", hint) from None
        yield listener


@contextlib.contextmanager
def _unix(path: Path) -> Generator[socket.socket, None, None]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        try:
            _remove_dead(path)
            with contextlib.suppress(OSError):
                # On Linux the path takes the mode the socket has when it is bound: never open to others.
                os.fchmod(listener.fileno(), 0o600)
            listener.bind(str(path))
            path.chmod(0o600)
            listener.listen(2048)
        except (OSError, ValueError) as error:
            hint = "Give a short path (108 bytes at most) that nothing listens on."
            raise ListenError(f"{path} cannot be listened on: {error}", hint) from None
        try:
            yield listener
        finally:
            path.unlink(missing_ok=True)


def _remove_dead(path: Path) -> None:
    """Remove a socket that nobody listens on any more; anything else stays and makes the bind fail."""
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.stat().st_mode):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                try:
                    probe.connect(str(path))
                except ConnectionRefusedError:
                    path.unlink()


def main(
    script: Path | str,
    host: str = "127.0.0.1",
    port: int | None = 0,
    *,
    uds: Path | str | None = None,
    as_json: bool = False,
) -> None:
    """Serve a script file until SIGINT or SIGTERM; prints where, on standard output.

    Raises:
        ScriptError: the script cannot be read.
        ListenError: the address cannot be listened on.
    """
    loaded = Script.load(script)
    names = [scenario.name for scenario in loaded.scenarios]

    async def until_signal() -> None:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async with serve(loaded, host, port, uds) as url:
                if as_json:
                    shown = {"url": url, "uds": str(uds) if uds else None, "pid": os.getpid(), "scenarios": names}
                    sys.stdout.write(json.dumps(shown) + "\n")
                else:
                    where = url if port is not None else str(uds)
                    sys.stdout.write(f"scripted model on {where}, playing {', '.join(names)}; Ctrl-C ends it\n")
                sys.stdout.flush()
                async for _ in signals:
                    return

    anyio.run(until_signal)
