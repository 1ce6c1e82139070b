"""Programs of other people: `npm ci` in the folder beside this file installs them."""

import subprocess
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

from tests.conformance.mcp.waiting_tree import WaitingTree
from tests.support.installation import installation
from tests.support.require import require

NPM = Path(__file__).with_name("npm")
INSTALL = f"run `npm ci` in {NPM.relative_to(Path(__file__).parents[3])}"


@dataclass(frozen=True)
class NodeProgram:
    """A program of the npm folder, run by the Node that lies beside it."""

    path: Path
    home: Path

    async def run(self, *arguments: str, seconds: float = 60) -> subprocess.CompletedProcess[bytes]:
        """Run it to its end."""
        env = {"PATH": f"{NPM / 'node_modules' / '.bin'}:/usr/bin:/bin", "HOME": str(self.home), "NO_COLOR": "1"}
        argv = [str(NPM / "node_modules" / ".bin" / "node"), str(self.path), *arguments]
        with anyio.fail_after(seconds):
            return await anyio.run_process(argv, check=False, env=env, cwd=self.home)


def _program(name: str, tmp_path: Path) -> NodeProgram:
    binaries = NPM / "node_modules" / ".bin"
    return NodeProgram(binaries / name, tmp_path)


@pytest.fixture
def inspector(tmp_path: Path) -> NodeProgram:
    """The inspector's command line."""
    program = _program("mcp-inspector", tmp_path)
    require("inspector", program.path.exists() and (program.path.parent / "node").exists(), INSTALL)
    return program


@pytest.fixture
def conformance(tmp_path: Path) -> NodeProgram:
    """The protocol's conformance suite."""
    program = _program("conformance", tmp_path)
    require("conformance", program.path.exists() and (program.path.parent / "node").exists(), INSTALL)
    return program


@pytest.fixture
def waiting() -> Generator[WaitingTree]:
    """A fresh installation in which no supervisor runs, with a model whose children wait to be released."""
    with installation() as place:
        tree = WaitingTree(place)
        tree.prepare()
        yield tree
