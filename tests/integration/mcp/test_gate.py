"""What every request over TCP passes before it is served."""

import socket
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from palmette.coordination.errors import PalmetteError
from palmette.coordination.store import MemoryStore
from palmette.servers.http import listen
from tests.fakes.verbs import RecordingVerbs
from tests.support.attempts import end_attempt, live_attempt
from tests.support.bounded import bounded
from tests.support.mcp_service import bearer, client_over_http, http_service

pytestmark = pytest.mark.anyio


async def _status(request: Request) -> JSONResponse:
    return JSONResponse({"fine": True})


ROUTES = [Route("/api/status", _status)]


def _initialize() -> dict[str, Any]:
    client = {"name": "raw", "version": "1"}
    params = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client}
    return {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}


def _headers(data: Path, **more: str) -> dict[str, str]:
    return {**bearer(data), "Accept": "application/json, text/event-stream", **more}


@pytest.mark.parametrize(
    ("path", "headers", "status", "kind"),
    [
        ("/mcp", {"Authorization": ""}, 401, "unauthorized"),
        ("/mcp", {"Authorization": "Bearer wrong"}, 401, "unauthorized"),
        ("/mcp", {"Authorization": "Basic eDp5"}, 401, "unauthorized"),
        ("/api/status", {"Authorization": "Bearer wrong"}, 401, "unauthorized"),
        ("/mcp", {"Host": "evil.example"}, 421, "wrong_host"),
        ("/mcp", {"Host": "127.0.0.1:1"}, 421, "wrong_host"),
        ("/mcp", {"Host": "127.0.0.1"}, 421, "wrong_host"),
        ("/mcp", {"Origin": "http://evil.example"}, 403, "wrong_origin"),
        ("/mcp", {"Origin": "null"}, 403, "wrong_origin"),
        ("/mcp/", {}, 404, "not_found"),
        ("/mcp/other", {}, 404, "not_found"),
        ("/", {"Authorization": ""}, 404, "not_found"),
        ("/.well-known/oauth-protected-resource/mcp", {"Authorization": ""}, 404, "not_found"),
    ],
)
@bounded(20)
async def test_a_request_that_is_not_meant_for_us_is_refused_with_a_code(
    tmp_path: Path,
    verbs: RecordingVerbs,
    store: MemoryStore,
    path: str,
    headers: dict[str, str],
    status: int,
    kind: str,
) -> None:
    async with http_service(tmp_path, verbs, store, routes=ROUTES) as service, httpx2.AsyncClient() as client:
        response = await client.post(service.url + path, json=_initialize(), headers=_headers(tmp_path, **headers))

    assert response.status_code == status
    assert response.json()["error"]["kind"] == kind
    assert ("www-authenticate" in response.headers) == (status == 401)
    assert service.clients == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST"])
@pytest.mark.parametrize("path", ["/mcp", "/mcp/coordination"])
@bounded(20)
async def test_a_client_of_the_person_is_served_under_both_paths_and_names(
    tmp_path: Path, verbs: RecordingVerbs, store: MemoryStore, host: str, path: str
) -> None:
    async with http_service(tmp_path, verbs, store) as service, httpx2.AsyncClient() as client:
        named = {"Host": f"{host}:{service.port}", "Origin": f"http://{host}:{service.port}"}
        response = await client.post(service.url + path, json=_initialize(), headers=_headers(tmp_path, **named))

    assert response.status_code == 200
    assert response.headers["mcp-session-id"]


@bounded(20)
async def test_the_operator_api_is_the_persons_alone(tmp_path: Path, verbs: RecordingVerbs, store: MemoryStore) -> None:
    token = await live_attempt(store)
    async with http_service(tmp_path, verbs, store, routes=ROUTES) as service, httpx2.AsyncClient() as client:
        url = service.url + "/api/status"
        person = await client.get(url, headers=bearer(tmp_path))
        attempt = await client.get(url, headers={"Authorization": f"Bearer {token}"})
        missing = await client.get(service.url + "/api/other", headers=bearer(tmp_path))

    assert (person.status_code, person.json()) == (200, {"fine": True})
    assert (attempt.status_code, attempt.json()["error"]["kind"]) == (403, "not_permitted")
    assert missing.status_code == 404


@pytest.mark.rule("S1", "W4")
@bounded(20)
async def test_an_attempts_token_makes_the_caller_that_attempt(
    tmp_path: Path, verbs: RecordingVerbs, store: MemoryStore
) -> None:
    token = await live_attempt(store)
    headers = {"Authorization": f"Bearer {token}"}
    async with http_service(tmp_path, verbs, store) as service:
        async with client_over_http(service, headers, "legacy") as client:
            await client.call_tool("notify", {"summary": "s"})
        await end_attempt(store)
        async with httpx2.AsyncClient() as raw:
            late = await raw.post(service.url + "/mcp", json=_initialize(), headers=headers)

    assert verbs.calls[0].visitor.token == token
    assert late.status_code == 401


@bounded(30)
async def test_a_text_of_a_mebibyte_passes_and_a_body_without_measure_does_not(
    tmp_path: Path, verbs: RecordingVerbs, store: MemoryStore
) -> None:
    async with http_service(tmp_path, verbs, store) as service:
        async with client_over_http(service, bearer(tmp_path), "legacy") as client:
            taken = await client.call_tool("notify", {"summary": "\n" * (1 << 20)})
            refused = await client.call_tool("notify", {"summary": "x" * ((1 << 20) + 1)})
        async with httpx2.AsyncClient() as raw:
            body = b'{"x":"' + b"x" * (9 << 20) + b'"}'
            headers = _headers(tmp_path, **{"Content-Type": "application/json"})
            huge = await raw.post(service.url + "/mcp", content=body, headers=headers)

    assert not taken.is_error
    assert refused.is_error
    assert huge.status_code == 413


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with listen(str(tmp_path), 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(PalmetteError, match=f"port {port} is in use") as refusal:
            listen(str(tmp_path), port)

    assert refusal.value.code == "port_in_use"
    assert "--port" in refusal.value.hint


def test_a_port_taken_by_zero_is_taken_again_if_it_is_free(tmp_path: Path) -> None:
    with listen(str(tmp_path), 0) as first:
        port = first.getsockname()[1]
        with listen(str(tmp_path), 0) as second:
            assert second.getsockname()[1] != port
    (tmp_path / "port").write_text(f"{port}\n")
    with listen(str(tmp_path), 0) as again:
        assert again.getsockname()[1] == port


@pytest.mark.parametrize("content", ["", "x", "80", "99999", "-1"])
def test_a_remembered_port_that_is_none_is_passed_over(tmp_path: Path, content: str) -> None:
    (tmp_path / "port").write_text(content)
    with listen(str(tmp_path), 0) as taken:
        assert taken.getsockname()[1] >= 1024
        assert (tmp_path / "port").read_text() == f"{taken.getsockname()[1]}\n"


def test_only_loopback_is_listened_on_and_without_delay(tmp_path: Path) -> None:
    with listen(str(tmp_path), 0) as taken:
        assert taken.getsockname()[0] == "127.0.0.1"
        # asyncio switches Nagle's algorithm off for sockets that say that they are TCP, and for no others.
        assert taken.proto == socket.IPPROTO_TCP
