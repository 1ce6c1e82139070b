"""The shape of the code: who imports whom, what is public, how much fits in a room."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("servers", "coordination", "checks", "sandbox", "corpus")
MODULES = sorted(path.relative_to(ROOT).as_posix() for room in ROOMS for path in (ROOT / room).rglob("*.py"))
ALONE = [
    path
    for path in MODULES
    if path.startswith(("servers/relay", "sandbox/harness/agent/"))
    or path in ("servers/places.py", "sandbox/isolation/reaper.py", "sandbox/workspace/collector.py")
]
"""What runs beside an agent: the standard library, and each other."""


# ── directions ───────────────────────────────────────────────────────────────────────────────────


def lint(directory: Path, importing: str = "", imported: str = "", *, typing_only: bool = False) -> str:
    """What import-linter says, by our own contracts, of a package in which one room imports something."""
    config = ROOT.joinpath("pyproject.toml").read_text(encoding="utf-8")
    assert tomllib.loads(config)["tool"]["importlinter"]["root_package"] == "palmette"
    (directory / "pyproject.toml").write_text(config, encoding="utf-8")
    for room in ("", *ROOMS):
        (directory / "palmette" / room).mkdir(exist_ok=True)
        (directory / "palmette" / room / "__init__.py").write_text("")
    if importing:
        line = f"import {imported}\n"
        text = f"from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    {line}" if typing_only else line
        (directory / "palmette" / importing / "module.py").write_text(text)
    program = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()", "--no-cache"]
    environment = {"PYTHONPATH": str(directory), "PATH": "/usr/bin:/bin", "HOME": str(directory)}
    done = subprocess.run(
        program, cwd=directory, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    return "kept" if done.returncode == 0 else done.stdout + done.stderr


@pytest.mark.parametrize(
    ("importing", "imported"), [("", ""), ("servers", "palmette.checks"), ("checks", "palmette.sandbox")]
)
def test_what_may_be_imported_passes(tmp_path: Path, importing: str, imported: str) -> None:
    assert lint(tmp_path, importing, imported) == "kept"


@pytest.mark.parametrize(
    ("importing", "imported"),
    [
        ("coordination", "palmette.sandbox"),
        ("coordination", "palmette.servers"),
        ("sandbox", "palmette.checks"),
        ("checks", "palmette.servers"),
        ("checks", "palmette.corpus"),
        ("corpus", "palmette.checks"),
        ("coordination", "mcp"),
    ],
)
def test_what_may_not_be_imported_is_caught(tmp_path: Path, importing: str, imported: str) -> None:
    told = lint(tmp_path, importing, imported)
    assert "BROKEN" in told
    assert f"palmette.{importing}" in told


def test_an_import_for_types_alone_counts_too(tmp_path: Path) -> None:
    assert "BROKEN" in lint(tmp_path, "coordination", "palmette.servers", typing_only=True)


@pytest.mark.rule("R10")
@pytest.mark.parametrize("path", ALONE)
def test_what_runs_beside_an_agent_needs_the_standard_library_alone(path: str) -> None:
    ours = {f"palmette.{name.removesuffix('.py').removesuffix('/__init__').replace('/', '.')}" for name in ALONE} | {
        "palmette"
    }
    foreign = {
        name
        for name in imports(ROOT / path)
        if name.partition(".")[0] not in sys.stdlib_module_names and name not in ours
    }
    assert not foreign


def test_there_is_something_that_runs_beside_an_agent() -> None:
    assert {"servers/relay.py", "sandbox/isolation/reaper.py", "sandbox/workspace/collector.py"} <= {*ALONE}


def test_a_foreign_import_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text("import os.path\nfrom anyio import abc\nfrom palmette.servers import places\n")
    assert set(imports(path)) == {"os.path", "anyio", "palmette.servers.places"}


def imports(path: Path) -> Iterator[str]:
    """The modules that a file imports, anywhere in it."""
    for statement in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom):
            assert statement.level == 0, f"{path}:{statement.lineno}: relative imports break behind the links"
            module = statement.module or ""
            for alias in statement.names:
                # `from package import module` names a module of ours; `from module import name` does not.
                inner = ROOT / module.removeprefix("palmette.").replace(".", "/") / f"{alias.name}.py"
                yield f"{module}.{alias.name}" if module.startswith("palmette") and inner.is_file() else module


# ── names ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", MODULES)
def test_what_is_listed_is_there(path: str) -> None:
    module = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    listed = exported(module) or []
    assert {*listed} <= bound(module), f"in __all__, but not there: {sorted({*listed} - bound(module))}"
    assert len(listed) == len({*listed})
    assert not any(name.startswith("_") for name in listed)


@pytest.mark.parametrize("path", MODULES)
def test_modules_use_only_what_others_list(path: str) -> None:
    names = unlisted(ast.parse((ROOT / path).read_text(encoding="utf-8")))
    assert not names, f"add to the `__all__` of their modules: {names}"


def test_the_use_of_an_unlisted_name_is_noticed() -> None:
    text = "from palmette.coordination.causes import CAUSES, Mapping\nfrom palmette.coordination import causes\n"
    assert unlisted(ast.parse(text)) == ["palmette.coordination.causes.Mapping"]


def unlisted(module: ast.Module) -> list[str]:
    """The names that a module takes from others of ours whose lists (programs have none) leave them out."""
    found: list[str] = []
    for statement in ast.walk(module):
        if not isinstance(statement, ast.ImportFrom) or not (statement.module or "").startswith("palmette."):
            continue
        name = statement.module or ""
        place = ROOT / name.removeprefix("palmette.").replace(".", "/")
        source = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        listed = exported(ast.parse(source.read_text(encoding="utf-8")))
        for alias in statement.names:
            is_module = (place / f"{alias.name}.py").is_file() or (place / alias.name).is_dir()
            if listed is not None and alias.name not in listed and not is_module:
                found.append(f"{name}.{alias.name}")
    return found


def exported(module: ast.Module) -> list[str] | None:
    """The names in `__all__`; None without one."""
    for statement in module.body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__all__":
            return list(ast.literal_eval(statement.value))
    return None


def bound(module: ast.Module) -> set[str]:
    """The names that a module binds at its top."""
    names: set[str] = set()
    for statement in module.body:
        match statement:
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                names.add(statement.name)
            case ast.Assign():
                names |= {ast.unparse(target) for target in statement.targets}
            case ast.AnnAssign():
                names.add(ast.unparse(statement.target))
            case ast.Import() | ast.ImportFrom():
                names |= {alias.asname or alias.name for alias in statement.names}
            case _:
                pass
    return names


# ── sizes ────────────────────────────────────────────────────────────────────────────────────────


def test_no_room_holds_two_nouns() -> None:
    assert not [path for path in MODULES if len((ROOT / path).read_text(encoding="utf-8").splitlines()) > 500]
