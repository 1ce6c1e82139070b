"""The value types that cross folders: ids, text, amounts, steps, verdicts, provenance labels."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

from palmette.coordination.errors import Refused

__all__ = [
    "CHANNELS",
    "LABEL",
    "TEXT_INLINE_BYTES",
    "TEXT_MAX_BYTES",
    "Amounts",
    "AttemptId",
    "Blob",
    "Channel",
    "Label",
    "Origin",
    "Step",
    "Text",
    "ToolCall",
    "Usage",
    "Verdict",
    "attempt_id",
    "checked_text",
    "child_id",
    "depth_of",
    "micro_dollars",
    "node_of",
    "parent_of",
    "tree_of",
]

Channel = Literal["usd", "tokens", "turns", "seconds"]
CHANNELS: tuple[Channel, ...] = ("usd", "tokens", "turns", "seconds")

Origin = Literal["person", "model", "supervisor", "harness", "check", "repository", "judge", "oracle"]
Label = frozenset[str]
"""Provenance: the origins of everything that went into a thing (F2)."""

LABEL = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
"""What a child's label looks like (DESIGN §4)."""

TEXT_MAX_BYTES = 1 << 20
"""The largest text an argument may carry: 1 MiB of UTF-8."""
TEXT_INLINE_BYTES = 1024
"""Text of a longer JSON form becomes a content-addressed file, so that an event stays under 8 kB (DESIGN §6)."""


# ── ids ──────────────────────────────────────────────────────────────────────────────────────────

AttemptId = str
"""`t7f3/0.2.1#2`: the second attempt of node `t7f3/0.2.1`."""


def child_id(parent: str, ordinal: int) -> str:
    """The id of a parent's child number `ordinal`, counted from 1."""
    return f"{parent}.{ordinal}"


def parent_of(node: str) -> str | None:
    """The id one level up; None for a root."""
    head, dot, _ = node.rpartition(".")
    return head if dot else None


def depth_of(node: str) -> int:
    """Levels below the root; the root's is 0."""
    return node.count(".")


def tree_of(node: str) -> str:
    """The tree a node (or attempt) id belongs to."""
    return node.partition("/")[0]


def attempt_id(node: str, number: int) -> AttemptId:
    """The id of a node's attempt, counted from 1."""
    return f"{node}#{number}"


def node_of(attempt: AttemptId) -> str:
    """The node an attempt belongs to."""
    return attempt.partition("#")[0]


# ── text ─────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Blob:
    """A text too long for an event, kept as a content-addressed file.

    Attributes:
        sha256: hex digest of its UTF-8 bytes, and its name on disk.
        size: bytes.
    """

    sha256: str
    size: int


Text = str | Blob


def checked_text(value: str, what: str) -> str:
    """The text, if it may be stored.

    Raises:
        Refused: `too_large` beyond TEXT_MAX_BYTES, `bad_text` for NUL or lone surrogates.
    """
    if "\0" in value:
        raise Refused("bad_text", f"{what} contains a NUL character")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise Refused("bad_text", f"{what} is not valid Unicode (a lone surrogate)") from None
    if size > TEXT_MAX_BYTES:
        raise Refused("too_large", f"{what} has {size} bytes; at most {TEXT_MAX_BYTES} are taken")
    return value


# ── amounts ──────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Amounts:
    """One whole number per channel; None where a channel has no budget (B7).

    Attributes:
        usd: micro-dollars.
        tokens: input + cache reads + cache writes + output.
        turns: model calls.
        seconds: own active time.
    """

    usd: int | None = None
    tokens: int | None = None
    turns: int | None = None
    seconds: int | None = None

    @classmethod
    def zero(cls) -> "Amounts":
        return _ZERO

    @classmethod
    def of(cls, values: Mapping[str, int | None]) -> "Amounts":
        return cls(**{channel: values.get(channel) for channel in CHANNELS})

    @classmethod
    def from_list(cls, values: Iterable[int | None]) -> "Amounts":
        return cls(*values)

    def as_list(self) -> list[int | None]:
        """The stored form: usd, tokens, turns, seconds."""
        return [self.usd, self.tokens, self.turns, self.seconds]

    def get(self, channel: Channel) -> int | None:
        return getattr(self, channel)

    def plus(self, other: "Amounts") -> "Amounts":
        """Sum per channel; a channel this side lacks stays without a budget."""
        return Amounts(
            None if self.usd is None else self.usd + (other.usd or 0),
            None if self.tokens is None else self.tokens + (other.tokens or 0),
            None if self.turns is None else self.turns + (other.turns or 0),
            None if self.seconds is None else self.seconds + (other.seconds or 0),
        )

    def minus(self, other: "Amounts") -> "Amounts":
        """Difference per channel; a channel this side lacks stays without a budget."""
        return Amounts(
            None if self.usd is None else self.usd - (other.usd or 0),
            None if self.tokens is None else self.tokens - (other.tokens or 0),
            None if self.turns is None else self.turns - (other.turns or 0),
            None if self.seconds is None else self.seconds - (other.seconds or 0),
        )

    def shown(self) -> dict[str, float | int | None]:
        """For people and models: usd in dollars, channels without a budget left out."""
        shown: dict[str, float | int | None] = {}
        for channel in CHANNELS:
            value = self.get(channel)
            if value is not None:
                shown[channel] = round(value / 1_000_000, 6) if channel == "usd" else value
        return shown


_ZERO = Amounts(0, 0, 0, 0)


def micro_dollars(value: Any) -> int:
    """Dollars as whole micro-dollars.

    Raises:
        Refused: `bad_budget` for what is no number, is negative, or is finer than a micro-dollar.
    """
    try:
        exact = Decimal(str(value)) * 1_000_000
    except InvalidOperation:
        raise Refused("bad_budget", f"usd is {value!r}, which is no number") from None
    if not exact.is_finite() or exact < 0 or exact != exact.to_integral_value() or exact >= 2**53:
        raise Refused("bad_budget", f"usd is {value!r}; it must be between 0 and 9e9 with at most six decimals")
    return int(exact)


# ── steps and verdicts ───────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Usage:
    """What one model call used, in tokens; `known` is False where the provider never said (B8)."""

    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    output: int = 0
    known: bool = True

    @property
    def total(self) -> int:
        return self.input + self.cache_read + self.cache_write + self.output


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call of a tool inside a step; arguments and observation are text (JSON where the tool speaks JSON)."""

    id: str
    name: str
    arguments: Text
    observation: Text | None = None
    error: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """One step of an agent, shaped like ATIF v1.8 (source, message, tool_calls, observation)."""

    source: Literal["system", "user", "agent"]
    message: Text
    model: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check says about one objective of one target (DESIGN §8).

    Attributes:
        status: `unavailable` means that the check could not be run (C3), never that the work is wrong.
        value: the measured number where the objective has one, in `unit`.
        confidence: 1.0 for a deterministic check.
        duration: seconds.
    """

    objective: str
    status: Literal["pass", "fail", "unavailable"]
    value: float | None = None
    unit: str = ""
    confidence: float = 1.0
    evidence: Text = ""
    check: str = ""
    check_digest: str = ""
    target_digest: str = ""
    duration: float = 0.0
    does_not_prove: str = ""
    direction: Literal["higher", "lower"] = "higher"
    deliverable: bool = True
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any])
