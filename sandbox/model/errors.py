"""What can go wrong with the scripted model.

ModelError              (a PalmetteError: code, sentence, next step)
├── ScriptError         the script cannot be read; `problems` lists every mistake
├── RequestError        a request that the dialect's own API would refuse too
├── PlayError           the script has no answer for this conversation
└── ListenError         the address cannot be listened on
"""

from collections.abc import Sequence

from palmette.coordination.errors import PalmetteError

__all__ = ["ListenError", "ModelError", "PlayError", "RequestError", "ScriptError"]


class ModelError(PalmetteError):
    """The scripted model cannot do what was asked of it."""

    code = "model_error"


class ScriptError(ModelError):
    """A script that cannot be read.

    Attributes:
        source: the file, or `<text>`.
        problems: one sentence per mistake, each beginning with its place in the file.
    """

    code = "bad_script"

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        lines = "\n".join(f"  {problem}" for problem in problems)
        super().__init__(
            f"{source} is no script that can be played:\n{lines}",
            "Mend what is listed; docs/scripted-model.md shows every step by example.",
        )
        self.source = source
        self.problems = list(problems)


class RequestError(ModelError):
    """A request the dialect refuses.

    Attributes:
        status: HTTP status of the refusal.
        kind: the error type in the dialect's words; None for the status's usual one.
    """

    code = "bad_request"

    def __init__(self, message: str, status: int = 400, kind: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind


class PlayError(ModelError):
    """The script has no answer here: a mistake of the script, shown to the harness as a server error.

    Attributes:
        status: HTTP status; 400 where no scenario fits the request, else 500.
    """

    code = "scenario_error"

    def __init__(self, message: str, hint: str = "", *, status: int = 500) -> None:
        super().__init__(message, hint)
        self.status = status


class ListenError(ModelError):
    """The address or socket path cannot be listened on."""

    code = "cannot_listen"
