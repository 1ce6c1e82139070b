"""The clients of Claude Code, Codex and opencode connect to a real installation, on both roads (S6)."""

import pytest

from palmette.servers.access import installation_token
from tests.conformance.mcp.harness_clients import CLIENTS, Http, Stdio
from tests.conformance.mcp.waiting_tree import WaitingTree
from tests.support.bounded import bounded

pytestmark = [pytest.mark.anyio, pytest.mark.rule("S6"), pytest.mark.parametrize("harness", list(CLIENTS))]


@pytest.mark.rule("R1")
@bounded(180)
async def test_on_palmette_mcp_which_starts_a_supervisor_that_stays(waiting: WaitingTree, harness: str) -> None:
    assert waiting.pid() is None
    assert await CLIENTS[harness](waiting.place, Stdio(waiting.relay))
    assert waiting.pid() is not None  # opencode ends whatever descends from its servers


@bounded(180)
async def test_on_the_http_endpoint(waiting: WaitingTree, harness: str) -> None:
    await waiting.up()
    token = installation_token(str(waiting.place.data))
    assert await CLIENTS[harness](waiting.place, Http(waiting.url(), token))


@bounded(180)
async def test_not_with_a_wrong_token(waiting: WaitingTree, harness: str) -> None:
    await waiting.up()
    assert not await CLIENTS[harness](waiting.place, Http(waiting.url(), "w" * 43))
