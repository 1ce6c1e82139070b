"""The Ledger port over the store: prices a model call, holds its worst case, books what it used."""

from collections.abc import Sequence

from palmette.coordination.bounds import clip
from palmette.coordination.codec import steps_text
from palmette.coordination.commands import budget
from palmette.coordination.commands.standing import live_attempt, the_purse
from palmette.coordination.errors import Refused
from palmette.coordination.ports import ModelCall, Prices, Store, Transaction
from palmette.coordination.records import Attempt
from palmette.coordination.values import Amounts, Step, Usage

__all__ = ["StoreLedger"]

_MODEL_BYTES = 200
"""Of a model's name in the record: whoever makes the call chose it."""


class StoreLedger:
    """Holds and books model calls (B5, B8, B11)."""

    def __init__(self, store: Store, prices: Prices) -> None:
        self._store = store
        self._prices = prices
        self._last_call: set[str] = set()

    async def hold(self, attempt: str, call: ModelCall) -> str:
        """See ports.Ledger."""
        worst = self._prices.bound(call.model, call)
        amounts = Amounts(worst, call.input_bound + call.max_output, 1, 0)

        def command(tx: Transaction) -> tuple[str, bool]:
            _, node = live_attempt(tx, attempt)
            if worst is None and the_purse(tx, node.id).granted.usd is not None:
                # B8: an unknown price under a dollar cap is refused before the call.
                raise Refused("channel_unpriced", f"nobody says what {call.model} costs")
            accepted = node.submit == "accepted"
            if accepted and attempt in self._last_call:
                raise Refused("already_submitted", "the result is accepted and the one call after it was made (C6)")
            return budget.hold(tx, attempt, amounts), accepted

        name, accepted = await self._store.transact(command)
        if accepted:
            self._last_call.add(attempt)
        return name

    async def book(
        self, attempt: str, hold: str, usage: Usage | None, *, model: str, steps: Sequence[Step] = (), sent: bool = True
    ) -> None:
        """See ports.Ledger."""
        amounts = None
        if usage is not None and usage.known:
            amounts = Amounts(self._prices.cost(model, usage), usage.total, 1, 0)

        told = await self._store.keep(steps_text(steps)) if steps else None

        def command(tx: Transaction) -> None:
            if tx.get(Attempt, attempt) is None:
                raise Refused("attempt_over", f"there is no attempt {attempt}")
            budget.book(
                tx,
                attempt,
                hold,
                amounts,
                usage,
                model=clip(model, _MODEL_BYTES),
                prices=self._prices.digest,
                steps=told,
                step_count=len(steps),
                sent=sent,
            )

        await self._store.transact(command)

    def forget(self, attempt: str) -> None:
        """The attempt is over."""
        self._last_call.discard(attempt)
