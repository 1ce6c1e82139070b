"""Run a verb's effect once: (relay session, request id) is its idempotency key (DESIGN §2)."""

import hashlib
from collections.abc import Callable
from typing import Any

from palmette.coordination.bounds import json_size
from palmette.coordination.codec import dumps
from palmette.coordination.events import Draft, VerbCalled
from palmette.coordination.identity import CallKey
from palmette.coordination.ports import Transaction
from palmette.coordination.records import Attempt, Call

__all__ = ["digest_of", "once", "recorded"]

_KEY_BYTES = 200
"""A session's or a request's name up to this size stands in the journal as it is."""


def digest_of(verb: str, arguments: dict[str, Any]) -> str:
    """What a request asks for: sha256 over verb and arguments."""
    # Before arguments are judged: a name that is no Unicode gets its refusal, not a fault.
    return hashlib.sha256(dumps([verb, arguments]).encode("utf-8", "surrogatepass")).hexdigest()


def recorded(tx: Transaction, key: CallKey | None, digest: str) -> dict[str, Any] | None:
    """The answer an earlier sending of the same request got, if its effect is in the journal."""
    call = tx.get(Call, str(_bounded(key))) if key is not None else None
    return call.answer if call is not None and call.digest == digest else None


def once(
    tx: Transaction,
    key: CallKey | None,
    verb: str,
    digest: str,
    attempt: str | None,
    effect: Callable[[], dict[str, Any]],
) -> dict[str, Any]:
    """The recorded answer, or the effect and its answer, journaled together."""
    known = recorded(tx, key, digest)
    if known is not None:
        return known
    answer = effect()
    if key is not None:
        record = tx.get(Attempt, attempt) if attempt is not None else None
        tree, node = (record.tree, record.node) if record is not None else (None, None)
        kept = _bounded(key)
        data = VerbCalled(kept.session, kept.request, verb, digest, answer)
        tx.append(Draft(data, tree, node, attempt, actor=attempt or "person"))
    return answer


def _bounded(key: CallKey) -> CallKey:
    """The key as it is kept: a client may give its requests ids of any length, so a long one becomes its digest."""
    return CallKey(_short(key.session), _short(key.request))


def _short(name: str) -> str:
    if json_size(name) <= _KEY_BYTES:
        return name
    return f"sha256:{hashlib.sha256(name.encode()).hexdigest()}"
