"""Where a tree's model calls go: a base URL as it is, or a scripted model that this process serves."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup, TaskStatus

from palmette.coordination.errors import PalmetteError, Refused
from palmette.sandbox.model import Script, serve

__all__ = ["SCRIPTED", "Upstreams"]

SCRIPTED = "scripted:"
"""The prefix of a model source that names a script's file."""


class Upstreams:
    """Fills ports.Models. One endpoint per script file, kept until `running()` ends."""

    def __init__(self) -> None:
        self._tasks: TaskGroup | None = None
        self._urls: dict[str, str] = {}
        self._lock = anyio.Lock()

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Scripted endpoints can be asked for inside; each is a task of its own, since any task may ask for one."""
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            try:
                yield
            finally:
                self._tasks = None
                self._urls.clear()
                tasks.cancel_scope.cancel()

    async def endpoint(self, source: str) -> str:
        """See ports.Models.

        Raises:
            Refused: bad_model.
        """
        if not source.startswith(SCRIPTED):
            parts = urlsplit(source)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise Refused("bad_model", f"{source!r} is no URL of a model endpoint")
            return source.rstrip("/")
        async with self._lock:
            if source not in self._urls:
                self._urls[source] = await self._serve(Path(source.removeprefix(SCRIPTED)))
            return self._urls[source]

    async def _serve(self, path: Path) -> str:
        if self._tasks is None:
            raise RuntimeError("upstreams are not running")
        if not path.is_absolute():
            raise Refused("bad_model", f"{path} is no absolute path of a script")
        try:
            script = await anyio.to_thread.run_sync(Script.load, path)
        except (PalmetteError, OSError) as error:
            raise Refused("bad_model", f"{path} cannot be played: {error}") from None
        return await self._tasks.start(_host, script)


async def _host(script: Script, *, task_status: TaskStatus[str]) -> None:
    async with serve(script) as url:
        task_status.started(url)
        await anyio.sleep_forever()
