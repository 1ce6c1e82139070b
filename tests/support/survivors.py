"""Who is still alive of those that a test started, seen through the process table and nothing of ours."""

import os
from pathlib import Path

__all__ = ["alive", "marked"]


def alive(pid: int) -> bool:
    """Whether that pid is a process that runs or could run (a zombie is neither)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text[text.rindex(")") + 2] not in "ZX"


def marked(word: str) -> set[int]:
    """Living processes, this one apart, that carry `word` in their environment or command line."""
    found: set[int] = set()
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        for file in ("environ", "cmdline"):
            try:
                text = Path(f"/proc/{name}/{file}").read_bytes()
            except OSError:
                continue
            if word.encode() in text and alive(int(name)):
                found.add(int(name))
    return found
