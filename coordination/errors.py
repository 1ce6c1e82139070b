"""Every error of the tree, and the one table of refusals (rule S2).

PalmetteError              a code, a sentence, and what to do next
├── Refused                the tree says no; nothing has changed (B2), the caller may go on
├── JournalError           the record cannot be written or trusted
│   ├── JournalLocked      another supervisor owns this data directory
│   ├── JournalUnwritable  the disk refused (full, read-only): nothing of the batch was kept
│   └── JournalCorrupt     what is on disk is not what was written
├── ProfileError           a profile that cannot be read, with every problem listed
└── HarnessError           a harness that could not be started or spoken to
"""

from collections.abc import Mapping
from typing import Any

__all__ = [
    "REFUSALS",
    "HarnessError",
    "JournalCorrupt",
    "JournalError",
    "JournalLocked",
    "JournalUnwritable",
    "PalmetteError",
    "ProfileError",
    "Refused",
]


class PalmetteError(Exception):
    """An error a person or an agent can act on.

    Attributes:
        code: machine-readable, lower case with underscores, stable.
        message: one sentence: what happened.
        hint: what to do next, often a command; may be empty.
    """

    code = "error"

    def __init__(self, message: str, hint: str = "", *, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code or type(self).code
        self.message = message
        self.hint = hint

    def as_dict(self) -> dict[str, str]:
        """The form in which the command line and the operator API show it."""
        return {"kind": self.code, "message": self.message, "hint": self.hint}


REFUSALS: Mapping[str, str] = {
    # who may do what
    "not_permitted": "Your role does not hold this verb; ask your parent (ask_parent) if the task needs it.",
    "depth_limit": "Nodes at this depth cannot spawn: do the work yourself, or submit and let your parent split it.",
    "unknown_node": "Use the id or label that spawn returned; observe() lists your subtree.",
    "not_your_child": "Only a direct child can be addressed; steer the child above it instead.",
    "already_settled": "The node has ended; spawn a new one, or resume it with continuity='resume'.",
    "attempt_over": "This attempt has ended; its token is no longer valid.",
    "not_your_question": "Only the holder of a question may answer it.",
    "unknown_question": "Use the question id from the event; observe() lists the open ones.",
    "question_closed": "The question is already answered or withdrawn; to correct it, steer with supersedes.",
    "last_to_decide": "Nobody is above you: decide yourself and say why in your result.",
    "person_unavailable": "The human channel is off in this run: decide yourself and say why in your result.",
    "unknown_event": "Use the seq of an event that await_event or observe told you.",
    "unknown_cursor": "Call await_event without a cursor: whatever is unacknowledged comes again.",
    # spawning
    "label_taken": "Labels are unique among a parent's children for ever: choose another, or leave it out.",
    "bad_label": "A label matches [a-z0-9][a-z0-9-]{0,39}.",
    "key_conflict": "This key already stands for another task: use a new key.",
    "in_doubt": "The earlier run under this key was lost: pass decide='rerun' or decide='skip'.",
    "max_live": "All slots are taken: await_event until a child settles, then spawn again.",
    "bad_profile": "Mend the profile; `palmette config` lists the profiles that can be named.",
    "unknown_profile": "Name a profile of the repository or the installation, or pass one inline.",
    "unknown_harness": "Name a harness that is installed here; `palmette doctor` lists them.",
    "bad_model": "Pass the base URL of a model endpoint, or scripted:FILE with a readable script.",
    "bad_check": "Mend the check, or name one of .palmette/checks; at most 8 of 2,000 bytes of JSON together.",
    "bad_base": "Name a commit, branch or tag of the repository.",
    "not_a_repository": "Pass the path of a git work tree.",
    "repository_empty": "Make a first commit: a node starts from a commit.",
    "no_prior_attempt": "There is nothing to resume under this label: spawn it fresh.",
    "resume_while_live": "The node is still live: steer it instead of resuming it.",
    "resume_with_key": "A key runs a task once; leave the key out to resume.",
    "tree_closed": "The tree has ended; the next verb that writes begins another.",
    # budget
    "budget_exhausted": "Ask for less, or wait for a child to settle and refund.",
    "channel_unbudgeted": "The root was never given this channel: leave it out of the budget.",
    "channel_closed": "An unknown cost closed this channel (B8): submit what you have.",
    "bad_budget": "Amounts are whole and not negative; usd has at most six decimals.",
    "channel_unpriced": "Name a model with a known price, or run without a usd budget.",
    "already_booked": "This hold was settled before; nothing was changed.",
    # ending
    "open_questions": "Answer or escalate the blocking questions of your children first.",
    "unread_messages": "Read them first: call await_event.",
    "check_failed": "Mend what the failing checks name, then submit again.",
    "result_refused": "Mend what is named in your work tree, then submit again.",
    "check_unavailable": "A check could not be run; try again, or submit with incomplete=true.",
    "already_submitted": "The result is accepted; end your turn.",
    "not_eligible": "Only settled children can be selected.",
    # sizes and running
    "too_many": "Wait until some of it was read or answered, put the rest into one message, or go on without.",
    "too_large": "Keep text under 1 MiB; put long material into files and name them.",
    "bad_text": "Text must be valid Unicode without NUL.",
    "superseded": "A newer await_event of yours took over the queue.",
    "supervisor_stopping": "The supervisor is going down; the call can be made again after `palmette up`.",
    "supervisor_down": "A person stopped the supervisor: `palmette up`.",
    "not_paused": "The node is not paused.",
    "paused": "The node is paused: `palmette resume` first.",
    "no_tree": "There is no tree yet: spawn, ask_parent, notify or submit begins one.",
    "unconfirmed": "Processes are left; the slot stays charged. Try stop again.",
}
"""Refusal codes and what to do about each: the only place where they are defined."""


class Refused(PalmetteError):
    """A business refusal: the tree says no and nothing has changed (B2, S2).

    Args:
        code: a key of REFUSALS.
        reason: one sentence with the facts of this case.
        details: further fields of the answer, such as `shortfalls`.
    """

    def __init__(self, code: str, reason: str, hint: str | None = None, **details: Any) -> None:
        super().__init__(reason, REFUSALS[code] if hint is None else hint, code=code)
        self.details: dict[str, Any] = details

    def as_result(self) -> dict[str, Any]:
        """The verb's answer, the essential keys first (S7)."""
        return {"ok": False, "error": self.code, "reason": self.message, "hint": self.hint, **self.details}


class JournalError(PalmetteError):
    """The record cannot be written or trusted."""

    code = "journal_error"


class JournalLocked(JournalError):
    """Another supervisor owns this data directory."""

    code = "journal_locked"


class JournalUnwritable(JournalError):
    """The disk refused; nothing of the batch was kept."""

    code = "journal_unwritable"


class JournalCorrupt(JournalError):
    """What is on disk is not what was written."""

    code = "journal_corrupt"


class ProfileError(PalmetteError):
    """A profile that cannot be read; `problems` lists everything that is wrong with it."""

    code = "bad_profile"

    def __init__(self, message: str, problems: list[str]) -> None:
        super().__init__(message, REFUSALS["bad_profile"])
        self.problems = problems


class HarnessError(PalmetteError):
    """A harness could not be started or spoken to."""

    code = "harness_failed"
