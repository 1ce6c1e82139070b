"""Runs checks and says what they say: a fresh clone, a clean environment, bounds, and nothing left afterwards.

A verdict is `pass` or `fail` only where the check was run to its end (C3). Deterministic kinds run once and are kept by
(check digest, commit) while this process lives (C4); `unavailable` is never kept.
"""

import os
import re
import time
from collections import OrderedDict, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import anyio
import anyio.to_thread

from palmette.checks import junit
from palmette.checks.clones import Clone, clones, file_of_commit, remove
from palmette.checks.definitions import JUNIT, MAX_BYTES, NAME, Definition, digest, from_data, parse
from palmette.checks.errors import CheckError
from palmette.coordination.errors import PalmetteError
from palmette.coordination.values import Verdict
from palmette.sandbox.isolation.process import ExecResult

__all__ = ["DOES_NOT_PROVE", "Commits", "IsolatedChecks", "Isolation"]

DOES_NOT_PROVE = (
    "that the tests are those of the base: files of tests and their configuration were taken from the result, "
    "and the tested code ran as the user who reads its report"
)
"""Of every verdict until protected paths are restored from base and cages keep the report apart (C2)."""

_FOLDER = ".palmette/checks"
_NOT_RUN = frozenset({126, 127})
"""What `env`, `sh` and their like exit with when a program cannot be run."""
_TAIL = 4_000
_KEPT = 1_000
_UNPRINTABLE = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b.|[\x00-\x08\x0b-\x1f\x7f-\x9f]", re.DOTALL
)
"""Terminal escapes, and every control character but tab and line break."""

Status = Literal["pass", "fail", "unavailable"]


class Isolation(Protocol):
    """Where checks run; the isolations of `palmette.sandbox.isolation` fill it."""

    @property
    def name(self) -> str: ...

    def environment(self, home: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]: ...

    async def exec(
        self,
        attempt: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        timeout_s: float,
        max_output: int,
    ) -> ExecResult: ...


class Commits(Protocol):
    """Who holds the commits of trees; `GitWorkspaces` fills it."""

    def checkout_source(self, tree: str, commit: str) -> Path: ...


@dataclass(frozen=True, slots=True)
class _Said:
    status: Status
    evidence: str
    value: float | None = None
    unit: str = ""
    extra: Mapping[str, Any] | None = None


class IsolatedChecks:
    """Fills `palmette.coordination.ports.CheckRunner` for the kinds `tests` and `command`.

    Args:
        isolation: where commands run.
        workspaces: who holds the commits.
        directory: where clones are made, owned by one supervisor; None is the system's for temporary files.
        at_once: how many run at the same time; None is one per processor.
    """

    def __init__(
        self,
        isolation: Isolation,
        workspaces: Commits,
        *,
        directory: Path | None = None,
        at_once: int | None = None,
    ) -> None:
        self._directory = None if directory is None else directory.absolute()
        self._isolation = isolation
        self._workspaces = workspaces
        self._slots = anyio.CapacityLimiter(at_once or os.cpu_count() or 1)
        self._locks: defaultdict[tuple[str, str], anyio.Lock] = defaultdict(anyio.Lock)
        self._kept: OrderedDict[tuple[str, str], Verdict] = OrderedDict()

    async def sweep(self) -> None:
        """Remove what a crash left; once, at the supervisor's start."""
        if self._directory is not None:
            await anyio.to_thread.run_sync(remove, self._directory)

    def problems(self, check: Mapping[str, Any]) -> list[str]:
        """See ports.CheckRunner. Whether base has a named check is seen when it is run."""
        if set(check) == {"id"}:
            name = check["id"]
            named = isinstance(name, str) and _is_name(name)
            return [] if named else [f"{_quoted(name)} is no check's name: [a-z0-9][a-z0-9-]{{0,39}}"]
        try:
            from_data(check, f"check {_quoted(check.get('id'))}")
        except CheckError as error:
            return list(error.problems)
        return []

    async def run(self, check: Mapping[str, Any], *, tree: str, repository: str, commit: str, base: str) -> Verdict:
        """The verdict of a check on a commit; `unavailable` when it could not be run, never an exception (C3).

        Args:
            check: a whole definition, or `{id}` alone: the one that `base` has at `.palmette/checks/<id>.toml`, so
                that the work under test does not say what it has to pass.
            repository: the person's; commits are read from the tree's own stores instead (W1).
        """
        try:
            source = self._workspaces.checkout_source(tree, commit)
            definition = await self._defined(check, source, base)
        except (PalmetteError, OSError) as error:
            return Verdict(
                _name_of(check), "unavailable", evidence=_told(error), check=_name_of(check), target_digest=commit
            )
        key = (digest(definition), commit)
        try:
            async with self._locks[key]:
                return self._recalled(key) or self._keep(key, await self._run(definition, tree, source, commit))
        finally:
            if not self._locks[key].statistics().tasks_waiting:
                del self._locks[key]

    async def _defined(self, check: Mapping[str, Any], source: Path, base: str) -> Definition:
        if set(check) != {"id"}:
            return from_data(check, f"check {_name_of(check)!r}")
        name = _name_of(check)
        path = f"{_FOLDER}/{name}.toml"
        raw = await file_of_commit(source, base, path, MAX_BYTES) if _is_name(name) else None
        if raw is None:
            raise CheckError("unknown_check", f"base {base[:12]} has no check {name!r} ({path})")
        return parse(raw, name, path)

    async def _run(self, definition: Definition, tree: str, source: Path, commit: str) -> Verdict:
        began: float | None = None
        async with self._slots:
            try:
                async with clones(self._directory, tree, source, commit) as clone:
                    began = time.monotonic()
                    said = await self._judge(definition, clone)
            except (PalmetteError, OSError) as error:
                said = _Said("unavailable", _told(error))
        return Verdict(
            objective=definition.measures,
            status=said.status,
            value=said.value,
            unit=said.unit,
            evidence=said.evidence,
            check=definition.id,
            check_digest=digest(definition),
            target_digest=commit,
            duration=0.0 if began is None else round(time.monotonic() - began, 3),
            does_not_prove=DOES_NOT_PROVE,
            direction=definition.direction,
            deliverable=definition.deliverable,
            extra={"isolation": self._isolation.name, **(said.extra or {})},
        )

    async def _judge(self, definition: Definition, clone: Clone) -> _Said:
        report = clone.out / "junit.xml"
        spec = definition.spec
        argv = [argument.replace(JUNIT, str(report)) for argument in spec.command] if definition.reports else None
        result = await self._isolation.exec(
            clone.name,
            argv or spec.command,
            env=self._isolation.environment(clone.home, {"TMPDIR": str(clone.temporary)}),
            cwd=clone.work,
            timeout_s=spec.timeout_s,
            max_output=spec.max_output,
        )
        ended = _ended(definition, result)
        if ended is not None:
            return ended
        exited = {"exit": result.exit.code, "signal": result.exit.signal}
        printed = _tail(result)
        if not definition.reports:
            passed = result.exit.code == definition.pass_if.exit
            return _Said("pass" if passed else "fail", printed or _how(result), extra=exited)
        counted = await anyio.to_thread.run_sync(junit.read_file, report)
        return _counted(definition, result, counted, printed, exited)

    def _recalled(self, key: tuple[str, str]) -> Verdict | None:
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
        return found

    def _keep(self, key: tuple[str, str], verdict: Verdict) -> Verdict:
        if verdict.status != "unavailable":
            self._kept[key] = verdict
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return verdict


