"""An installation for each test, and a script whose root asks a person."""

import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.support.installation import Installation, installation

SCRIPT = """
scenarios:
  - name: root
    when: {tools: [submit]}
    steps:
      - call:
          tool: ask_parent
          arguments: {question: "Red \\x1b[31mor\\u202e blue?", why: "It matters.", urgency: blocks_run, wait_s: 60}
      - call: {tool: submit, arguments: {result: "Done."}}
      - say: Finished.
"""


@pytest.fixture
def place() -> Generator[Installation]:
    """A fresh installation, removed afterwards with everything that it started."""
    with installation() as made:
        yield made


@pytest.fixture
def model(place: Installation) -> str:
    """A model source: the root asks a person, and submits once it is answered."""
    path = place.directory / "play.yaml"
    path.write_text(SCRIPT)
    return f"scripted:{path}"


@pytest.fixture
def repository(place: Installation) -> Path:
    """A git repository with one commit."""
    path = place.directory / "repository"
    path.mkdir()
    (path / "a.txt").write_text("a\n")
    git = ["git", "-C", str(path), "-c", "user.name=x", "-c", "user.email=x@localhost"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        subprocess.run([*git, *arguments], check=True, env=place.environment())
    return path
