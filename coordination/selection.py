"""Choosing a winner by verdicts: valid results only, the best kept, ties to the earliest (C7, C8)."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isnan

from palmette.coordination.values import Amounts, Verdict

__all__ = ["Candidate", "Choice", "choose"]

_TIED = 3
"""Of those that were as good, so many are named."""
_RANK = {"pass": 2, "unavailable": 1, "fail": 0}


@dataclass(frozen=True, slots=True)
class Candidate:
    """A settled node that may win; `seq` orders candidates by when they settled."""

    node: str
    seq: int
    settlement: str
    valid: bool | None
    verdicts: tuple[Verdict, ...]
    spent: Amounts


@dataclass(frozen=True, slots=True)
class Choice:
    """Who won and why; `ranking` names everyone, the best first."""

    winner: str | None
    ranking: tuple[tuple[str, str], ...]
    why: str


def choose(candidates: Sequence[Candidate], objectives: Sequence[str], allow_unchecked: bool) -> Choice:
    """Lexicographic over the named objectives, in their order; without any, over those that all candidates share.

    Nothing valid, no winner: never the best of a bad lot. `usd`, `tokens`, `turns` and `seconds` name what a candidate
    spent, less being better.
    """
    eligible = [c for c in candidates if _eligible(c, allow_unchecked)]
    named = list(objectives) or _shared(eligible)
    ranked = sorted(eligible, key=lambda c: (*(_worth(c, name) for name in named), c.seq))
    others = sorted((c for c in candidates if c not in eligible), key=lambda c: c.seq)
    ranking = [(c.node, _told(c, named)) for c in ranked]
    ranking += [(c.node, _ineligible(c)) for c in others]
    if not ranked:
        return Choice(None, tuple(ranking), "no candidate is valid")
    best = ranked[0]
    tied = [c for c in ranked[1:] if all(_worth(c, n) == _worth(best, n) for n in named)]
    why = f"best on {', '.join(named)}" if named else "the earliest valid result"
    if tied:
        more = f" and {len(tied) - _TIED} more" if len(tied) > _TIED else ""
        why += f"; tied with {', '.join(c.node for c in tied[:_TIED])}{more}, and it settled first"
    return Choice(best.node, tuple(ranking), why)


def _eligible(candidate: Candidate, allow_unchecked: bool) -> bool:
    if candidate.settlement != "done":
        return False
    return candidate.valid is True or (candidate.valid is None and allow_unchecked)


def _ineligible(candidate: Candidate) -> str:
    if candidate.settlement != "done":
        return f"settled {candidate.settlement}"
    return "unchecked" if candidate.valid is None else "not valid"


def _shared(candidates: Sequence[Candidate]) -> list[str]:
    if not candidates:
        return []
    names = [verdict.objective for verdict in candidates[0].verdicts]
    return [n for n in dict.fromkeys(names) if all(any(v.objective == n for v in c.verdicts) for c in candidates)]


def _worth(candidate: Candidate, objective: str) -> tuple[int, float]:
    """A key that sorts the better first; no verdict is worse than any, no value than any of its status."""
    spent = candidate.spent.get(objective) if objective in ("usd", "tokens", "turns", "seconds") else None
    if spent is not None:
        return (0, float(spent))
    for verdict in candidate.verdicts:
        if verdict.objective == objective:
            rank = -_RANK[verdict.status]
            if verdict.value is None or isnan(verdict.value):
                return (rank, inf)
            return (rank, -verdict.value if verdict.direction == "higher" else verdict.value)
    return (1, 0.0)


def _told(candidate: Candidate, objectives: Sequence[str]) -> str:
    parts: list[str] = []
    for name in objectives:
        found = next((v for v in candidate.verdicts if v.objective == name), None)
        if found is not None:
            parts.append(
                f"{name}: {found.status}"
                + (f" ({_measured(found.value, found.unit)})" if found.value is not None else "")
            )
    return ", ".join(parts) or "valid"


def _measured(value: float, unit: str) -> str:
    return f"{value:g} {unit}".rstrip()
