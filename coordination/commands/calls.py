"""Run a verb's effect once: (relay session, request id) is its idempotency key (DESIGN §2)."""

import hashlib
from collections.abc import Callable
from typing import Any

from palmette.coordination.codec import dumps
from palmette.coordination.events import Draft, VerbCalled
from palmette.coordination.identity import CallKey
from palmette.coordination.ports import Transaction
from palmette.coordination.records import Attempt, Call

__all__ = ["digest_of", "once", "recorded"]


def digest_of(verb: str, arguments: dict[str, Any]) -> str:
    """What a request asks for: sha256 over verb and arguments."""
    return hashlib.sha256(dumps([verb, arguments]).encode()).hexdigest()


def recorded(tx: Transaction, key: CallKey | None, digest: str) -> dict[str, Any] | None:
    """The answer an earlier sending of the same request got, if its effect is in the journal."""
    call = tx.get(Call, str(key)) if key is not None else None
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
        data = VerbCalled(key.session, key.request, verb, digest, answer)
        tx.append(Draft(data, tree, node, attempt, actor=attempt or "person"))
    return answer
