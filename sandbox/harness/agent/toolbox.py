"""All tools of an agent, its own and the server's, by the model's names; the calls of one reply run at once."""

import re
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from palmette.sandbox.harness.agent import edit, shell
from palmette.sandbox.harness.agent.conversation import ToolResult
from palmette.sandbox.harness.agent.inbox import Cancellation
from palmette.sandbox.harness.agent.mcp import McpClient, Tool
from palmette.sandbox.harness.agent.reply import Call

__all__ = ["INTERRUPTED", "MCP_PREFIX", "NATIVE", "Toolbox"]

MCP_PREFIX = "mcp__palmette__"
NATIVE = ("shell", "edit")
INTERRUPTED = "interrupted"
_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")
_RESULT_LIMIT = shell.OUTPUT_LIMIT + 1000


class Toolbox:
    """The tools of one agent.

    Args:
        allowed: native tools of the profile; None for all.
        workspace: where they work.
    """

    def __init__(self, client: McpClient, tools: Sequence[Tool], allowed: Sequence[str] | None, workspace: str) -> None:
        self._client = client
        self._workspace = workspace
        self._native = tuple(name for name in NATIVE if allowed is None or name in allowed)
        self._remote = {MCP_PREFIX + tool.name: tool for tool in tools if _NAME.fullmatch(MCP_PREFIX + tool.name)}

    def definitions(self) -> list[Mapping[str, Any]]:
        """The tools as a request names them."""
        native = {"shell": shell.DEFINITION, "edit": edit.DEFINITION}
        remote = [
            {"name": name, "description": tool.description, "input_schema": tool.input_schema}
            for name, tool in self._remote.items()
        ]
        return [*(native[name] for name in self._native), *remote]

    def run(self, calls: Sequence[Call], round_: Cancellation) -> list[ToolResult]:
        """Run the calls at once (a wait must not hold up a spawn beside it); their results in the calls' order."""
        results = [ToolResult(call.id, INTERRUPTED, is_error=True) for call in calls]
        if round_.cancelled:
            return results

        def one(at: int, call: Call) -> None:
            try:
                text, is_error = self._run(call, round_)
            except (ValueError, TypeError, OSError) as error:
                text, is_error = str(error), True
            results[at] = ToolResult(call.id, _bounded(text), is_error)

        threads = [threading.Thread(target=one, args=item, daemon=True) for item in enumerate(calls)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return results

    def _run(self, call: Call, round_: Cancellation) -> tuple[str, bool]:
        if call.fault:
            return call.fault, True
        if call.name in self._remote:
            return self._client.call(self._remote[call.name].name, call.arguments, call.id, round_)
        if call.name == "shell" and call.name in self._native:
            return shell.run(call.arguments, self._workspace, round_)
        if call.name == "edit" and call.name in self._native:
            return edit.run(call.arguments, self._workspace), False
        return f"there is no tool {call.name!r} here", True


def _bounded(text: str) -> str:
    """A server keeps its results under 30,000 characters (S7); one that does not must not fill the context."""
    return text if len(text) <= _RESULT_LIMIT else text[: shell.OUTPUT_LIMIT] + "\n[… the rest was left out …]"
