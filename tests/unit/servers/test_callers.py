"""Who makes a request: the connection says so, and nothing in the call can (S1)."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from mcp.server.context import ServerRequestContext

from palmette.coordination.identity import Visitor
from palmette.servers.access import HttpCaller
from palmette.servers.callers import CALLER_SCOPE, call_key, visitor_of
from palmette.servers.lines import CONNECTION, Connection


def _request(
    *,
    name: object = "claude-code",
    meta: dict[str, object] | None = None,
    caller: HttpCaller | None = None,
    session: str | None = None,
    request_id: int | str = 7,
    elicits: bool = False,
) -> ServerRequestContext[Any, Any]:
    headers = [(b"mcp-session-id", session.encode())] if session else []
    scope = {CALLER_SCOPE: caller, "headers": headers}
    client = SimpleNamespace(client_info=SimpleNamespace(name=name))
    capabilities = SimpleNamespace(elicitation=object() if elicits else None)
    return cast(
        ServerRequestContext[Any, Any],
        SimpleNamespace(
            request=None if caller is None else SimpleNamespace(scope=scope),
            request_id=request_id,
            meta=meta,
            session=SimpleNamespace(client_params=client, client_capabilities=capabilities),
        ),
    )


def _connection(*, token: str | None = None, env: dict[str, str] | None = None) -> Connection:
    return Connection("c1", "relay-session", token, 1, 2, "/home/me/project", env or {}, None, "0")


def _over_lines(connection: Connection, request: ServerRequestContext[Any, Any]) -> Visitor:
    reset = CONNECTION.set(connection)
    try:
        return visitor_of(request)
    finally:
        CONNECTION.reset(reset)


@pytest.mark.rule("S1", "R11")
def test_a_claude_session_is_known_by_its_environment() -> None:
    env = {"CLAUDE_CODE_SESSION_ID": "s1", "CLAUDE_PROJECT_DIR": "/srv/repo", "CLAUDE_CODE_ENTRYPOINT": "cli"}

    visitor = _over_lines(_connection(env=env), _request(elicits=True))

    assert visitor == Visitor("relay-session", None, "claude-code", "s1", "/srv/repo", person=True)
    assert visitor.root_key == "claude-code:s1"


@pytest.mark.rule("S1", "R11")
def test_a_codex_session_is_known_by_what_it_says_on_each_call() -> None:
    meta: dict[str, object] = {"x-codex-turn-metadata": {"session_id": "s2"}}

    assert _over_lines(_connection(), _request(name="codex-mcp-client", meta=meta)).root_key == "codex-mcp-client:s2"


@pytest.mark.rule("S1", "R11")
def test_a_client_without_a_session_is_its_relay() -> None:
    visitor = _over_lines(_connection(), _request(name="opencode"))

    assert visitor.root_key == "connection:relay-session"
    assert visitor.directory == "/home/me/project"


def test_a_headless_client_has_no_person_behind_it() -> None:
    headless = _connection(env={"CLAUDE_CODE_ENTRYPOINT": "sdk-cli"})

    assert _over_lines(headless, _request(elicits=True)).person is False
    assert _over_lines(_connection(), _request(elicits=False)).person is False


@pytest.mark.rule("S1")
def test_an_attempt_is_its_token_whatever_else_is_claimed() -> None:
    meta: dict[str, object] = {"x-codex-turn-metadata": {"session_id": "another"}}
    connection = _connection(token="secret", env={"CLAUDE_CODE_SESSION_ID": "another"})

    visitor = _over_lines(connection, _request(meta=meta, elicits=True))

    assert visitor == Visitor("relay-session", "secret", "claude-code")


@pytest.mark.rule("S1")
def test_over_http_the_bearer_token_decides() -> None:
    person = visitor_of(_request(caller=HttpCaller(None, "digest"), session="h1"))
    attempt = visitor_of(_request(caller=HttpCaller("secret", "digest"), session="h2"))

    assert (person.token, person.connection) == (None, "h1")
    assert (attempt.token, attempt.connection) == ("secret", "h2")


@pytest.mark.rule("S1")
def test_a_request_by_no_road_is_nobodys() -> None:
    with pytest.raises(LookupError):
        visitor_of(_request())


@pytest.mark.parametrize("name", ["x" * 61, "a\nb", "\x1b[31m", "", 7])
def test_a_name_that_cannot_stand_in_a_record_is_unknown(name: object) -> None:
    assert _over_lines(_connection(), _request(name=name)).harness == "unknown"


def test_a_relative_project_directory_is_not_believed() -> None:
    assert _over_lines(_connection(env={"CLAUDE_PROJECT_DIR": "../etc"}), _request()).directory == "/home/me/project"


def test_a_request_is_known_by_its_connection_and_id() -> None:
    request = _request()

    assert str(call_key(request, Visitor("here"))) == "here:7"
    assert str(call_key(_request(request_id="7"), Visitor("here"))) == 'here:"7"'


def test_without_a_session_the_same_id_is_not_the_same_request() -> None:
    person = HttpCaller(None, "digest")

    assert call_key(_request(caller=person), Visitor("here")) is None
    assert str(call_key(_request(caller=person, session="h1"), Visitor("h1"))) == "h1:7"
