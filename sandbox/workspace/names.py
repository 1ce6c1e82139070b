"""Words from outside that become arguments, refs or file names, checked before they are used as such.

Every git call passes them behind `--end-of-options` or `--` as well: two locks on one door.
"""

import re

from palmette.sandbox.errors import PublishError, RepositoryError, WorkspaceError

__all__ = ["check_base", "check_commit", "check_label", "check_node", "check_result_ref", "directory_name", "mailbox"]

_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_LABEL = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_NODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._#:@-]*(/[A-Za-z0-9][A-Za-z0-9._#:@-]*)*")
_CONTROL = re.compile(r"[\x00-\x20\x7f]")
_LONGEST_NODE = 200
_LONGEST_BASE = 512


def check_commit(text: str) -> str:
    """Return `text` if it is a full object id in hex, else raise `bad_base`."""
    if not _COMMIT.fullmatch(text):
        raise RepositoryError("bad_base", f"{text[:80]!r} is not a full commit id")
    return text


def check_base(text: str) -> str:
    """Return `text` if it may be given to git as a revision, else raise `bad_base`."""
    if not text or len(text) > _LONGEST_BASE or text.startswith("-") or _CONTROL.search(text):
        raise RepositoryError("bad_base", f"{text[:80]!r} cannot be a base", "name a branch, a tag or a commit")
    return text


def check_label(text: str) -> str:
    """Return `text` if it is a label (DESIGN §4: `[a-z0-9][a-z0-9-]{0,39}`), else raise `bad_name`."""
    if not _LABEL.fullmatch(text):
        raise WorkspaceError("bad_name", f"{text[:80]!r} is not a label", "a label is [a-z0-9][a-z0-9-]{0,39}")
    return text


def check_node(text: str) -> str:
    """Return `text` if it is an id of a node or attempt (`t7f3/0.2.1`), else raise `bad_name`."""
    if len(text) > _LONGEST_NODE or ".." in text or not _NODE.fullmatch(text):
        raise WorkspaceError("bad_name", f"{text[:80]!r} is not the id of a node or attempt")
    return text


def directory_name(identifier: str) -> str:
    """Return one path component for an id; two ids never share one, since `+` occurs in no id."""
    return check_node(identifier).replace("/", "+")


def mailbox(node: str) -> str:
    """Return the address that a node's commits carry; `.invalid` can never be a person's."""
    return f"{re.sub(r'[^A-Za-z0-9._-]', '.', check_node(node))}@palmette.invalid"


def check_result_ref(name: str) -> str:
    """Return `name` if it is `refs/palmette/<tree>/<label>`, the only kind of ref made in a person's repository (W8).

    Raises:
        PublishError: `bad_refname`.
    """
    prefix, _, rest = name.partition("refs/palmette/")
    parts = rest.split("/")
    if prefix or len(parts) != 2 or not all(_LABEL.fullmatch(part) for part in parts):
        raise PublishError(
            "bad_refname", f"{name[:120]!r} is no ref of ours", "results are refs/palmette/<tree>/<label>"
        )
    return name
