"""What model calls cost, from genai-prices' bundled table; an explicit unknown where nobody says (B8, B14)."""

import hashlib
from decimal import ROUND_CEILING, Decimal
from functools import lru_cache
from importlib.metadata import version

from genai_prices import Usage as TableUsage
from genai_prices import calc_price
from genai_prices.types import ModelPrice

from palmette.coordination.ports import ModelCall
from palmette.coordination.values import Usage

__all__ = ["SCRIPTED_MODEL", "TablePrices"]

SCRIPTED_MODEL = "scripted"
"""The scripted model's name. It costs nothing; its notional price makes the books of a dry run worth reading."""

_OVERRIDES = {SCRIPTED_MODEL: ModelPrice(input_mtok=Decimal(3), output_mtok=Decimal(15))}
_MICRO = Decimal(1_000_000)


class TablePrices:
    """Fills ports.Prices. A lookup is in memory: the table ships with genai-prices and is never downloaded."""

    @property
    def digest(self) -> str:
        """The table's version and a digest of the overrides."""
        return _digest()

    def cost(self, model: str, usage: Usage) -> int | None:
        """See ports.Prices."""
        return _cost(
            model,
            TableUsage(
                input_tokens=usage.input + usage.cache_read + usage.cache_write,
                cache_read_tokens=usage.cache_read,
                cache_write_tokens=usage.cache_write,
                output_tokens=usage.output,
            ),
        )

    def bound(self, model: str, call: ModelCall) -> int | None:
        """See ports.Prices: every input token at the dearest class it can have (notes on the gateway, §1.4)."""
        if call.model != model:
            raise ValueError(f"a call of {call.model} was priced as {model}")
        plain = _cost(model, TableUsage(input_tokens=call.input_bound, output_tokens=call.max_output))
        if plain is None:
            return None
        written = _cost(
            model,
            TableUsage(
                input_tokens=call.input_bound, cache_write_tokens=call.input_bound, output_tokens=call.max_output
            ),
        )
        return max(plain, written or 0)


def _cost(model: str, usage: TableUsage) -> int | None:
    try:
        override = _OVERRIDES.get(model)
        if override is not None:
            dollars = override.calc_price(usage)["total_price"]
        else:
            dollars = calc_price(usage, model_ref=model).total_price
    except (LookupError, ValueError):
        return None
    return int((dollars * _MICRO).to_integral_value(ROUND_CEILING))


@lru_cache(maxsize=1)
def _digest() -> str:
    overrides = hashlib.sha256(repr(sorted(_OVERRIDES.items())).encode()).hexdigest()[:12]
    return f"genai-prices {version('genai-prices')} + {overrides}"
