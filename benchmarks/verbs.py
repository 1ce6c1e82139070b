"""The verbs over HTTP: a settlement's way to the waiting parent, and what a thousand waiting nodes weigh.

The floor of the first is a tool of a bare MCPServer that answers at once; client and server share a process in both.
The floor of the second is a bare MCPServer whose tool waits; there the servers are processes of their own.
"""

import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from statistics import median, quantiles
from typing import Any, cast

import anyio
import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.server import MCPServer

from benchmarks import Report
from palmette.coordination.commands.settling import Ending
from palmette.coordination.events import Event
from palmette.coordination.operator import Operator
from palmette.coordination.store import SqliteStore
from palmette.coordination.supervisor.settings import Settings
from palmette.coordination.supervisor.supervisor import Supervisor
from palmette.coordination.timepieces import RandomIds, SystemClock
from palmette.coordination.values import Amounts
from palmette.coordination.verbs import RunOrder, Verbs
from palmette.servers.access import Access, attempt_check, installation_token
from palmette.servers.coordination import coordination_server
from palmette.servers.http import HttpService, listen, serve_application
from palmette.servers.lines import lowlevel
from tests.fakes.harness import FakeHarnesses
from tests.fakes.outside import FakeChecks, FakeModels, FakePrices, FakeWorkspaces

__all__ = ["run"]

ROUNDS = 60
WAITING = int(os.environ.get("PALMETTE_BENCH_WAITING", "1000"))
_ROOT = Path(__file__).parents[1]
_HANDSHAKE: dict[str, Any] = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "bench", "version": "1"},
}


