"""The coordination server: the verbs as MCP tools, the contract, the playbooks. No rule of the tree lives here."""

from typing import Annotated, Any, cast

from mcp.server import MCPServer
from mcp.server.caching import CacheHint
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.mcpserver.prompts import Prompt
from pydantic import Field

from palmette import __version__
from palmette.coordination.errors import Refused
from palmette.servers.callers import visitor_of
from palmette.servers.instructions import INSTRUCTIONS
from palmette.servers.playbooks import PLAYBOOKS, Playbook
from palmette.servers.tools import Identify, Tools
from palmette.servers.verb_service import VerbService

__all__ = ["VerbService", "coordination_server"]


def coordination_server(verbs: VerbService, *, identify: Identify = visitor_of) -> MCPServer[Any]:
    """The MCP server over a tree's verbs; `identify` tells who makes a request (S1)."""
    server: MCPServer[Any] = MCPServer(
        "palmette",
        title="Palmette",
        description="One recursive tree of coding agents: spawn, steer, wait, ask, submit.",
        instructions=INSTRUCTIONS,
        version=__version__,
        tools=list(Tools(verbs, identify).all()),
        # Whoever asks for the list gets his own (S3), so it is nobody else's to reuse.
        cache_hints={"tools/list": CacheHint(ttl_ms=60_000, scope="private")},
        middleware=[_Courtesy(verbs, identify)],
        log_level="WARNING",
    )
    for playbook in PLAYBOOKS:
        server.add_prompt(_prompt(playbook))
    return server


class _Courtesy:
    """Shows each visitor the tools of its role (S3, S8), and tells legacy clients that the list may change."""

    def __init__(self, verbs: VerbService, identify: Identify) -> None:
        self._verbs = verbs
        self._identify = identify

    async def __call__(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        if ctx.method == "notifications/initialized":
            self._identify(ctx)  # a relay that came back says no more than this until its harness calls again
        result = await call_next(ctx)
        if not isinstance(result, dict):
            return result
        if ctx.method == "tools/list":
            allowed = await self._allowed(ctx)
            tools = cast(list[dict[str, Any]], result["tools"])
            return {**result, "tools": [tool for tool in tools if tool["name"] in allowed]}
        if ctx.method == "initialize":
            capabilities = cast(dict[str, Any], result["capabilities"])
            return {**result, "capabilities": {**capabilities, "tools": {"listChanged": True}}}
        return result

    async def _allowed(self, ctx: ServerRequestContext[Any, Any]) -> frozenset[str]:
        try:
            return await self._verbs.allowed(self._identify(ctx))
        except Refused:
            return frozenset()  # an attempt that is over holds nothing any more


def _prompt(playbook: Playbook) -> Prompt:
    def render(task: Annotated[str, Field(description="What is to be done.")]) -> str:
        return playbook.text(task)

    return Prompt.from_function(render, name=playbook.name, title=playbook.title, description=playbook.description)