def _ended(definition: Definition, result: ExecResult) -> _Said | None:
    """What a run says that did not end by itself; None if it did."""
    if not result.exit.confirmed:
        return _Said("unavailable", f"processes of the check could not be ended: {list(result.exit.held)}")
    if result.exit.reaper_lost:
        return _Said("unavailable", "nobody saw the check end")
    if result.truncated:
        return _Said("unavailable", f"it printed more than {definition.spec.max_output} bytes and was ended")
    if result.timed_out:
        return _Said("fail", f"it took longer than {definition.spec.timeout_s:g} s and was ended\n{_tail(result)}")
    if result.exit.code is None:
        return _Said("unavailable", f"it was {_how(result)}\n{_tail(result)}")
    if result.exit.code in _NOT_RUN:
        return _Said("unavailable", f"its command could not be run ({_how(result)})\n{_tail(result)}")
    return None


def _counted(
    definition: Definition, result: ExecResult, report: junit.Report | None, printed: str, exited: Mapping[str, Any]
) -> _Said:
    """What a test run says that was asked for a report."""
    if report is None:
        # The runner itself broke, or is not there: that says nothing of the work (C3).
        return _Said("unavailable", f"{_how(result)}, and no test report was written\n{printed}", extra=exited)
    least = definition.pass_if.at_least or 1
    reasons: list[str] = []
    if report.failed:
        reasons.append(
            f"{report.failed} of {report.tests} tests failed: {_UNPRINTABLE.sub('', ', '.join(report.names))}"
        )
    if report.passed < least:
        reasons.append(f"{report.passed} tests passed; it takes {least}")
    if result.exit.code != definition.pass_if.exit:
        reasons.append(_how(result))
    facts = {**exited, "tests": report.tests, "failed": report.failed, "skipped": report.skipped}
    evidence = "\n".join([*reasons, printed] if reasons else [f"{report.passed} tests passed"])
    return _Said("fail" if reasons else "pass", evidence, float(report.passed), "tests", facts)


def _how(result: ExecResult) -> str:
    if result.exit.signal is not None:
        return f"ended by signal {result.exit.signal}"
    return f"exit code {result.exit.code}"


def _tail(result: ExecResult) -> str:
    """The last words of both streams, as text that any store takes."""
    both = b"\n".join(part.strip() for part in (result.stdout[-_TAIL:], result.stderr[-_TAIL:]) if part.strip())
    return _UNPRINTABLE.sub("", both[-_TAIL:].decode("utf-8", "backslashreplace"))


def _told(error: PalmetteError | OSError) -> str:
    if isinstance(error, PalmetteError):
        return f"{error.message} [{error.code}]" + (f"\n{error.hint}" if error.hint else "")
    return str(error)


def _quoted(name: object) -> str:
    return repr(name)[:80]


def _is_name(name: str) -> bool:
    return re.fullmatch(NAME, name) is not None


def _name_of(check: Mapping[str, Any]) -> str:
    name = check.get("id")
    return name[:40] if isinstance(name, str) and name else "check"
