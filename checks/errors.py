"""Every error of the checks.

PalmetteError
└── CheckError             a check that cannot be run (C3), with every problem listed
"""

from collections.abc import Sequence

from palmette.coordination.errors import PalmetteError

__all__ = ["CheckError"]


class CheckError(PalmetteError):
    """`bad_check`: the definition is wrong; `unknown_check`: there is none; `report_invalid`: what a runner wrote is.

    Attributes:
        problems: each thing that is wrong, with where it stands.
    """

    def __init__(self, code: str, message: str, problems: Sequence[str] = ()) -> None:
        super().__init__(message, "\n".join(problems), code=code)
        self.problems = tuple(problems)
