"""Reads the JUnit report of a test run: hostile XML, counted as it streams and never built into a tree."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from xml.parsers import expat

from palmette.checks.errors import CheckError

__all__ = ["MAX_BYTES", "Report", "read", "read_file"]

MAX_BYTES = 16 * 1024 * 1024
"""The largest report."""

_MAX_DEPTH = 64
_NAMED = 20
_NAME_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Report:
    """What a report says.

    Attributes:
        tests: test cases in all.
        passed: those that are neither failed nor skipped.
        failed: failures and errors.
        names: the first failing ones.
    """

    tests: int
    passed: int
    failed: int
    skipped: int
    names: tuple[str, ...]


def read(raw: bytes) -> Report:
    """Count the test cases of a report.

    Raises:
        CheckError: `report_invalid`: no XML, a document type or entities, too large, too deep, no JUnit.
    """
    if len(raw) > MAX_BYTES:
        raise _invalid(f"is larger than {MAX_BYTES} bytes")
    count = _Count()
    # The encoding is ours, whatever the document declares: nothing hides in another one.
    parser = expat.ParserCreate("utf-8")
    parser.StartDoctypeDeclHandler = _refuse
    parser.EntityDeclHandler = _refuse
    parser.StartElementHandler = count.start
    parser.EndElementHandler = count.end
    try:
        parser.Parse(raw, True)
    except expat.ExpatError as error:
        raise _invalid(f"is no XML: {expat.ErrorString(error.code)} in line {error.lineno}") from None
    return count.report()


def read_file(path: Path) -> Report | None:
    """Count the test cases of a file; None if there is none. A link, pipe or device is refused, never opened.

    Raises:
        CheckError: `report_invalid`.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _invalid(f"cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _invalid("is no regular file")
    with open(descriptor, "rb") as file:
        return read(file.read(MAX_BYTES + 1))


class _Count:
    def __init__(self) -> None:
        self._open: list[str] = []
        self._case: tuple[str, str] | None = None
        self._failed: list[str] = []
        self._total = {"testcase": 0, "failed": 0, "skipped": 0}

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if not self._open and name not in ("testsuites", "testsuite"):
            raise _invalid(f"is no JUnit report: it begins with {name[:40]!r}")
        self._open.append(name)
        if len(self._open) > _MAX_DEPTH:
            raise _invalid(f"is nested deeper than {_MAX_DEPTH}")
        if name == "testcase":
            self._total["testcase"] += 1
            self._case = ("", ".".join(filter(None, (attributes.get("classname"), attributes.get("name")))))
        elif self._case is not None and self._open[-2] == "testcase":
            outcome = {"failure": "failed", "error": "failed", "skipped": "skipped"}.get(name, "")
            if outcome and self._case[0] != "failed":
                self._case = (outcome, self._case[1])

    def end(self, name: str) -> None:
        self._open.pop()
        if name != "testcase" or self._case is None:
            return
        outcome, title = self._case
        self._case = None
        if outcome:
            self._total[outcome] += 1
        if outcome == "failed" and len(self._failed) < _NAMED:
            self._failed.append(title[:_NAME_CHARACTERS])

    def report(self) -> Report:
        tests, failed, skipped = (self._total[name] for name in ("testcase", "failed", "skipped"))
        return Report(tests, tests - failed - skipped, failed, skipped, tuple(self._failed))


def _refuse(*_: object) -> None:
    raise _invalid("holds a document type or entities")


def _invalid(what: str) -> CheckError:
    return CheckError("report_invalid", f"the JUnit report {what}")
