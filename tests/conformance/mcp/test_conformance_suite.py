"""The protocol's own conformance suite against our gate, sessions and middleware, at both revisions in use (S6)."""

from pathlib import Path

import pytest
from starlette.types import Receive, Scope, Send

from palmette.coordination.store import MemoryStore
from palmette.servers.access import Access, attempt_check, installation_token
from palmette.servers.coordination import coordination_server
from palmette.servers.http import HttpService, listen
from palmette.servers.lines import lowlevel
from tests.conformance.mcp.conftest import NodeProgram
from tests.conformance.mcp.fixtures import FIXTURE_TOOLS, add_fixtures
from tests.fakes.clock import ManualClock
from tests.fakes.verbs import ALL_VERBS, RecordingVerbs
from tests.support.bounded import bounded
from tests.support.mcp_service import bearer, serving

pytestmark = [pytest.mark.anyio, pytest.mark.rule("S6", "S5")]

BASELINE = Path(__file__).with_name("baseline.yml")


@pytest.mark.parametrize("revision", ["2025-11-25", "2026-07-28"])
@bounded(180)
async def test_nothing_fails_that_is_not_left_out_on_purpose(
    conformance: NodeProgram, tmp_path: Path, revision: str
) -> None:
    store = MemoryStore(ManualClock())
    server = coordination_server(RecordingVerbs(lists=ALL_VERBS | FIXTURE_TOOLS.keys()))
    add_fixtures(server)
    access = Access(installation_token(str(tmp_path)), attempt_check(store))
    with listen(str(tmp_path), 0) as listener:
        service = HttpService(listener, lowlevel(server), store=store, access=access)
        _authorize_everyone(service, bearer(tmp_path)["Authorization"])
        async with serving(service):
            url = f"http://localhost:{service.port}/mcp"
            arguments = ["--requirements", revision, "--expected-failures", str(BASELINE), "-o", str(tmp_path / "out")]
            result = await conformance.run("server", "--url", url, *arguments, seconds=150)

    assert result.returncode == 0, _summary(result.stdout.decode())


def _authorize_everyone(service: HttpService, authorization: str) -> None:
    """The suite cannot send a credential: add it before the gate, which stays as it is."""
    gate = service.app

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await gate({**scope, "headers": [*scope["headers"], (b"authorization", authorization.encode())]}, receive, send)

    service.app = app


def _summary(output: str) -> str:
    return output[output.find("=== SUMMARY") :][-6000:]
