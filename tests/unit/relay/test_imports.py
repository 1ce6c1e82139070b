"""What starts with every harness stays small."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PARTS = ("places", "relay", "relay_dial", "relay_exchange", "relay_pump", "relay_wire")
OURS = {"palmette", "palmette.servers", *(f"palmette.servers.{part}" for part in PARTS)}

PROBE = """
import sys
sys.path.append(sys.argv[1])
import palmette.servers.relay
import json
print(json.dumps(sorted(sys.modules)))
"""


@pytest.mark.rule("R10")
def test_the_relay_imports_the_standard_library_and_its_own_parts_only() -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", PROBE, str(ROOT)], capture_output=True, text=True, check=True, timeout=60
    )
    modules = set(json.loads(done.stdout))
    assert {name for name in modules if name.partition(".")[0] == "palmette"} == OURS
    assert {name.partition(".")[0] for name in modules} - set(sys.stdlib_module_names) == {"__main__", "palmette"}
    assert not modules & {
        "argparse",
        "asyncio",
        "dataclasses",
        "inspect",
        "logging",
        "pathlib",
        "subprocess",
        "hashlib",
    }


@pytest.mark.rule("R10")
@pytest.mark.parametrize("path", ["servers/relay.py", "palmette/servers/relay.py"])
def test_the_relay_runs_by_its_path_isolated_from_everything(path: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(ROOT / path), "--help"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        cwd=tmp_path,
        env={},
    )
    assert done.stdout.startswith("usage: palmette mcp")
    assert done.stderr == ""
