"""The README shows only commands that run: each one is run here, in a repository and an installation of its own."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from tests.support.installation import ROOT, Installation

README = (ROOT / "README.md").read_text(encoding="utf-8")
PLAY = """
scenarios:
  - name: root
    steps:
      - call: {tool: submit, arguments: {result: "Nothing was to be done."}}
      - say: Done.
"""


def commands() -> list[str]:
    """Every line of the README's shell blocks."""
    blocks = re.findall(r"^```sh\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.strip()]


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 150


def test_its_palmette_commands_run_in_order(place: Installation) -> None:
    repository = place.directory / "repository"
    repository.mkdir()
    for argv in (
        ["git", "init", "-q"],
        ["git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "first"],
    ):
        subprocess.run(argv, cwd=repository, check=True)
    (repository / "play.yaml").write_text(PLAY)
    lines = [line for line in commands() if line.startswith("palmette ")]
    assert len(lines) >= 6
    for line in lines:
        done = place.run(*shlex.split(line)[1:], cwd=repository)
        assert done.returncode == 0, (line, done.stdout, done.stderr)
    assert place.survivors() == set()


def test_its_configuration_block_starts_the_server(place: Installation) -> None:
    block = re.search(r"^```json\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
    assert block is not None
    server = json.loads(block.group(1))["mcpServers"]["palmette"]
    assert server["command"] == "palmette"
    hello = (
        '{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},'
        '"clientInfo":{"name":"readme","version":"0"}}}\n'
    )
    with place.started(place.command(*server["args"]), stdin=subprocess.PIPE) as relay:
        assert relay.stdin is not None
        assert relay.stdout is not None
        relay.stdin.write(hello)
        relay.stdin.flush()
        assert json.loads(relay.stdout.readline())["result"]["serverInfo"]["name"] == "palmette"
        relay.stdin.close()
        assert relay.wait(10) == 0
    assert place.run("down").returncode == 0


def test_its_make_commands_work_in_a_fresh_clone(place: Installation) -> None:
    """With nothing but the package registries: an empty home, a new virtual environment, the lock file."""
    assert [line for line in commands() if line.startswith("make ")] == ["make demo", "make test"]
    clone = place.directory / "clone"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    environment = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "UV_", "SSL_"))}
    environment |= {
        "PATH": f"{_without_venv()}",
        "HOME": str(place.directory / "home"),
        "XDG_RUNTIME_DIR": str(place.directory / "run"),
        "LANG": "C.UTF-8",
    }
    for argv, told in (
        (["make", "demo", f"ARGS=--data {place.data}"], "the books add up"),
        (["make", "test", "ARGS=-q tests/unit/coordination"], " passed"),
    ):
        done = subprocess.run(
            argv, cwd=clone, env=environment, capture_output=True, text=True, timeout=500, check=False
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        assert told in done.stdout


def _without_venv() -> str:
    """PATH as a newcomer has it: without this test run's own environment."""
    own = str(Path(sys.prefix) / "bin")
    return os.pathsep.join(part for part in os.environ.get("PATH", os.defpath).split(os.pathsep) if part != own)


def test_it_shows_no_other_commands() -> None:
    assert [line for line in commands() if not line.startswith(("palmette ", "make "))] == []
