"""JSON objects as lines, on pipes: cutting, reading and writing them."""

import json
import os
import threading
from collections.abc import Iterator
from typing import Any, cast

__all__ = ["LINE_LIMIT", "Channel", "LineCutter", "clean", "encode", "parse_object"]

LINE_LIMIT = 16 * 1024 * 1024
"""Bytes one line may have; a prompt is at most 1 MiB of text, so nothing honest comes near."""


class LineCutter:
    """Cuts a byte stream at b"\\n" alone, holding at most `limit` bytes of it.

    A longer line is thrown away up to its end and reported once, as None, in the place where it stood.
    """

    def __init__(self, limit: int = LINE_LIMIT) -> None:
        self._limit = limit
        self._held = bytearray()
        self._scanned = 0
        self._skipping = False

    def feed(self, chunk: bytes) -> Iterator[bytes | None]:
        """Yield the lines that `chunk` completes, without their end; empty ones are left out; None for one too long."""
        self._held += chunk
        while (end := self._held.find(b"\n", self._scanned)) >= 0:
            line = bytes(self._held[:end])
            del self._held[: end + 1]
            self._scanned = 0
            if self._skipping or len(line) > self._limit:
                self._skipping = False
                yield None
            elif line.strip():
                yield line
        self._scanned = len(self._held)
        if self._scanned > self._limit:
            self._skipping = True
        if self._skipping:
            self._held.clear()
            self._scanned = 0


def clean(text: str) -> str:
    """The text with U+FFFD for what no JSON peer or store takes: NUL and lone surrogates."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def encode(value: object) -> bytes:
    """Compact JSON in UTF-8; a lone surrogate becomes a question mark."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def parse_object(line: bytes | str) -> dict[str, Any] | None:
    """The JSON object in a line; None if it holds anything else."""
    try:
        value: object = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


class Channel:
    """Lines to the driver; any thread may speak, a line is never torn by another."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()

    def tell(self, kind: str, **fields: object) -> None:
        """Write one line.

        Raises:
            OSError: nobody listens any more.
        """
        line = memoryview(encode({"kind": kind, **fields}) + b"\n")
        with self._lock:
            while line:
                line = line[os.write(self._descriptor, line) :]
