"""The tool `edit`: replace an exact text in a file of the workspace, or make a new file."""

import os
from collections.abc import Mapping
from typing import Any

__all__ = ["DEFINITION", "run"]

_LARGEST = 16 * 1024 * 1024

DEFINITION: Mapping[str, Any] = {
    "name": "edit",
    "description": "Replace the text `old`, which must occur exactly once in the file, by `new`. With an empty `old` "
    "the file is made with the content `new`; it must not exist yet. Paths are those of the work tree.",
    "input_schema": {
        "type": "object",
        "properties": {"path": {"type": "string"}, "old": {"type": "string"}, "new": {"type": "string"}},
        "required": ["path", "old", "new"],
        "additionalProperties": False,
    },
}


def run(arguments: Mapping[str, Any], workspace: str) -> str:
    """Do it; returns what was done.

    Raises:
        ValueError: wrong arguments, a path outside the workspace, or a text that is not there exactly once.
        OSError: the file cannot be read or written.
    """
    path, old, new = (_text(arguments, name) for name in ("path", "old", "new"))
    target = _inside(path, workspace)
    if not old:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        try:
            with open(target, "xb") as file:
                file.write(new.encode())
        except FileExistsError:
            raise ValueError(f"{path} exists already: give the text to replace as old") from None
        return f"{path} made"
    if os.path.getsize(target) > _LARGEST:
        raise ValueError(f"{path} is larger than {_LARGEST} bytes: use shell")
    with open(target, "rb") as file:
        content = file.read()
    found = content.count(old.encode())
    if found != 1:
        raise ValueError(f"old occurs {found} times in {path}; it must occur exactly once")
    _replace(target, content.replace(old.encode(), new.encode()))
    return f"{path} changed"


def _text(arguments: Mapping[str, Any], name: str) -> str:
    value = arguments.get(name)
    if not isinstance(value, str):
        raise ValueError(f"{name} must be a text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name} is not valid Unicode") from None
    return value


def _inside(path: str, workspace: str) -> str:
    """The real path, if it is in the workspace and none of git's own files."""
    if not path or "\0" in path:
        raise ValueError("path must name a file")
    home = os.path.realpath(workspace)
    target = os.path.realpath(os.path.join(home, path))
    if os.path.commonpath([home, target]) != home or target == home:
        raise ValueError(f"{path!r} is outside the work tree")
    if os.path.relpath(target, home).split(os.sep)[0] == ".git":
        raise ValueError(f"{path!r} belongs to git: use git")
    return target


def _replace(target: str, content: bytes) -> None:
    """Put the content in the file's place at once, with its mode."""
    mode = os.stat(target).st_mode & 0o7777
    temporary = os.path.join(os.path.dirname(target), f".edit-{os.urandom(8).hex()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
        os.chmod(temporary, mode)
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise
