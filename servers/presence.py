"""Which attached roots are here: so that a root is detached when its last connection ends, and never settled (R8)."""

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from mcp.server.context import ServerRequestContext

from palmette.coordination.identity import Visitor
from palmette.servers.callers import HTTP_UNBOUND, visitor_of

__all__ = ["Presence"]


class Presence:
    """Remembers who came by which connection; `bye` is told of a root that nobody speaks for any more."""

    def __init__(self, bye: Callable[[Visitor], Awaitable[None]]) -> None:
        self._bye = bye
        self._here: dict[str, Visitor] = {}
        self._lines: Counter[str] = Counter()

    @property
    def lines(self) -> int:
        """How many relays are connected."""
        return self._lines.total()

    def identify(self, ctx: ServerRequestContext[Any, Any]) -> Visitor:
        """Who makes the request, remembered."""
        visitor = visitor_of(ctx)
        if visitor.token is None and not visitor.connection.startswith(HTTP_UNBOUND):
            self._here[visitor.connection] = visitor
        return visitor

    def came(self, session: str) -> None:
        """A relay connected; a reconnecting one may do so before its old connection is known to be gone."""
        self._lines[session] += 1

    async def left(self, session: str) -> None:
        """A relay's connection ended."""
        self._lines[session] -= 1
        if self._lines[session] <= 0:
            del self._lines[session]
            await self.closed(session)

    async def closed(self, session: str) -> None:
        """A session is over, a relay's or an HTTP client's."""
        visitor = self._here.pop(session, None)
        if visitor is not None and all(other.root_key != visitor.root_key for other in self._here.values()):
            await self._bye(visitor)
