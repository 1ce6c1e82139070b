"""The operator API: what it answers, and what it says to bad input."""

from typing import Any

import httpx2
import pytest

from palmette.coordination.codec import decode
from palmette.coordination.views import TreeView
from palmette.servers.operator import BODY_LIMIT
from tests.support.house import House

pytestmark = pytest.mark.anyio


def error_of(answer: httpx2.Response) -> tuple[int, str]:
    error: dict[str, Any] = answer.json()["error"]
    assert error["message"]
    assert set(error) >= {"kind", "message", "hint"}
    return answer.status_code, error["kind"]


async def test_a_run_is_shown_as_the_view_that_the_screens_are_made_of(api: httpx2.AsyncClient) -> None:
    begun = await api.post("/api/runs", json={"task": "Mend it.", "repository": "/repository", "pool": {"usd": 7}})
    assert begun.status_code == 201
    tree = begun.json()["tree"]

    view = decode(TreeView, (await api.get(f"/api/trees/{tree}")).json())
    assert (view.id, view.root.id, view.root.granted.usd) == (tree, f"{tree}/0", 7)
    assert [row["id"] for row in (await api.get("/api/trees")).json()] == [tree]
    assert (await api.get(f"/api/nodes/{tree}/0")).json()["node"] == f"{tree}/0"
    assert (await api.get("/api/status")).json()["trees"] == 1


async def test_a_person_steers_pauses_resumes_and_stops(api: httpx2.AsyncClient, house: House) -> None:
    root = await house.run()
    node = root.launch.attempt.partition("#")[0]

    said = await api.post(f"/api/nodes/{node}/steer", json={"text": "Look at the tests."})
    assert said.json()["outcome"] in ("delivered", "queued")
    assert (await api.post(f"/api/nodes/{node}/pause")).json()["paused"] is True
    assert (await api.post(f"/api/nodes/{node}/resume")).json()["paused"] is False
    assert error_of(await api.post(f"/api/nodes/{node}/resume")) == (409, "not_paused")
    assert (await api.post(f"/api/nodes/{node}/stop", json={"reason": "enough", "grace_s": 0})).json()["stopped"]
    actors = {event["actor"] for event in (await api.get("/api/events", params={"kinds": "node_settled"})).json()}
    assert actors == {"person"}


async def test_events_come_in_pages_and_by_kind(api: httpx2.AsyncClient, house: House) -> None:
    await house.run()
    every = (await api.get("/api/events")).json()
    page = (await api.get("/api/events", params={"after": every[0]["seq"], "limit": 1})).json()
    assert page == every[1:2]
    spawned = (await api.get("/api/events", params={"kinds": "tree_opened,node_spawned"})).json()
    assert {event["kind"] for event in spawned} == {"tree_opened", "node_spawned"}


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"{", "bad_request"),
        (b"\xff\xfe", "bad_request"),
        (b"[]", "bad_request"),
        (b'{"text": 5}', "bad_request"),
        (b'{"text": "a", "extra": 1}', "bad_request"),
        (b"{}", "bad_request"),
        (b'{"text": "a\\u0000b"}', "bad_text"),
        (b'{"text": "\\ud800"}', "bad_text"),
        (b"[" * 100_000, "bad_request"),
    ],
)
async def test_a_body_that_is_wrong_changes_nothing(
    api: httpx2.AsyncClient, house: House, body: bytes, kind: str
) -> None:
    root = await house.run()
    node = root.launch.attempt.partition("#")[0]
    before = len((await api.get("/api/events")).json())
    assert error_of(await api.post(f"/api/nodes/{node}/steer", content=body)) == (400, kind)
    assert len((await api.get("/api/events")).json()) == before


async def test_text_beyond_a_mebibyte_and_bodies_beyond_the_limit_are_too_large(
    api: httpx2.AsyncClient, house: House
) -> None:
    root = await house.run()
    node = root.launch.attempt.partition("#")[0]
    long = await api.post(f"/api/nodes/{node}/steer", json={"text": "x" * (1024 * 1024 + 1)})
    assert error_of(long) == (413, "too_large")
    longer = await api.post(f"/api/nodes/{node}/steer", content=b'"' + b"x" * BODY_LIMIT)
    assert error_of(longer) == (413, "too_large")


async def test_several_problems_are_told_at_once(api: httpx2.AsyncClient) -> None:
    answer = await api.post("/api/runs", json={"task": 1, "max_depth": -1, "wrong": True})
    message = answer.json()["error"]["message"]
    assert all(name in message for name in ("task", "max_depth", "wrong"))


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/api/trees/tnone", (404, "unknown_node")),
        ("GET", "/api/nodes/tnone/0", (404, "unknown_node")),
        ("POST", "/api/nodes/tnone/0/stop", (404, "unknown_node")),
        ("GET", "/api/nowhere", (404, "not_found")),
        ("GET", "/api/events?limit=0", (400, "bad_request")),
        ("GET", "/api/events?after=-1", (400, "bad_request")),
        ("GET", "/api/events?afterr=1", (400, "bad_request")),
        ("GET", "/api/events?kinds=nonsense", (400, "bad_kinds")),
        ("GET", "/api/trees/%00", (400, "bad_text")),
    ],
)
async def test_what_is_not_there_is_said_so(
    api: httpx2.AsyncClient, method: str, path: str, expected: tuple[int, str]
) -> None:
    assert error_of(await api.request(method, path)) == expected


async def test_a_question_that_is_none_cannot_be_answered(api: httpx2.AsyncClient) -> None:
    assert error_of(await api.post("/api/questions/q99/answer", json={"text": "yes"})) == (404, "unknown_question")
