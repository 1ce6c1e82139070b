"""The words of the wire between a relay and a supervisor: version, hello, and cutting a byte stream into lines.

Standard library only: both ends import it, and one end runs inside cages. Source: the stdio-relay note, R9 and R11.
"""

from collections.abc import Iterator, Mapping

__all__ = ["HELLO_LIMIT", "LINE_LIMIT", "ROOT_ENVIRONMENT", "WIRE", "LineCutter", "printable", "root_environment"]

WIRE = 1
"""Wire version: an integer, compared exactly (R9). It changes when an older relay could no longer be served."""

HELLO_LIMIT = 64 * 1024
"""Bytes a hello or its answer may have."""

LINE_LIMIT = 16 * 1024 * 1024
"""Bytes one JSON-RPC line may have; arguments are limited to 1 MiB, so nothing honest comes near."""

ROOT_ENVIRONMENT = ("CLAUDE_CODE_SESSION_ID", "CLAUDE_PROJECT_DIR", "CLAUDE_CODE_ENTRYPOINT", "OPENCODE_PID")
"""All that a hello tells of the caller's environment (R11): it says who the root is, and none of it is a secret."""


def root_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The part of `environ` that says which harness session this is; nothing else may travel or be journaled (R10)."""
    return {name: environ[name] for name in ROOT_ENVIRONMENT if name in environ}


def printable(text: str, limit: int = 300) -> str:
    """Printable characters only, at most `limit`: others' words must not steer a terminal or fake a line."""
    return "".join(character if character.isprintable() else " " for character in text[:limit]).strip()


class LineCutter:
    """Cuts a byte stream at b"\\n" alone (U+2028 and U+0085 may stand inside JSON strings), holding `limit` bytes.

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
        if self._scanned > self._limit or self._skipping:
            self._skipping = self._skipping or self._scanned > self._limit
            self._held.clear()
            self._scanned = 0
