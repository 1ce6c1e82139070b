"""What a spawn and a run have in common: the checks a node has to pass, and what of their answers may be long."""

from collections.abc import Mapping, Sequence
from typing import Any

from palmette.coordination.bounds import CHECKS, CHECKS_BYTES, clip, fitting, json_size
from palmette.coordination.errors import Refused
from palmette.coordination.ports import CheckRunner

__all__ = ["checks_of", "paths_told"]


def checks_of(
    asked: Sequence[str | Mapping[str, Any]], named: Sequence[str], runner: CheckRunner
) -> list[dict[str, Any]] | None:
    """A node's deliverable checks, as data; a bare string is the name of `.palmette/checks/<name>.toml` in base.

    Args:
        asked: what the spawn or the run names.
        named: what the profile names, which counts where the other is empty.

    Raises:
        Refused: `bad_check` for too many, too large or wrong ones, with every problem at once.
    """
    checks = [{"id": check} if isinstance(check, str) else dict(check) for check in asked or named]
    if len(checks) > CHECKS:
        raise Refused("bad_check", f"{len(checks)} checks are named; at most {CHECKS} are taken")
    size = _size(checks)
    if size > CHECKS_BYTES:
        raise Refused("bad_check", f"the checks take {size} bytes of JSON; at most {CHECKS_BYTES} are taken")
    problems = [problem for check in checks for problem in runner.problems(check)]
    if problems:
        raise Refused("bad_check", clip(problems[0], 300), problems=fitting(problems, 4_000))
    return checks or None


def paths_told(paths: Sequence[str]) -> list[str]:
    """The first of some paths of a work tree, as an answer names them."""
    return fitting([clip(path, 300) for path in paths[:20]], 1_000)


def _size(checks: list[dict[str, Any]]) -> int:
    try:
        size = json_size(checks)
    except (TypeError, ValueError, RecursionError) as error:
        raise Refused("bad_check", f"the checks are no plain data: {error}") from None
    return size
