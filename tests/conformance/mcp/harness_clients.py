"""The MCP clients of Claude Code, Codex and opencode: where they are, and whether they connect to a server."""

import json
import shutil
import subprocess
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio

from tests.support.installation import Installation
from tests.support.require import require

__all__ = ["CLIENTS", "Http", "Stdio"]

NPM = Path(__file__).with_name("harnesses") / "node_modules"
INSTALL = f"it is not on PATH; run `npm ci` in {NPM.parent.relative_to(Path(__file__).parents[3])}"

_BINARIES = {
    "claude": "@anthropic-ai/claude-code-linux-*/claude",
    "codex": "@openai/codex-linux-*/vendor/*/bin/codex",
    "opencode": "opencode-linux-*/bin/opencode",
}
# Nothing listens there: whatever does not go to loopback fails at once, as without a network.
_NO_NETWORK = {"HTTP_PROXY": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1"}
_TOKEN = "PALMETTE_TEST_BEARER"


@dataclass(frozen=True)
class Stdio:
    """A server that the client starts."""

    argv: Sequence[str]


@dataclass(frozen=True)
class Http:
    """A server that runs; the token is given in the environment, and named in the client's config."""

    url: str
    token: str


Server = Stdio | Http


async def _claude(place: Installation, server: Server) -> bool:
    add = ["mcp", "add", "palmette"]
    if isinstance(server, Stdio):
        add += ["--", *server.argv]
    else:
        header = f"Authorization: Bearer ${{{_TOKEN}}}"
        add = ["mcp", "add", "--transport", "http", "palmette", server.url, "--header", header]
    quiet = {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_AUTOUPDATER": "1"}
    await _run(place, server, ["claude", *add], quiet)
    told = await _run(place, server, ["claude", "mcp", "list"], quiet)
    (line,) = (line for line in told.splitlines() if line.startswith("palmette: "))
    return line.endswith("Connected")


async def _codex(place: Installation, server: Server) -> bool:
    """`codex mcp list` shows the config and connects to nothing: its app-server is asked for the servers' state."""
    home = place.directory / "codex"
    home.mkdir()
    if isinstance(server, Stdio):
        # A stdio server gets a short list of variables and what the config gives.
        lines = [f"command = {json.dumps(server.argv[0])}", f"args = {json.dumps(list(server.argv[1:]))}"]
        lines.append(f"env = {{ XDG_RUNTIME_DIR = {json.dumps(place.environment()['XDG_RUNTIME_DIR'])} }}")
    else:
        lines = [f"url = {json.dumps(server.url)}", f'bearer_token_env_var = "{_TOKEN}"']
    (home / "config.toml").write_text("\n".join(["[mcp_servers.palmette]", *lines, "startup_timeout_sec = 30\n"]))
    says: list[dict[str, Any]] = [
        {"id": 0, "method": "initialize", "params": {"clientInfo": {"name": "test", "version": "1"}}},
        {"method": "initialized"},
        {"id": 1, "method": "mcpServerStatus/list", "params": {}},
    ]
    (found,) = (await _ask_app_server(place, server, home, says))["data"]
    assert found["name"] == "palmette"
    return "await_event" in found["tools"]


async def _ask_app_server(
    place: Installation, server: Server, home: Path, says: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """What it answers to the last of these messages."""
    env = _environment(place, server) | {"CODEX_HOME": str(home)}
    argv = [_binary("codex"), "app-server"]
    with anyio.fail_after(60):
        async with await anyio.open_process(argv, env=env, cwd=place.directory, stderr=subprocess.DEVNULL) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            for message in says:
                await process.stdin.send(json.dumps(message).encode() + b"\n")
            buffered = b""
            async for chunk in process.stdout:
                *lines, buffered = (buffered + chunk).split(b"\n")
                for line in lines:
                    answer: dict[str, Any] = json.loads(line) if line.startswith(b"{") else {}
                    if answer.get("id") == says[-1]["id"]:
                        await process.stdin.aclose()
                        return answer["result"]
    raise AssertionError("codex ended without an answer")


async def _opencode(place: Installation, server: Server) -> bool:
    entry: dict[str, Any] = {"timeout": 30_000}
    if isinstance(server, Stdio):
        entry |= {"type": "local", "command": list(server.argv)}
    else:
        headers = {"Authorization": f"Bearer {{env:{_TOKEN}}}"}
        entry |= {"type": "remote", "url": server.url, "oauth": False, "headers": headers}
    config = place.directory / "opencode.json"
    config.write_text(json.dumps({"autoupdate": False, "share": "disabled", "mcp": {"palmette": entry}}))
    switched_off = ("AUTOUPDATE", "MODELS_FETCH", "LSP_DOWNLOAD", "DEFAULT_PLUGINS", "PROJECT_CONFIG", "CLAUDE_CODE")
    env = {f"OPENCODE_DISABLE_{what}": "1" for what in switched_off}
    told = await _run(place, server, ["opencode", "mcp", "list"], env | {"OPENCODE_CONFIG": str(config)})
    assert "palmette" in told
    return "✓ palmette" in told


CLIENTS: dict[str, Callable[[Installation, Server], Awaitable[bool]]] = {
    "claude": _claude,
    "codex": _codex,
    "opencode": _opencode,
}
"""By the harness's name: whether its client connects. Skips the test where the harness is not installed."""


def _binary(name: str) -> str:
    found = next((str(path) for path in NPM.glob(_BINARIES[name])), None) or shutil.which(name)
    require(name, found is not None, INSTALL)
    return found or name


def _environment(place: Installation, server: Server) -> dict[str, str]:
    """A home of its own, no key, no network, and nothing that names the installation but the server's own argv."""
    env = {name: value for name, value in place.environment().items() if name not in ("PALMETTE_DATA", "PYTHONPATH")}
    given = {_TOKEN: server.token} if isinstance(server, Http) else {}
    return env | _NO_NETWORK | {"TMPDIR": str(place.directory), "NO_COLOR": "1"} | given


async def _run(place: Installation, server: Server, argv: Sequence[str], more: Mapping[str, str]) -> str:
    name, *arguments = argv
    env = {**_environment(place, server), **more}
    with anyio.fail_after(60):
        done = await anyio.run_process([_binary(name), *arguments], env=env, cwd=place.directory, check=False)
    assert done.returncode == 0, (argv, done.stdout.decode(), done.stderr.decode())
    return done.stdout.decode()
