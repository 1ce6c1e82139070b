"""The journal as server-sent events: what is there, then what comes, and again from where a client left (E11)."""

import json
from collections.abc import AsyncGenerator, MutableMapping
from contextlib import aclosing
from typing import Any

import anyio
import httpx2
import pytest

from palmette.servers.client import Client
from palmette.servers.stream import EventStream, Filter
from tests.support.house import House

pytestmark = pytest.mark.anyio


async def messages(
    api: httpx2.AsyncClient, path: str = "/api/events", **headers: str
) -> AsyncGenerator[tuple[int, dict[str, Any]]]:
    given = {"accept": "text/event-stream"} | {name.replace("_", "-"): value for name, value in headers.items()}
    async with api.stream("GET", path, headers=given) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        seq = -1
        async for line in answer.aiter_lines():
            if line.startswith("id: "):
                seq = int(line[4:])
            elif line.startswith("data: "):
                yield seq, json.loads(line[6:])


async def take(stream: AsyncGenerator[tuple[int, dict[str, Any]]], number: int) -> list[dict[str, Any]]:
    taken: list[dict[str, Any]] = []
    with anyio.fail_after(10):  # less than a heartbeat, which would bring late what was not told at once
        while len(taken) < number:
            seq, event = await anext(stream)
            assert event["seq"] == seq
            taken.append(event)
    return taken


@pytest.mark.rule("E11")
async def test_the_stream_tells_what_is_there_and_then_what_comes(api: httpx2.AsyncClient, house: House) -> None:
    root = await house.run()
    node = root.launch.attempt.partition("#")[0]
    there = (await api.get("/api/events")).json()
    async with aclosing(messages(api)) as stream:
        assert await take(stream, len(there)) == there
        await api.post(f"/api/nodes/{node}/pause")
        assert [event["kind"] for event in await take(stream, 1)] == ["node_paused"]


@pytest.mark.rule("E11")
async def test_a_client_that_comes_again_gets_what_it_has_not_seen(api: httpx2.AsyncClient, house: House) -> None:
    await house.run()
    there = (await api.get("/api/events")).json()
    async with aclosing(messages(api, last_event_id=str(there[1]["seq"]))) as stream:
        assert await take(stream, len(there) - 2) == there[2:]
    async with aclosing(messages(api, f"/api/events?after={there[0]['seq']}")) as stream:
        assert await take(stream, 1) == there[1:2]


async def test_kinds_narrow_the_stream(api: httpx2.AsyncClient, house: House) -> None:
    root = await house.run()
    node = root.launch.attempt.partition("#")[0]
    async with aclosing(messages(api, "/api/events?kinds=node_spawned,node_paused")) as stream:
        await api.post(f"/api/nodes/{node}/pause")
        assert [event["kind"] for event in await take(stream, 2)] == ["node_spawned", "node_paused"]


async def test_the_products_own_client_follows(api: httpx2.AsyncClient, house: House) -> None:
    root = await house.run()
    node = root.launch.attempt.partition("#")[0]
    async with aclosing(Client(api, live=True).follow(0, kinds="node_paused")) as stream:
        await api.post(f"/api/nodes/{node}/pause")
        with anyio.fail_after(10):
            assert (await anext(stream))["node"] == node


async def test_a_silent_stream_says_that_it_lives(house: House) -> None:
    sent: list[bytes] = []
    alive = anyio.Event()

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message.get("body", b""))
        if sent[-1] == b": alive\n\n":
            alive.set()

    async def receive() -> dict[str, Any]:
        await alive.wait()
        return {"type": "http.disconnect"}

    stream = EventStream(house.operator, Filter(kinds=("node_paused",)), 0, heartbeat_s=0.01)
    with anyio.fail_after(20):
        await stream({"type": "http"}, receive, send)
    assert alive.is_set()


async def test_a_reader_that_takes_nothing_is_cut_and_costs_one_page(house: House) -> None:
    await house.run()
    begun: list[int] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        if "id: " in message.get("body", b"").decode():
            begun.append(len(message["body"]))
            await anyio.sleep_forever()

    async def receive() -> dict[str, Any]:
        await anyio.sleep_forever()
        raise AssertionError

    with anyio.fail_after(20):
        await EventStream(house.operator, Filter(), 0, patience_s=0.05)({"type": "http"}, receive, send)
    assert len(begun) == 1