async def run(report: Report) -> None:
    """See the module."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536), hard))
    try:
        await _latency(report)
        await _weight(report)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# ── a settlement's way ───────────────────────────────────────────────────────────────────────────


async def _latency(report: Report) -> None:
    with tempfile.TemporaryDirectory() as directory:
        bare = await _bare_calls()
        ways = await _settlements(Path(directory))
        bare += await _bare_calls()
    floor, way = median(bare), median(ways)
    report.figure(
        "settled on disk → await_event, p50",
        f"{way * 1e3:.2f} ms",
        floor=f"bare tool call {floor * 1e3:.2f} ms",
        target=f"≤ 5 × the floor: {way / floor:.1f}",
        met=way <= 5 * floor,
    )
    report.figure("settled on disk → await_event, p90", f"{quantiles(ways, n=10)[-1] * 1e3:.2f} ms")


async def _bare_calls() -> list[float]:
    server = _bare_server()
    taken: list[float] = []
    with _loopback() as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
        app = server.streamable_http_app()
        async with server.session_manager.run(), anyio.create_task_group() as tasks:
            await tasks.start(serve_application, app, listener)
            async with Client(streamable_http_client(url), mode="legacy") as client:
                for _ in range(ROUNDS):
                    begun = time.perf_counter()
                    await client.call_tool("echo", {"text": "x"})
                    taken.append(time.perf_counter() - begun)
            tasks.cancel_scope.cancel()
    return taken


async def _settlements(data: Path) -> list[float]:
    taken: list[float] = []
    async with _tree(data) as (house, client):
        on_disk: list[float] = []

        def told(events: Sequence[Event]) -> None:
            if any(event.kind == "node_settled" for event in events):
                on_disk.append(time.perf_counter())

        unsubscribe = house.store.subscribe(told)
        cursor: str | None = None
        for number in range(ROUNDS):
            child = await _called(client, "spawn", task="x", label=f"child-{number}", budget={"turns": 1})
            arrived: list[float] = []

            async def wait(given: str | None, arrived: list[float] = arrived) -> None:
                nonlocal cursor
                answer = await _called(client, "await_event", wait_s=60, **({"cursor": given} if given else {}))
                arrived.append(time.perf_counter())
                assert [event["settlement"] for event in answer["events"]] == ["cancelled"]
                cursor = answer["cursor"]

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(wait, cursor)
                await anyio.sleep(0.05)  # the call is waiting by then; if not, the figure is only worse
                await house.finish(child["node"], Ending("stopped", "person", "measured"))
            taken.append(arrived[0] - on_disk[-1])
        unsubscribe()
    return taken


@asynccontextmanager
async def _tree(data: Path) -> AsyncGenerator[tuple[Supervisor, Client]]:
    """A driven root over a journal on disk, and a client that holds its token."""
    settings = Settings(data=data, version="0", relay_argv=(), pool=Amounts(None, None, 10_000, None), grace_s=0.1)
    harnesses = FakeHarnesses()
    async with SqliteStore.open(data, SystemClock()) as store:
        house = Supervisor(
            settings,
            store=store,
            clock=SystemClock(),
            ids=RandomIds(),
            harnesses=harnesses,
            workspaces=FakeWorkspaces(data),
            checks=FakeChecks(),
            prices=FakePrices(),
            models=FakeModels(),
        )
        with listen(str(data), 0) as listener:
            access = Access(installation_token(str(data)), attempt_check(store))
            server = lowlevel(coordination_server(Verbs(house)))
            service = HttpService(listener, server, store=store, access=access)
            async with house.running(), anyio.create_task_group() as tasks:
                await tasks.start(service.serve)
                root = await Operator(house).run(RunOrder(task="Drive.", repository="/repository"))
                harness = await harnesses.of(f"{root['node']}#1")
                token = await anyio.Path(harness.launch.token_file).read_text()
                headers = {"Authorization": f"Bearer {token}"}
                async with (
                    httpx2.AsyncClient(headers=headers, timeout=120) as http,
                    Client(streamable_http_client(f"{service.url}/mcp", http_client=http), mode="legacy") as client,
                ):
                    yield house, client
                tasks.cancel_scope.cancel()


async def _called(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    answer = cast(dict[str, Any], result.structured_content)
    if result.is_error or not answer["ok"]:
        raise RuntimeError(f"{tool}: {answer}")
    return answer


# ── a thousand waiting nodes ─────────────────────────────────────────────────────────────────────


async def _weight(report: Report) -> None:
    with tempfile.TemporaryDirectory(prefix="pm-") as directory, _loopback() as taken:
        port = taken.getsockname()[1]
        taken.close()
        bare = await _weigh([sys.executable, "-m", "benchmarks.verbs", str(port)], Path(directory), port, ours=False)
    with tempfile.TemporaryDirectory(prefix="pm-") as directory, _loopback() as taken:
        port = taken.getsockname()[1]
        taken.close()
        argv = [sys.executable, "-m", "tests.support.supervisor_program", f"{directory}/data", str(port)]
        ours = await _weigh(argv, Path(directory), port, ours=True)
    report.figure(
        f"{WAITING:,} nodes in await_event",
        f"{ours / WAITING:.0f} KiB each, {ours / 1024:.0f} MiB",
        floor=f"bare pending calls {bare / WAITING:.0f} KiB each",
        target=f"≤ 2 × the floor: {ours / bare:.1f}",
        met=ours <= 2 * bare,
    )


async def _weigh(argv: list[str], directory: Path, port: int, *, ours: bool) -> float:
    """How much a server process grows by WAITING clients, each with a session of its own and a waiting call; KiB."""
    env = {"PATH": os.environ["PATH"], "HOME": str(directory), "XDG_RUNTIME_DIR": str(directory)}
    async with await anyio.open_process(argv, cwd=_ROOT, env=env, stdout=subprocess.DEVNULL, stderr=None) as server:
        try:
            await _until_it_listens(port)
            headers = {"Accept": "application/json, text/event-stream"}
            if ours:
                headers["Authorization"] = f"Bearer {installation_token(str(directory / 'data'))}"
            limits = httpx2.Limits(max_connections=None, max_keepalive_connections=0)
            url = f"http://127.0.0.1:{port}/mcp"
            async with httpx2.AsyncClient(headers=headers, timeout=600, limits=limits) as http:
                await _one_client(http, url, ours, None)  # what the first request loads is no client's weight
                empty = full = _resident(server.pid)
                pending = _Pending(WAITING)
                async with anyio.create_task_group() as tasks:
                    for _ in range(WAITING):
                        tasks.start_soon(_one_client, http, url, ours, pending)
                        await anyio.sleep(0.005)
                    with anyio.fail_after(300):
                        await pending.all.wait()
                    await anyio.sleep(3)
                    full = _resident(server.pid)
                    tasks.cancel_scope.cancel()
            return full - empty
        finally:
            with suppress(ProcessLookupError):
                server.kill()


class _Pending:
    """Counts calls that are on their way."""

    def __init__(self, wanted: int) -> None:
        self._left = wanted
        self.all = anyio.Event()

    def one(self) -> None:
        self._left -= 1
        if self._left == 0:
            self.all.set()


async def _one_client(http: httpx2.AsyncClient, url: str, ours: bool, pending: _Pending | None) -> None:
    """A session; with `pending` it ends in a call that waits."""
    opened = await http.post(url, json=_request(0, "initialize", _HANDSHAKE))
    opened.raise_for_status()
    headers = {"mcp-session-id": opened.headers["mcp-session-id"], "mcp-protocol-version": "2025-11-25"}
    await http.post(url, json={"jsonrpc": "2.0", "method": "notifications/initialized"}, headers=headers)
    if ours:  # a node that has asked something has something to wait for
        asking = {"question": "q", "why": "w", "urgency": "can_continue", "wait_s": 0}
        (await http.post(url, json=_tool(1, "ask_parent", asking), headers=headers)).raise_for_status()
    if pending is None:
        return
    waiting = _tool(2, "await_event" if ours else "wait", {"wait_s": 240} if ours else {})
    async with http.stream("POST", url, json=waiting, headers=headers) as response:
        response.raise_for_status()
        pending.one()
        async for line in response.aiter_lines():
            if line.startswith("data: {") and '"result"' in line:
                raise RuntimeError(f"a call that should wait was answered: {line[:400]}")


def _request(number: int, method: str, params: dict[str, Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


def _tool(number: int, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return _request(number, "tools/call", {"name": name, "arguments": arguments})


async def _until_it_listens(port: int) -> None:
    with anyio.fail_after(60):
        while True:
            try:
                stream = await anyio.connect_tcp("127.0.0.1", port)
            except OSError:
                await anyio.sleep(0.05)
            else:
                await stream.aclose()
                return


def _resident(pid: int) -> float:
    """Resident memory, KiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return float(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")))


def _loopback() -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", 0))
    listener.listen(2048)
    return listener


def _bare_server() -> MCPServer[Any]:
    server: MCPServer[Any] = MCPServer("bare", log_level="ERROR")

    @server.tool()
    async def echo(text: str) -> dict[str, str]:
        """Answer at once."""
        return {"text": text}

    @server.tool()
    async def wait() -> dict[str, str]:
        """Never answer."""
        await anyio.sleep_forever()
        return {}

    return server


def _bare_process(port: int) -> None:
    """The floor's server as a process of its own; it inherits the limit of descriptors."""

    async def serve() -> None:
        server = _bare_server()
        app = server.streamable_http_app()
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", port))
            listener.listen(2048)
            async with server.session_manager.run():
                await serve_application(app, listener)

    anyio.run(serve)


if __name__ == "__main__":
    _bare_process(int(sys.argv[1]))
