"""A session over HTTP outlives the supervisor, belongs to one credential, and ends when it should (S5)."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from palmette.coordination.records import HttpSession
from palmette.coordination.store import MemoryStore
from palmette.servers.http import HttpService
from tests.fakes.verbs import Call, RecordingVerbs
from tests.support.attempts import live_attempt
from tests.support.bounded import bounded
from tests.support.mcp_service import bearer, client_over_http, http_service

pytestmark = [pytest.mark.anyio, pytest.mark.rule("S5")]


class Raw:
    """A client that keeps its session id whatever happens to the connection."""

    def __init__(self, http: httpx2.AsyncClient, url: str, headers: dict[str, str]) -> None:
        self._http = http
        self._url = url
        self._headers = {**headers, "Accept": "application/json, text/event-stream"}
        self._ids = 0

    async def open(self, version: str = "2025-06-18") -> str:
        """The handshake; returns the session's id."""
        client = {"name": "ide", "version": "1"}
        capabilities: dict[str, Any] = {"elicitation": {}}
        params = {"protocolVersion": version, "capabilities": capabilities, "clientInfo": client}
        response = await self._post("initialize", params)
        assert response.status_code == 200
        self._headers |= {"mcp-session-id": response.headers["mcp-session-id"], "mcp-protocol-version": version}
        done = await self._http.post(
            self._url, json={"jsonrpc": "2.0", "method": "notifications/initialized"}, headers=self._headers
        )
        assert done.status_code == 202
        return self._headers["mcp-session-id"]

    async def call(self, tool: str, **arguments: Any) -> httpx2.Response:
        """One tool call."""
        return await self._post("tools/call", {"name": tool, "arguments": arguments})

    async def delete(self) -> int:
        """End the session as a client does."""
        return (await self._http.delete(self._url, headers=self._headers)).status_code

    def move(self, url: str, **headers: str) -> None:
        """Go on at another address, or as another caller."""
        self._url = url
        self._headers |= headers

    async def _post(self, method: str, params: dict[str, Any]) -> httpx2.Response:
        self._ids += 1
        body = {"jsonrpc": "2.0", "id": self._ids, "method": method, "params": params}
        return await self._http.post(self._url, json=body, headers=self._headers)


@asynccontextmanager
async def _client(service: HttpService, headers: dict[str, str], path: str = "/mcp") -> AsyncGenerator[Raw]:
    async with httpx2.AsyncClient(timeout=30) as http:
        yield Raw(http, service.url + path, headers)


async def _known(store: MemoryStore) -> list[HttpSession]:
    return await store.read(lambda reading: list(reading.all(HttpSession)))


@pytest.mark.parametrize("version", ["2025-06-18", "2025-11-25"])
@bounded(30)
async def test_the_next_call_after_a_restart_goes_on_in_the_same_session(
    tmp_path: Path, verbs: RecordingVerbs, store: MemoryStore, version: str
) -> None:
    async with httpx2.AsyncClient(timeout=30) as http:
        async with http_service(tmp_path, verbs, store) as service:
            client = Raw(http, f"{service.url}/mcp", bearer(tmp_path))
            session = await client.open(version)
            first = await client.call("notify", summary="before")
        async with http_service(tmp_path, verbs, store) as again:
            client.move(f"{again.url}/mcp")
            second, third = await client.call("notify", summary="after"), await client.call("observe")
            assert again.clients == 1

    assert [response.status_code for response in (first, second, third)] == [200, 200, 200]
    before, after, _ = verbs.calls
    assert before.visitor == after.visitor
    assert (after.visitor.connection, after.visitor.harness, after.visitor.person) == (session, "ide", True)
    assert before.key != after.key
    assert [record.protocol_version for record in await _known(store)] == [version]


@bounded(30)
async def test_a_call_that_the_restart_cut_can_be_made_again(
    tmp_path: Path, verbs: RecordingVerbs, store: MemoryStore
) -> None:
    waiting = anyio.Event()

    async def wait(_: Call) -> None:
        waiting.set()
        await anyio.sleep_forever()

    verbs.during["await_event"] = wait
    async with httpx2.AsyncClient(timeout=30) as http, anyio.create_task_group() as tasks:
        async with http_service(tmp_path, verbs, store) as service:
            client = Raw(http, f"{service.url}/mcp", bearer(tmp_path))
            await client.open()
            tasks.start_soon(_until_cut, client)
            await waiting.wait()
        del verbs.during["await_event"]
        async with http_service(tmp_path, verbs, store) as again:
            client.move(f"{again.url}/mcp")
            response = await client.call("await_event")
            assert response.status_code == 200
            assert '"verb":"await_event"' in response.text.replace("\\", "")
        tasks.cancel_scope.cancel()


async def _until_cut(client: Raw) -> None:
    try:
        await client.call("await_event")
    except httpx2.HTTPError:
        return


