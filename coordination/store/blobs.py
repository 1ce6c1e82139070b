"""Long text as content-addressed files: `blobs/ab/abcdef…`, written before the event that names them.

A redaction is for good: a mark beside the deleted file keeps the same text from coming back.
"""

import hashlib
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from palmette.coordination.bounds import json_size
from palmette.coordination.errors import JournalCorrupt, JournalUnwritable
from palmette.coordination.values import Blob

__all__ = ["MARK", "REDACTED", "Blobs", "fits_inline", "sync_directory", "well_formed"]

REDACTED = "[redacted]"
"""What is shown in place of a text whose file was deleted."""
MARK = ".redacted"
"""The suffix of the mark beside a deleted file."""


def well_formed(text: str) -> str:
    """The text with lone surrogates, which UTF-8 cannot hold, as U+FFFD; a model's JSON may well contain them."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def fits_inline(text: str, size: int) -> bool:
    """Whether a well-formed text takes at most so many bytes as JSON (its quotes aside), as it stands in an event."""
    # The length first: only what may fit is worth encoding.
    return len(text) <= size and json_size(text) - 2 <= size


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Blobs:
    """The files under one directory. Every method blocks on the disk: call it in a worker thread.

    Args:
        directory: `blobs` of a data directory; made when first needed.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def keep(self, text: str) -> Blob:
        """Write a well-formed text; durable, name and all, when this returns.

        A redacted text is not written again.

        Raises:
            JournalUnwritable: the disk refused.
        """
        content = text.encode()
        blob = Blob(hashlib.sha256(content).hexdigest(), len(content))
        path = self._path(blob.sha256)
        mark = path.with_suffix(MARK)
        try:
            if mark.exists():
                return blob
            self._make(path.parent)
            if not _holds(path, content):
                _write(path, content)
            # Also when the file was there: whoever wrote it may not have come as far as this.
            sync_directory(path.parent)
            if mark.exists():
                path.unlink(missing_ok=True)
        except OSError as error:
            raise JournalUnwritable(
                f"a text of {len(content)} bytes could not be written: {error.strerror}",
                f"Free some space under {self._directory}, then try again.",
            ) from error
        return blob

    def text(self, blob: Blob) -> str:
        """The text; REDACTED where it was redacted.

        Raises:
            JournalCorrupt: the file is missing or is not what was written.
        """
        path = self._path(blob.sha256)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            if path.with_suffix(MARK).exists():
                return REDACTED
            raise self._corrupt(blob, "is missing") from None
        if hashlib.sha256(content).hexdigest() != blob.sha256:
            raise self._corrupt(blob, "is not what was written")
        return content.decode()

    def redact(self, blob: Blob) -> None:
        """Delete the text for good; what names it stays. A second time changes nothing.

        Raises:
            JournalUnwritable: the disk refused.
        """
        path = self._path(blob.sha256)
        try:
            self._make(path.parent)
            path.with_suffix(MARK).touch(0o600)
            # The mark first, durably: a deleted file without it would look like damage.
            sync_directory(path.parent)
            path.unlink(missing_ok=True)
            sync_directory(path.parent)
        except OSError as error:
            raise JournalUnwritable(
                f"the text {blob.sha256} could not be redacted: {error.strerror}",
                f"Make {self._directory} writable, then try again.",
            ) from error

    def _path(self, sha256: str) -> Path:
        return self._directory / sha256[:2] / sha256

    def _make(self, directory: Path) -> None:
        if not directory.is_dir():
            # One by one: with `parents` the upper one would be open to others.
            self._directory.mkdir(mode=0o700, exist_ok=True)
            directory.mkdir(mode=0o700, exist_ok=True)
            sync_directory(self._directory)
            sync_directory(self._directory.parent)

    def _corrupt(self, blob: Blob, what: str) -> JournalCorrupt:
        return JournalCorrupt(
            f"the text {blob.sha256} ({blob.size} bytes) {what}",
            "`palmette verify` lists everything that is damaged; restore the file from a backup of `blobs`.",
            code="blob_corrupt",
        )


def _holds(path: Path, content: bytes) -> bool:
    try:
        return path.read_bytes() == content
    except FileNotFoundError:
        return False


def _write(path: Path, content: bytes) -> None:
    """Write to a temporary name (mkstemp: 0600), fsync, rename."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
