"""A real installation whose attached roots' children wait: what `palmette mcp` and the HTTP endpoint are driven on."""

import os
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from palmette.servers import launch
from palmette.servers.client import connect
from tests.support.installation import Installation, is_alive

__all__ = ["WaitingTree", "eventually"]

# The child says that it is there, and works until the file is there: through a restart too, since what its shell was
# doing is lost then and the loop goes round again.
_SCRIPT = """
scenarios:
  - name: child
    steps:
      - call: {{tool: notify, arguments: {{summary: At work.}}}}
      - loop:
          steps:
            - call:
                tool: shell
                arguments:
                  command: for _ in $(seq 50); do test -e {file} && echo released && break; sleep 0.1; done
          until: {{path: last.text, matches: released}}
      - call: {{tool: submit, arguments: {{result: Released.}}}}
      - say: Done.
"""


@dataclass(frozen=True)
class WaitingTree:
    """The installation, prepared: a child spawned in it notifies its parent, and submits once `release` was called."""

    place: Installation

    def prepare(self) -> None:
        """Write the model's script, and the config that an attached root's children take it from."""
        script = self.place.directory / "play.yaml"
        script.write_text(_SCRIPT.format(file=self._released))
        config = self.place.directory / "home" / ".config" / "palmette" / "config.toml"
        config.parent.mkdir(parents=True)
        config.write_text(f'[run]\nmodel_source = "scripted:{script}"\n')

    @property
    def relay(self) -> list[str]:
        """The argv of `palmette mcp` on this installation, as a harness's config holds it."""
        return [sys.executable, "-m", "palmette", "mcp", "--data", str(self.place.data)]

    @property
    def _released(self) -> Path:
        return self.place.directory / "go"

    def release(self) -> None:
        """Let the children finish."""
        self._released.touch()

    def pid(self) -> int | None:
        """The supervisor that serves now."""
        data = str(self.place.data)
        return launch.recorded(data).get("pid") if launch.is_running(data) else None

    def url(self) -> str:
        """The HTTP endpoint of the supervisor that serves now."""
        return f"{launch.recorded(str(self.place.data))['addresses']['http']}/mcp"

    async def up(self) -> None:
        """`palmette up`, as a person does it."""
        await anyio.to_thread.run_sync(lambda: self.place.json("up"))

    async def kill(self) -> int:
        """kill -9 of the supervisor that serves. Returns the pid it had."""
        pid = self.pid()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await eventually(lambda: not is_alive(pid))
        return pid

    async def acknowledged(self, cursor: str) -> bool:
        """Whether an await_event has presented the cursor, which it does as it begins to wait."""
        async with connect(str(self.place.data)) as client:
            found: list[dict[str, Any]] = await client.get("events", kinds="acknowledged")
        return any(event["data"]["cursor"] == cursor for event in found)

    async def verify(self) -> None:
        """End the supervisor, and compare the journal with everything that was made of it."""
        for command in (("down", "--stop"), ("verify",)):
            await anyio.to_thread.run_sync(lambda command=command: self.place.json(*command))


async def eventually(holds: Callable[[], bool | Awaitable[bool]], seconds: float = 60) -> None:
    """Return as soon as it holds, looked at every 20 ms; TimeoutError after so many seconds."""
    with anyio.fail_after(seconds):
        while True:
            found = holds()
            if found if isinstance(found, bool) else await found:
                return
            await anyio.sleep(0.02)
