"""Who is calling: known from the connection alone, never from an argument (S1)."""

import hashlib
from dataclasses import dataclass

__all__ = ["CallKey", "Visitor", "token_digest"]


@dataclass(frozen=True, slots=True)
class Visitor:
    """The far end of a connection, before any tree is known.

    Attributes:
        connection: the relay's session, or the HTTP session's id; unique per connection's life.
        token: an attempt's access token; None for an attached root.
        harness: the client's name (`claude-code`, `codex`, …), for the root's key and the record.
        session: the harness's own session id, where the client gives one (R11).
        directory: where it was started; an attached root's repository is found from it.
        person: whether a person may be reached through it (an interactive client with elicitation).
    """

    connection: str
    token: str | None = None
    harness: str = "unknown"
    session: str | None = None
    directory: str | None = None
    person: bool = False

    @property
    def root_key(self) -> str:
        """What identifies an attached root: harness and session where given, else the connection (DESIGN §2)."""
        return f"{self.harness}:{self.session}" if self.session else f"connection:{self.connection}"


@dataclass(frozen=True, slots=True)
class CallKey:
    """A request's idempotency key: unique in a connection's life, and the same when it is sent again."""

    session: str
    request: str

    def __str__(self) -> str:
        return f"{self.session}:{self.request}"


def token_digest(token: str) -> str:
    """What the journal keeps of an access token: its sha256."""
    return hashlib.sha256(token.encode()).hexdigest()
