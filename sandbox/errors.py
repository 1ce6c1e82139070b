"""Everything `palmette.sandbox` raises on purpose.

    SandboxError                   code · message · hint
    ├── GitError                   git could not run, failed, took too long or said too much
    ├── RepositoryError            the person's repository: none, empty, foreign, a base that is not there
    ├── WorkspaceError             a store, a workspace or a snapshot could not be made
    ├── QuarantineError            a result was refused on its way out
    ├── PublishError               a result may not become that ref, or not be delivered there
    └── IsolationError             a process could not be started

A `SandboxError` is a `PalmetteError`: code, message and hint reach people and agents the same way.
"""

from palmette.coordination.errors import PalmetteError

__all__ = [
    "GitError",
    "IsolationError",
    "PublishError",
    "QuarantineError",
    "RepositoryError",
    "SandboxError",
    "WorkspaceError",
]


class SandboxError(PalmetteError):
    """A refusal or failure of the sandbox, for machines (`code`) and for people (`message`, `hint`).

    Args:
        code: stable snake_case word, e.g. `not_a_repository`.
        message: one sentence about what happened.
        hint: what to do next; empty when nothing helps.
    """

    code = "sandbox_error"

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message, hint, code=code)

    def __str__(self) -> str:
        return f"{self.message} [{self.code}]" + (f" ({self.hint})" if self.hint else "")


class GitError(SandboxError):
    """`git_missing`, `git_failed`, `git_timeout`, `git_output_too_big`."""


class RepositoryError(SandboxError):
    """`not_a_repository`, `repository_empty`, `repository_foreign`, `bad_base`."""


class WorkspaceError(SandboxError):
    """`bad_name`, `store_failed`, `workspace_exists`, `workspace_unsaved`, `snapshot_failed`, `snapshot_too_big`,
    `snapshot_timeout`."""


class QuarantineError(SandboxError):
    """`bundle_missing`, `bundle_too_big`, `bundle_invalid`, `not_a_descendant`, `unusual_name`, `link_outside`,
    `result_too_big`, `result_mismatch`."""


class PublishError(SandboxError):
    """`bad_refname`, `ref_taken`, `bad_delivery`."""


class IsolationError(SandboxError):
    """`launch_failed`."""
