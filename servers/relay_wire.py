"""The words of the wire between a relay and a supervisor: version, hello, and cutting a byte stream into lines.

Standard library only: both ends import it, and one end runs inside cages. Source: the stdio-relay note, R9 and R11.
"""

import os
import stat
from collections.abc import Iterator, Mapping

__all__ = [
    "HELLO_LIMIT",
    "LINE_LIMIT",
    "ROOT_ENVIRONMENT",
    "WIRE",
    "LineCutter",
    "TokenError",
    "printable",
    "read_token",
    "root_environment",
]

WIRE = 1
"""Wire version: an integer, compared exactly (R9). It changes when an older relay could no longer be served."""

HELLO_LIMIT = 64 * 1024
"""Bytes a hello or its answer may have."""

LINE_LIMIT = 16 * 1024 * 1024
"""Bytes one JSON-RPC line may have; arguments are limited to 1 MiB, so nothing honest comes near."""

ROOT_ENVIRONMENT = ("CLAUDE_CODE_SESSION_ID", "CLAUDE_PROJECT_DIR", "CLAUDE_CODE_ENTRYPOINT", "OPENCODE_PID")
"""All that a hello tells of the caller's environment (R11): it says who the root is, and none of it is a secret."""

_TOKEN_LIMIT = 1000


def root_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The part of `environ` that says which harness session this is; nothing else may travel or be journaled (R10)."""
    return {name: environ[name] for name in ROOT_ENVIRONMENT if name in environ}


def printable(text: str, limit: int = 300) -> str:
    """Printable characters only, at most `limit`: others' words must not steer a terminal or fake a line."""
    return "".join(character if character.isprintable() else " " for character in text[:limit]).strip()


class TokenError(Exception):
    """An attempt's token file that cannot be used; its text says why, and holds nothing of the file."""


def read_token(path: str) -> str:
    """The attempt's token out of its file: a regular file, ours, and closed to everybody else (W4).

    It travels in a file because argument lists and environments are open to every process of the same user.

    Raises:
        TokenError: the file cannot be read, is not ours alone, or holds no token.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise TokenError(f"the token file {path} cannot be read: {getattr(error, 'strerror', error)}") from None
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) != 0o600:
            raise TokenError(f"the token file {path} is not a file of this user with mode 600")
        token = os.read(handle, _TOKEN_LIMIT + 1).decode("ascii", "replace").strip()
    finally:
        os.close(handle)
    if not 0 < len(token) <= _TOKEN_LIMIT or not token.isascii() or not token.isprintable() or " " in token:
        raise TokenError(f"the token file {path} holds no token")
    return token


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
