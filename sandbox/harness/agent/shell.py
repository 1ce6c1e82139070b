"""The tool `shell`: one bash command in the workspace, with bounded output and time, ended with all it left behind."""

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from palmette.sandbox.harness.agent.inbox import Cancellation

__all__ = ["DEFINITION", "OUTPUT_LIMIT", "run"]

OUTPUT_LIMIT = 30_000
"""Characters of a result (S7); of a longer one the beginning and the end are kept."""

_DEFAULT_S = 120.0
_LONGEST_S = 3600.0
_LAST_WORDS_S = 0.5
_HELD = 4 * OUTPUT_LIMIT

DEFINITION: Mapping[str, Any] = {
    "name": "shell",
    "description": "Run a command with bash in the work tree. Standard output and error come back together, at most "
    f"{OUTPUT_LIMIT} characters. Processes left in the background end with the call.",
    "input_schema": {
        "type": "object",
        "properties": {
            "command": {"type": "string"},
            "timeout_s": {"type": "number", "description": f"{_DEFAULT_S:g} if left out, at most {_LONGEST_S:g}"},
        },
        "required": ["command"],
        "additionalProperties": False,
    },
}


def run(arguments: Mapping[str, Any], workspace: str, round_: Cancellation) -> tuple[str, bool]:
    """Run it; returns the result's text, and whether it is an error: another exit status than 0, or none.

    Raises:
        ValueError: wrong arguments.
        OSError: bash could not be started.
    """
    command, seconds = arguments.get("command"), arguments.get("timeout_s", _DEFAULT_S)
    if not isinstance(command, str) or "\0" in command:
        raise ValueError("command must be a text without NUL")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= _LONGEST_S:
        raise ValueError(f"timeout_s must be a number above 0 and at most {_LONGEST_S:g}")
    process = subprocess.Popen(
        ["bash", "-c", command],
        cwd=workspace,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    with process, round_.hooked(lambda _: _kill(process)):
        output, timed_out = _read(process, seconds)
        _kill(process)  # the group outlives bash where something was left in the background
        code = process.wait()
    if round_.cancelled:
        return _shown(output, "interrupted"), True
    if timed_out:
        return _shown(output, f"ended after {seconds:g} s"), True
    return _shown(output, "" if code == 0 else f"exit status {code}"), code != 0


def _read(process: subprocess.Popen[bytes], seconds: float) -> tuple[bytes, bool]:
    """Read until bash has ended, and a little longer for what it wrote last; whether its time was over first."""
    assert process.stdout is not None  # noqa: S101 (asked for above)
    descriptor = process.stdout.fileno()
    exited = os.pidfd_open(process.pid)
    output = bytearray()
    end, timed_out, ending = time.monotonic() + seconds, False, False
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, selectors.EVENT_READ)
            selector.register(exited, selectors.EVENT_READ)
            while True:
                ready = {key.fd for key, _ in selector.select(max(0.0, end - time.monotonic()))}
                if descriptor in ready:
                    chunk = os.read(descriptor, 65536)
                    if not chunk:
                        selector.unregister(descriptor)
                        if ending:
                            return bytes(output), timed_out
                    output += chunk
                    if len(output) > 2 * _HELD:
                        output[_HELD // 2 : -_HELD // 2] = b""  # the middle is not shown anyway
                if ending and time.monotonic() > end:
                    return bytes(output), timed_out
                if exited in ready and not ending:
                    # Whoever left the session and still holds the pipe is not waited for.
                    selector.unregister(exited)
                    ending, end = True, time.monotonic() + _LAST_WORDS_S
                    _kill(process)
                    if descriptor not in selector.get_map():
                        return bytes(output), timed_out
                elif time.monotonic() > end and not ending:
                    timed_out = True
                    _kill(process)
                    end = time.monotonic() + _LAST_WORDS_S
    finally:
        os.close(exited)


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _shown(output: bytes, note: str) -> str:
    text = output.decode("utf-8", "replace")
    if len(text) > OUTPUT_LIMIT:
        kept = (OUTPUT_LIMIT - 100) // 2
        text = f"{text[:kept]}\n[… {len(text) - 2 * kept} characters or more left out …]\n{text[-kept:]}"
    return text if not note else f"{text}\n[{note}]".lstrip("\n")
