"""Test reports: counted, and never believed to be more than a report."""

import os
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palmette.checks.errors import CheckError
from palmette.checks.junit import MAX_BYTES, read, read_file

REPORT = b"""<?xml version="1.0" encoding="utf-8"?>
<testsuites><testsuite name="a" tests="4">
<testcase classname="m.T" name="good"/>
<testcase classname="m.T" name="bad"><failure message="x">trace</failure></testcase>
<testcase classname="m.T" name="broken"><error/></testcase>
<testcase classname="m.T" name="later"><skipped/></testcase>
<testcase classname="m.T" name="both"><failure/><error/></testcase>
</testsuite></testsuites>"""


def test_every_test_case_counts_once() -> None:
    report = read(REPORT)
    assert (report.tests, report.passed, report.failed, report.skipped) == (5, 1, 3, 1)
    assert report.names == ("m.T.bad", "m.T.broken", "m.T.both")


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "no XML"),
        (b"<testsuite>", "no XML"),
        (b"<html/>", "no JUnit"),
        (b'<!DOCTYPE x [<!ENTITY a "b">]><testsuite/>', "document type"),
        (b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><testsuite/>', "document type"),
        (b"<testsuite>" + b"<a>" * 100, "nested"),
        (b"<testsuite>" + b" " * MAX_BYTES + b"</testsuite>", "larger"),
    ],
)
def test_what_is_no_report_is_refused(raw: bytes, reason: str) -> None:
    with pytest.raises(CheckError, match=reason):
        read(raw)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_report_or_refused(raw: bytes) -> None:
    with suppress(CheckError):
        report = read(b"<testsuite>" + raw + b"</testsuite>")
        assert report.tests == report.passed + report.failed + report.skipped


def test_a_file_that_is_not_there_is_no_report(tmp_path: Path) -> None:
    assert read_file(tmp_path / "none.xml") is None


@pytest.mark.parametrize("made", ["link", "pipe", "directory"])
def test_only_a_plain_file_is_read(tmp_path: Path, made: str) -> None:
    target, path = tmp_path / "target.xml", tmp_path / "report.xml"
    target.write_bytes(REPORT)
    if made == "link":
        path.symlink_to(target)
    elif made == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises(CheckError):
        read_file(path)