@bounded(30)
async def test_another_credential_finds_no_session_before_and_after_a_restart(
    tmp_path: Path, verbs: RecordingVerbs, store: MemoryStore
) -> None:
    token = await live_attempt(store)
    async with httpx2.AsyncClient(timeout=30) as http:
        async with http_service(tmp_path, verbs, store) as service:
            client = Raw(http, f"{service.url}/mcp", bearer(tmp_path))
            await client.open()
            client.move(f"{service.url}/mcp", Authorization=f"Bearer {token}")
            stolen = await client.call("notify", summary="s")
        async with http_service(tmp_path, verbs, store) as again:
            client.move(f"{again.url}/mcp")
            stolen_again = await client.call("notify", summary="s")
            assert again.clients == 0  # a stranger does not even bring it back
            client.move(f"{again.url}/mcp", **bearer(tmp_path))
            own = await client.call("notify", summary="s")

    assert [response.status_code for response in (stolen, stolen_again, own)] == [404, 404, 200]
    assert len(verbs.calls) == 1


@bounded(30)
async def test_a_session_lives_at_the_endpoint_that_opened_it(
    tmp_path: Path, verbs: RecordingVerbs, store: MemoryStore
) -> None:
    async with http_service(tmp_path, verbs, store) as service, _client(service, bearer(tmp_path)) as client:
        await client.open()
        client.move(f"{service.url}/mcp/coordination")
        assert (await client.call("observe")).status_code == 404


@bounded(30)
async def test_an_unknown_session_is_not_found(tmp_path: Path, verbs: RecordingVerbs, store: MemoryStore) -> None:
    async with http_service(tmp_path, verbs, store) as service, _client(service, bearer(tmp_path)) as client:
        client.move(f"{service.url}/mcp", **{"mcp-session-id": "0" * 32})
        response = await client.call("observe")

    assert response.status_code == 404
    assert await _known(store) == []


@bounded(30)
async def test_a_session_that_its_client_ended_is_over_also_after_a_restart(
    tmp_path: Path, verbs: RecordingVerbs, store: MemoryStore
) -> None:
    closed: list[str] = []

    async def on_closed(session: str) -> None:
        closed.append(session)

    async with httpx2.AsyncClient(timeout=30) as http:
        async with http_service(tmp_path, verbs, store, on_closed=on_closed) as service:
            client = Raw(http, f"{service.url}/mcp", bearer(tmp_path))
            session = await client.open()
            assert await client.delete() == 200
            assert (await client.call("observe")).status_code == 404
        assert closed == [session]
        assert await _known(store) == []
        async with http_service(tmp_path, verbs, store) as again:
            client.move(f"{again.url}/mcp")
            assert (await client.call("observe")).status_code == 404


@bounded(30)
async def test_an_idle_session_is_closed(tmp_path: Path, verbs: RecordingVerbs, store: MemoryStore) -> None:
    over = anyio.Event()

    async def on_closed(_: str) -> None:
        over.set()

    service = http_service(tmp_path, verbs, store, idle_timeout=0.3, on_closed=on_closed)
    async with service as running, _client(running, bearer(tmp_path)) as client:
        await client.open()
        await over.wait()
        assert (await client.call("observe")).status_code == 404

    assert await _known(store) == []


@bounded(30)
async def test_a_session_whose_client_never_comes_back_is_forgotten(
    tmp_path: Path, verbs: RecordingVerbs, store: MemoryStore
) -> None:
    async with http_service(tmp_path, verbs, store) as service, _client(service, bearer(tmp_path)) as client:
        session = await client.open()
    assert [record.id for record in await _known(store)] == [session]
    forgotten = anyio.Event()
    unsubscribe = store.subscribe(
        lambda events: forgotten.set() if any(event.kind == "http_session_closed" for event in events) else None
    )

    async with http_service(tmp_path, verbs, store, idle_timeout=0.3):
        await forgotten.wait()

    unsubscribe()
    assert await _known(store) == []


@bounded(30)
async def test_two_requests_at_once_bring_a_session_back_once(
    tmp_path: Path, verbs: RecordingVerbs, store: MemoryStore
) -> None:
    async with httpx2.AsyncClient(timeout=30) as http:
        async with http_service(tmp_path, verbs, store) as service:
            client = Raw(http, f"{service.url}/mcp", bearer(tmp_path))
            await client.open()
        async with http_service(tmp_path, verbs, store) as again:
            client.move(f"{again.url}/mcp")
            async with anyio.create_task_group() as tasks:
                for _ in range(8):
                    tasks.start_soon(client.call, "observe")
            assert again.clients == 1

    assert len(verbs.calls) == 8


@bounded(30)
async def test_nothing_of_a_credential_is_in_the_journal(
    tmp_path: Path, verbs: RecordingVerbs, store: MemoryStore
) -> None:
    async with (
        http_service(tmp_path, verbs, store) as service,
        client_over_http(service, bearer(tmp_path), "legacy") as client,
    ):
        await client.call_tool("observe")
        told = str(await store.events()) + str(await _known(store))

    token = bearer(tmp_path)["Authorization"].removeprefix("Bearer ")
    assert "http_session_opened" in told
    assert token not in told
