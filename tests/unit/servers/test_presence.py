"""A root is detached when nobody speaks for it any more, and not before (R8)."""

import pytest

from palmette.coordination.identity import Visitor
from palmette.servers import presence
from palmette.servers.presence import Presence
from tests.support.bounded import bounded

pytestmark = [pytest.mark.anyio, pytest.mark.rule("R8")]


class Door:
    """A presence whose requests are visitors already."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gone: list[str] = []
        self.presence = Presence(self._bye)
        monkeypatch.setattr(presence, "visitor_of", lambda visitor: visitor)  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]

    async def _bye(self, visitor: Visitor) -> None:
        self.gone.append(visitor.root_key)

    def enter(self, visitor: Visitor) -> None:
        """A relay connects and calls."""
        self.presence.came(visitor.connection)
        self.presence.identify(visitor)  # pyright: ignore[reportArgumentType]


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch) -> Door:
    """Nobody is here yet."""
    return Door(monkeypatch)


@bounded(10)
async def test_the_last_connection_of_a_root_is_told(door: Door) -> None:
    door.enter(Visitor("r1", harness="claude-code", session="s1"))
    door.enter(Visitor("r2", harness="claude-code", session="s1"))

    await door.presence.left("r1")
    assert door.gone == []
    await door.presence.left("r2")
    assert door.gone == ["claude-code:s1"]
    assert door.presence.lines == 0


@bounded(10)
async def test_a_relay_that_is_back_before_its_bye_was_never_gone(door: Door) -> None:
    visitor = Visitor("r1", harness="opencode")
    door.enter(visitor)
    door.enter(visitor)

    await door.presence.left("r1")
    assert door.gone == []
    await door.presence.left("r1")
    assert door.gone == ["connection:r1"]


@bounded(10)
async def test_an_attempt_and_a_relay_that_never_called_are_nobodys_root(door: Door) -> None:
    door.enter(Visitor("r1", token="secret"))
    door.presence.came("r2")

    await door.presence.left("r1")
    await door.presence.left("r2")

    assert door.gone == []


@bounded(10)
async def test_an_http_session_that_is_over_is_told(door: Door) -> None:
    door.presence.identify(Visitor("h1", harness="ide"))  # pyright: ignore[reportArgumentType]

    await door.presence.closed("h1")
    await door.presence.closed("h1")

    assert door.gone == ["connection:h1"]
