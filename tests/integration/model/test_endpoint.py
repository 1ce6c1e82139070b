"""The endpoint around the dialects: lists, counts, sockets, the command, speed of the first byte."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import anyio
import httpx2
import pytest
from uvicorn.protocols.http.h11_impl import H11Protocol

from palmette.sandbox.model import ListenError, Script, serve
from tests.integration.model.wire import Chat

pytestmark = pytest.mark.anyio

SCRIPT = Script.load("models: [m-1, vendor/m-2]\nscenarios:\n  - {name: only, steps: [{say: hi}]}\n")


async def test_models_are_listed_in_the_dialect_that_asks() -> None:
    with anyio.fail_after(20):
        async with serve(SCRIPT) as url, httpx2.AsyncClient(base_url=url) as client:
            openai = (await client.get("/v1/models")).json()
            assert [entry["id"] for entry in openai["data"]] == ["m-1", "vendor/m-2"]
            assert openai["object"] == "list"
            anthropic = (await client.get("/v1/models", headers={"anthropic-version": "2023-06-01"})).json()
            assert [entry["type"] for entry in anthropic["data"]] == ["model", "model"]
            assert anthropic["has_more"] is False
            assert (await client.get("/v1/models/vendor/m-2")).json()["id"] == "vendor/m-2"
            assert (await client.get("/v1/models/none")).status_code == 404


async def test_what_a_harness_asks_beside_the_model_is_answered() -> None:
    with anyio.fail_after(20):
        async with serve(SCRIPT) as url, httpx2.AsyncClient(base_url=url) as client:
            assert (await client.head("/")).status_code == 200
            assert (await client.get("/")).json()["scenarios"] == ["only"]
            body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x" * 400}]}).encode()
            counted = await client.post("/v1/messages/count_tokens?beta=true", content=body)
            assert counted.json() == {"input_tokens": -(-len(body) // 4)}
            assert (await client.post("/v1/messages/count_tokens", content=b"{}")).status_code == 400
            unknown = await client.post("/v1/embeddings", content=b"{}")
            assert unknown.status_code == 404
            assert "/v1/responses" in unknown.json()["error"]["message"]
            wrong = await client.get("/v1/messages")
            assert wrong.status_code == 405
            assert wrong.json()["type"] == "error"


async def test_a_unix_socket_is_served_privately_and_removed(tmp_path: Path) -> None:
    path = tmp_path / "model.sock"
    with anyio.fail_after(20):
        async with serve(SCRIPT, port=None, uds=path) as url:
            assert path.stat().st_mode & 0o777 == 0o600
            transport = httpx2.AsyncHTTPTransport(uds=str(path))
            async with httpx2.AsyncClient(base_url=url, transport=transport) as client:
                talk = Chat(client, stream=True)
                talk.user("go")
                assert (await talk.send()).text == "hi"
            with pytest.raises(ListenError, match="cannot be listened on"):
                async with serve(SCRIPT, port=None, uds=path):
                    pass
    assert not path.exists()


async def test_a_socket_left_by_a_dead_endpoint_is_taken_over_but_a_file_is_not(tmp_path: Path) -> None:
    path = tmp_path / "model.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with anyio.fail_after(20):
        async with serve(SCRIPT, port=None, uds=path):
            pass
        path.write_text("mine")
        with pytest.raises(ListenError):
            async with serve(SCRIPT, port=None, uds=path):
                pass
    assert path.read_text() == "mine"


async def test_a_port_in_use_is_a_clear_error() -> None:
    with anyio.fail_after(20):
        async with serve(SCRIPT) as url:
            port = int(url.rpartition(":")[2])
            with pytest.raises(ListenError) as caught:
                async with serve(SCRIPT, port=port):
                    pass
    assert caught.value.code == "cannot_listen"
    assert str(port) in caught.value.message


@pytest.mark.parametrize(("port", "uds"), [(70000, None), (None, None), (None, "x" * 200)])
async def test_an_impossible_address_is_a_clear_error(port: int | None, uds: str | None, tmp_path: Path) -> None:
    with pytest.raises(ListenError):
        async with serve(SCRIPT, port=port, uds=tmp_path / uds if uds else None):
            pass


async def test_the_endpoint_ends_although_a_reply_is_silent() -> None:
    script = Script.load("scenarios:\n  - {name: only, steps: [{say: hi, fault: silent}]}\n")
    with anyio.fail_after(20):
        async with httpx2.AsyncClient() as client:
            async with serve(script) as url:
                body = {"model": "m", "messages": [{"role": "user", "content": "go"}], "stream": True}
                request = client.build_request("POST", f"{url}/v1/chat/completions", json=body)
                response = await client.send(request, stream=True)
                assert response.status_code == 200
            with pytest.raises(httpx2.RemoteProtocolError):
                await response.aread()


async def test_a_failure_or_a_cancellation_of_its_user_ends_the_endpoint_too() -> None:
    urls: list[str] = []

    async def fail_inside() -> None:
        async with serve(SCRIPT) as url:
            urls.append(url)
            raise ZeroDivisionError

    with anyio.fail_after(20):
        with pytest.raises(ZeroDivisionError):
            await fail_inside()
        with anyio.CancelScope() as scope:
            async with serve(SCRIPT) as url:
                urls.append(url)
                scope.cancel()
                await anyio.sleep_forever()
        for url in urls:
            with pytest.raises(httpx2.ConnectError):
                httpx2.get(url)


async def test_a_cancelled_endpoint_leaves_no_connection_open() -> None:
    script = Script.load("scenarios:\n  - {name: only, steps: [{say: hi, fault: silent}]}\n")
    body = {"model": "m", "messages": [{"role": "user", "content": "go"}], "stream": True}
    responses: list[httpx2.Response] = []
    with anyio.fail_after(20):
        async with httpx2.AsyncClient(timeout=None) as client:
            with anyio.CancelScope() as scope:
                async with serve(script) as url:
                    request = client.build_request("POST", f"{url}/v1/chat/completions", json=body)
                    responses.append(await client.send(request, stream=True))
                    scope.cancel()
                    await anyio.sleep_forever()
            with pytest.raises(httpx2.RemoteProtocolError):
                await responses[0].aread()


async def test_connections_do_not_wait_for_delayed_acknowledgements(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without TCP_NODELAY each streamed reply takes 40 ms; asyncio sets it only on sockets whose protocol is named."""
    options: list[int] = []
    made = H11Protocol.connection_made

    def noted(self: H11Protocol, transport: asyncio.Transport) -> None:
        options.append(transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        made(self, transport)

    monkeypatch.setattr(H11Protocol, "connection_made", noted)
    with anyio.fail_after(20):
        async with serve(SCRIPT) as url, httpx2.AsyncClient() as client:
            await client.get(url)
    assert options == [1]


def test_the_command_prints_where_it_listens_and_ends_on_a_signal(tmp_path: Path) -> None:
    file = tmp_path / "play.yaml"
    file.write_text("scenarios:\n  - {name: only, steps: [{say: hi}]}\n")
    code = "import sys; from palmette.sandbox.model import main; main(sys.argv[1], port=0, as_json=True)"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(file)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            shown = json.loads(process.stdout.readline())
            assert shown["pid"] == process.pid
            assert shown["scenarios"] == ["only"]
            assert httpx2.get(shown["url"] + "/v1/models").status_code == 200
            os.kill(process.pid, signal.SIGTERM)
            assert process.wait(timeout=10) == 0
            assert process.stderr.read() == b""
        finally:
            process.kill()


def test_importing_it_pulls_nothing_of_the_rest() -> None:
    code = "import sys, palmette.sandbox.model; print(*sorted(m.partition('.')[0] for m in sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"mcp", "typer", "rich", "apsw", "httpx2", "genai_prices"} & set(run.stdout.split())
