"""The agent's process: its launch file, its threads, and how it ends."""

import os
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from palmette import __version__
from palmette.sandbox.harness.agent.conversation import Conversation, SessionError
from palmette.sandbox.harness.agent.endpoint import Endpoint
from palmette.sandbox.harness.agent.inbox import Failure, Inbox
from palmette.sandbox.harness.agent.lines import Channel, LineCutter, parse_object
from palmette.sandbox.harness.agent.loop import Loop, Patience
from palmette.sandbox.harness.agent.mcp import McpClient, McpError
from palmette.sandbox.harness.agent.toolbox import Toolbox

__all__ = ["LaunchFile", "main"]

_MCP_CONNECT_S = 30.0


class LaunchFile(NamedTuple):
    """What the driver wrote down for one life of the agent; a tunable that it leaves out has its default.

    Attributes:
        session: to be resumed; None begins a new one.
        workspace: where the tools work.
        tools: native tools that are allowed; None for all.
        silence_s, first_pause_s: see Endpoint and Patience.
    """

    session_directory: str
    session: str | None
    workspace: str
    relay_argv: list[str]
    token_file: str
    system: str
    model: str
    model_url: str
    max_output: int
    tools: list[str] | None
    silence_s: float = 300.0
    first_pause_s: float = 0.5

    @classmethod
    def read(cls, path: str) -> "LaunchFile":
        """Read it.

        Raises:
            OSError, ValueError, TypeError: it cannot be read, is no JSON object, or lacks a field.
        """
        with open(path, "rb") as file:
            fields: dict[str, Any] | None = parse_object(file.read())
        if fields is None:
            raise ValueError("no JSON object")
        return cls(**fields)


def main(argv: Sequence[str]) -> int:
    """Run one life of the agent. Returns the exit status: 0 when it was told to end, 1 for a failure that it told."""
    channel = Channel(os.dup(1))
    os.dup2(2, 1)  # whatever prints by mistake is log, never a line of the protocol
    try:
        failure = _live(channel, argv)
    except OSError as error:
        failure = Failure("run", f"{error.strerror}: {error.filename}" if error.filename else str(error))
    if failure is None:
        return 0
    print(f"agent: {failure.reason}", file=sys.stderr)
    with suppress(OSError):  # nobody may be left to be told
        channel.tell("fatal", stage=failure.stage, reason=failure.reason)
    return 1


def _live(channel: Channel, argv: Sequence[str]) -> Failure | None:
    inbox = Inbox()
    try:
        launch = LaunchFile.read(argv[0])
        conversation = Conversation.open(launch.session_directory, launch.session)
    except (OSError, ValueError, TypeError, IndexError, SessionError) as error:
        return Failure("start", str(error))
    channel.tell("started", session=conversation.session, version=__version__)
    threading.Thread(target=_listen, args=(inbox,), daemon=True).start()
    try:
        client = McpClient(launch.relay_argv, launch.token_file, lambda reason: inbox.stop(Failure("mcp", reason)))
        tools = client.connect(__version__, _MCP_CONNECT_S)
    except McpError as error:
        return Failure("mcp", str(error))
    channel.tell("ready")
    Loop(
        inbox,
        channel,
        conversation,
        Endpoint(launch.model_url, launch.model, launch.silence_s),
        Toolbox(client, tools, launch.tools, launch.workspace),
        system="\n\n".join(filter(None, (launch.system, client.instructions))),
        max_output=launch.max_output,
        patience=Patience(first_s=launch.first_pause_s),
    ).run()
    client.close()
    conversation.close()
    return inbox.failure


def _listen(inbox: Inbox) -> None:
    """Read the driver's lines until it closes the pipe, which ends the agent as its `stop` does."""
    cutter = LineCutter()
    while chunk := os.read(0, 1 << 18):
        for line in cutter.feed(chunk):
            said = None if line is None else parse_object(line)
            if said is not None:
                inbox.take(said)
    inbox.stop()
