"""From the source to a wheel in a fresh environment: every module and data file arrives, and the command runs."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.support.require import require

ROOT = Path(__file__).parents[2]
ROOMS = ("servers", "coordination", "checks", "sandbox")
UV = Path(sys.executable).with_name("uv")


def run(*command: str | Path, cwd: Path) -> str:
    """Run a program to its end; return what it printed."""
    keep = {name: os.environ[name] for name in os.environ if name.startswith(("PATH", "HOME", "UV_", "SSL_", "PIP_"))}
    done = subprocess.run(command, cwd=cwd, env=keep, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr[-2000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An sdist of the tree as git would commit it, and the wheel made of that sdist."""
    require("uv", UV.exists(), "the development environment has none")
    out = tmp_path_factory.mktemp("dist")
    run(UV, "build", "--quiet", "--sdist", "--out-dir", out, ROOT, cwd=out)
    (sdist,) = out.glob("*.tar.gz")
    run(UV, "build", "--quiet", "--wheel", "--out-dir", out, sdist, cwd=out)
    return out


def contents() -> set[str]:
    """Every file of the rooms that belongs to the package, by its name there."""
    listed = run("git", "ls-files", "-z", "--", *ROOMS, cwd=ROOT).split("\0")
    return {f"palmette/{name}" for name in listed if name} | {"palmette/__init__.py", "palmette/py.typed"}


def test_the_links_are_relative_and_lead_to_the_rooms() -> None:
    for room in ROOMS:
        assert os.readlink(ROOT / "palmette" / room) == f"../{room}"
        assert (ROOT / "palmette" / room / "__init__.py").is_file()


def test_the_sdist_holds_files_instead_of_links(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        members = archive.getmembers()
    assert not [member.name for member in members if member.issym() or member.islnk()]
    inside = {member.name.partition("/")[2] for member in members}
    assert contents() <= inside


def test_the_wheel_holds_every_module_and_data_file_and_one_top_level_name(built: Path) -> None:
    with zipfile.ZipFile(next(built.glob("*.whl"))) as archive:
        names = set(archive.namelist())
    assert contents() <= names
    assert {"palmette/coordination/store/schema.sql", "palmette/coordination/profiles_shipped/worker.md"} <= names
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {"palmette"}


def test_the_command_runs_from_a_fresh_environment(built: Path, tmp_path: Path) -> None:
    environment = tmp_path / "venv"
    run(UV, "venv", "--quiet", "--python", sys.executable, environment, cwd=tmp_path)
    python = environment / "bin/python"
    run(UV, "pip", "install", "--quiet", "--no-deps", "--python", python, next(built.glob("*.whl")), cwd=tmp_path)
    # The dependencies are those of this environment, which is locked; palmette itself must be the wheel's.
    (site,) = environment.glob("lib/python*/site-packages")
    elsewhere = tmp_path / "dependencies"
    elsewhere.mkdir()
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not entry.name.startswith(("palmette", "_palmette", "_editable", "__editable__")):
            (elsewhere / entry.name).symlink_to(entry)
    (site / "dependencies.pth").write_text(f"{elsewhere}\n")
    where = run(python, "-c", "import palmette.servers as found; print(found.__file__)", cwd=tmp_path).strip()
    assert Path(where).is_relative_to(environment)
    assert "mcp" in run(environment / "bin/palmette", "--help", cwd=tmp_path)
    assert run(environment / "bin/palmette", "mcp", "--help", cwd=tmp_path).startswith("usage: palmette mcp")
    profiles = "from palmette.coordination.profiles import names; print(names(None))"
    assert "worker" in run(python, "-c", profiles, cwd=tmp_path)
    shutil.rmtree(environment)
