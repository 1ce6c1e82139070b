"""A small supervisor to be killed: starts the given command under a reaper and waits for ever.

Arguments: the lock file, the attempt, the command. Prints `started` once the command runs.
"""

import sys
from pathlib import Path

import anyio

from palmette.sandbox.isolation.process import ReapedProcess


async def main(arguments: list[str]) -> None:
    lock, attempt, *argv = arguments
    path = Path(lock)
    async with await ReapedProcess.start(
        argv, attempt=attempt, env={"PATH": "/usr/bin:/bin"}, cwd=Path("/"), lock=path, grace_s=0.2
    ) as process:
        print("started", flush=True)
        async for chunk in process.stdout:
            sys.stdout.buffer.write(chunk)
            sys.stdout.flush()


anyio.run(main, sys.argv[1:])
