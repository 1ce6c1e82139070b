"""Long texts as files."""

import hashlib
import os
import stat
from pathlib import Path

import pytest

from palmette.coordination.errors import JournalCorrupt, JournalUnwritable
from palmette.coordination.store.blobs import Blobs
from palmette.coordination.values import Blob

TEXT = "long enough, " * 400


def path_of(directory: Path, blob: Blob) -> Path:
    return directory / blob.sha256[:2] / blob.sha256


def test_a_file_lies_under_its_digest_and_is_nobody_elses(tmp_path: Path) -> None:
    blob = Blobs(tmp_path / "blobs").keep(TEXT)
    assert blob == Blob(hashlib.sha256(TEXT.encode()).hexdigest(), len(TEXT))
    path = path_of(tmp_path / "blobs", blob)
    assert path.read_text() == TEXT
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_the_file_and_its_name_are_synced_before_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    fsync, rename = os.fsync, os.rename

    def watched_fsync(handle: int) -> None:
        target = os.readlink(f"/proc/self/fd/{handle}")
        done.append("directory" if os.path.isdir(target) else "file")
        fsync(handle)

    def watched_rename(old: str, new: Path) -> None:
        done.append("rename")
        rename(old, new)

    blobs = Blobs(tmp_path)
    other = blobs.keep(TEXT)
    path_of(tmp_path, other).unlink()
    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "rename", watched_rename)
    blobs.keep(TEXT)
    assert done == ["file", "rename", "directory"]
    done.clear()
    # It is there, but whoever put it there may not have synced its name.
    blobs.keep(TEXT)
    assert done == ["directory"]


def test_a_damaged_file_is_told_and_heals_when_the_text_comes_again(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    blob = blobs.keep(TEXT)
    path_of(tmp_path, blob).write_text(TEXT[:-1])
    with pytest.raises(JournalCorrupt, match="is not what was written"):
        blobs.text(blob)
    assert blobs.keep(TEXT) == blob
    assert blobs.text(blob) == TEXT
    path_of(tmp_path, blob).unlink()
    with pytest.raises(JournalCorrupt, match="is missing"):
        blobs.text(blob)


def test_redaction_deletes_the_file_and_leaves_a_mark(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    blob = blobs.keep(TEXT)
    blobs.redact(blob)
    path = path_of(tmp_path, blob)
    assert [p.name for p in path.parent.iterdir()] == [f"{path.name}.redacted"]
    assert blobs.text(blob) == "[redacted]"
    assert blobs.keep(TEXT) == blob
    assert not path.exists()


def test_a_redaction_in_the_middle_of_a_keep_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = Blobs(tmp_path)
    blob = blobs.keep(TEXT)
    path_of(tmp_path, blob).unlink()
    rename = os.rename

    def redacted_meanwhile(old: str, new: Path) -> None:
        blobs.redact(blob)
        rename(old, new)

    monkeypatch.setattr(os, "rename", redacted_meanwhile)
    blobs.keep(TEXT)
    assert blobs.text(blob) == "[redacted]"


def test_a_directory_that_cannot_be_written_is_told_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "blobs").write_text("a file in its place")
    with pytest.raises(JournalUnwritable) as raised:
        Blobs(tmp_path / "blobs").keep(TEXT)
    assert raised.value.code == "journal_unwritable"
    assert "Free some space" in raised.value.hint
