"""Who may come in over TCP: the bearer token of the installation, or a live attempt's own (DESIGN "Platforms", W4)."""

import hashlib
import hmac
import os
import secrets
import stat
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from palmette.coordination.errors import PalmetteError
from palmette.coordination.ports import Store
from palmette.coordination.records import Attempt
from palmette.servers import places

__all__ = ["Access", "HttpCaller", "attempt_check", "bearer_token", "installation_token"]

_TOKEN_BYTES = 32
_TOKEN_LIMIT = 1000


@dataclass(frozen=True, slots=True)
class HttpCaller:
    """Whom a request's credential stands for.

    Attributes:
        token: the attempt's token; None for the person's own (the installation's token).
        credential: sha256 of the credential, which is all that is kept of it.
    """

    token: str | None = field(repr=False)
    credential: str


class Access:
    """Turns a bearer token into a caller, or into nobody."""

    def __init__(self, installation: str, is_live_attempt: Callable[[str], Awaitable[bool]]) -> None:
        """`is_live_attempt` is given the sha256 of a token that is not the installation's."""
        self._installation = _digest(installation)
        self._is_live_attempt = is_live_attempt

    async def caller(self, token: str) -> HttpCaller | None:
        """The caller; None for a token that is unknown, or an attempt's that has ended."""
        digest = _digest(token)
        if hmac.compare_digest(digest, self._installation):
            return HttpCaller(None, digest)
        if await self._is_live_attempt(digest):
            return HttpCaller(token, digest)
        return None


def attempt_check(store: Store) -> Callable[[str], Awaitable[bool]]:
    """Whether a token's digest is a live attempt's, by the journal."""

    async def is_live(digest: str) -> bool:
        return await store.read(
            lambda reading: any(found.state == "live" for found in reading.find(Attempt, token_digest=digest))
        )

    return is_live


def bearer_token(authorization: str) -> str | None:
    """The token of an Authorization header's value; None if it is no bearer token."""
    scheme, _, token = authorization.partition(" ")
    token = token.strip()
    return token if scheme.lower() == "bearer" and 0 < len(token) <= _TOKEN_LIMIT else None


def installation_token(data: str) -> str:
    """The token in the data directory's `token` file (0600), made at first use.

    Raises:
        PalmetteError: `bad_token_file` for a file that others can read, that is not ours, or that holds no token.
        PlaceError: the data directory cannot be written.
    """
    path = os.path.join(data, "token")
    if os.path.lexists(path):
        return _read(path)
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    places.write_file(path, token.encode() + b"\n")
    return token


def _read(path: str) -> str:
    hint = f"remove {path} and start again: a new token is made, and clients have to be given it"
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise PalmetteError(f"{path} cannot be read ({error.strerror})", hint, code="bad_token_file") from error
    with os.fdopen(handle, "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
            raise PalmetteError(f"{path} is not a file of yours alone", f"chmod 600 {path}", code="bad_token_file")
        token = file.read(_TOKEN_LIMIT + 2).decode("ascii", "replace").strip()
    if not 32 <= len(token) <= _TOKEN_LIMIT or not token.isascii() or not token.isprintable() or " " in token:
        raise PalmetteError(f"{path} holds no token", hint, code="bad_token_file")
    return token


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
