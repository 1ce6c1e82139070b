"""A client of the operator API over its unix socket; where no supervisor runs, the same answers from the journal."""

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import httpx2

from palmette.coordination.errors import PalmetteError
from palmette.servers import launch

__all__ = ["Client", "Gone", "connect"]

_TIMEOUT = httpx2.Timeout(120.0, connect=5.0)
"""Seconds; a stop waits for graces, and the stream, which has no bound, says so itself."""

_DOWN_HINT = "palmette up"


class Gone(PalmetteError):
    """The supervisor went away in the middle of an answer."""

    code = "supervisor_down"


class Client:
    """Calls by method and path; errors come back as the PalmetteError that they were."""

    def __init__(self, http: httpx2.AsyncClient, *, live: bool) -> None:
        self._http = http
        self.live = live
        """Whether a supervisor answers; else the journal does, and nothing can be changed."""

    async def get(self, path: str, **query: str | int | None) -> Any:
        """GET /api/PATH; parameters that are None are left out.

        Raises:
            PalmetteError: the answer was an error. Gone: there was none.
        """
        return await self._call("GET", path, params={name: v for name, v in query.items() if v is not None})

    async def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """POST /api/PATH with a JSON body.

        Raises:
            PalmetteError: the answer was an error, or no supervisor runs. Gone: there was no answer.
        """
        if not self.live:
            raise PalmetteError("no supervisor runs here", _DOWN_HINT, code="supervisor_down")
        return await self._call("POST", path, content=json.dumps(body or {}).encode())

    async def follow(self, after: int, **query: str | None) -> AsyncGenerator[dict[str, Any]]:
        """Events behind `after` as they come, until the supervisor goes.

        Raises:
            PalmetteError: the answer was an error. Gone: the stream broke.
        """
        params = {"after": str(after)} | {name: value for name, value in query.items() if value is not None}
        headers = {"accept": "text/event-stream"}
        # A heartbeat comes every 15 s: three missed ones, and nobody is there.
        timeout = httpx2.Timeout(45.0, connect=5.0)
        try:
            async with self._http.stream("GET", "/api/events", params=params, headers=headers, timeout=timeout) as got:
                if got.status_code != 200:
                    await got.aread()
                    raise _error(got)
                async for line in got.aiter_lines():
                    if line.startswith("data: "):
                        yield cast(dict[str, Any], json.loads(line[6:]))
        except httpx2.TransportError as error:
            raise _gone(error) from error

    async def _call(self, method: str, path: str, **given: Any) -> Any:
        try:
            answer = await self._http.request(method, f"/api/{path}", **given)
        except httpx2.TransportError as error:
            raise _gone(error) from error
        if answer.status_code >= 400:
            raise _error(answer)
        return answer.json()


@asynccontextmanager
async def connect(data: str) -> AsyncGenerator[Client]:
    """A client of the data directory's supervisor; if none runs, of its journal, for reading only.

    Raises:
        PalmetteError: `no_journal` if there is neither.
    """
    if launch.is_running(data) and (record := launch.recorded(data)):
        transport = httpx2.AsyncHTTPTransport(uds=record["addresses"]["api"])
        async with httpx2.AsyncClient(transport=transport, base_url="http://palmette", timeout=_TIMEOUT) as http:
            if await _answers(http):
                yield Client(http, live=True)
                return
    from palmette.servers.reading import journal_application

    async with journal_application(data) as app:
        still = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(transport=still, base_url="http://palmette", timeout=_TIMEOUT) as http:
            yield Client(http, live=False)


async def _answers(http: httpx2.AsyncClient) -> bool:
    try:
        await http.get("/api/status")
    except httpx2.TransportError:
        return False
    return True


def _gone(error: httpx2.TransportError) -> Gone:
    what = "did not answer in time" if isinstance(error, httpx2.TimeoutException) else "went away"
    return Gone(f"the supervisor {what}", "palmette up --status")


def _error(answer: httpx2.Response) -> PalmetteError:
    try:
        told: object = answer.json()
    except ValueError:
        told = None
    if isinstance(told, dict):
        found = cast(dict[str, Any], told).get("error")
        if isinstance(found, dict):
            shown = cast(dict[str, Any], found)
            return PalmetteError(str(shown["message"]), str(shown["hint"]), code=str(shown["kind"]))
    return PalmetteError(f"the answer was {answer.status_code} and no JSON", "palmette doctor", code="bad_answer")
