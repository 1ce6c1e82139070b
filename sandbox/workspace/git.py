"""One git call: clean environment, no hooks, no foreign config, bounded in time, output and memory.

Nothing a person or an agent configured may run in the supervisor's name: measured, `git status` in a hostile clone
runs its `core.fsmonitor`, and a planted hook ran at the parent's commit.
"""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import anyio
from anyio.abc import ByteReceiveStream, Process

from palmette.sandbox.errors import GitError

__all__ = ["CLEAN_CONFIG", "GitResult", "clean_environment", "run_git"]

CLEAN_CONFIG: tuple[str, ...] = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.untrackedCache=false",
    "core.attributesFile=/dev/null",
    "core.packedGitLimit=512m",
    "core.packedGitWindowSize=64m",
    "credential.helper=",
    "commit.gpgSign=false",
    "tag.gpgSign=false",
    "fetch.recurseSubmodules=false",
    "submodule.recurse=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "advice.detachedHead=false",
    "init.defaultBranch=work",
)
"""Given as `-c` to every call; they outrank the config of the repository at hand."""

_READ_SIZE = 65536
_STDERR_CAP = 65536
_SHELL = 'ulimit -v "$0" && exec "$@"'


@dataclass(frozen=True)
class GitResult:
    """What one call gave back. `truncated` is only ever true where the caller allowed it."""

    code: int
    stdout: bytes
    stderr: str
    truncated: bool = False

    @property
    def text(self) -> str:
        """Standard output as text without the newline at its end; bytes that are not UTF-8 are escaped."""
        return self.stdout.decode("utf-8", "backslashreplace").rstrip("\n")


def clean_environment(*, local: bool = False) -> dict[str, str]:
    """Return the whole environment of a git call.

    Args:
        local: allow the `file` transport (paths and bundles); any other transport is always refused.
    """
    return {
        "PATH": os.environ.get("PATH", "/usr/local/bin:/usr/bin:/bin"),
        "HOME": "/nonexistent",
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_ALLOW_PROTOCOL": "file" if local else "none",
    }


async def run_git(
    *arguments: str,
    directory: Path | None = None,
    git_dir: Path | None = None,
    stdin: bytes | Path = b"",
    environment: Mapping[str, str] | None = None,
    config: Sequence[str] = (),
    local: bool = False,
    timeout_s: float = 60.0,
    max_output: int = 16 * 1024 * 1024,
    truncate: bool = False,
    memory_bytes: int | None = None,
    accept: Sequence[int] = (0,),
) -> GitResult:
    """Run git and wait for it.

    Args:
        arguments: the command and its arguments; values from outside go behind `--end-of-options` or `--`.
        directory: where to run (`-C`); discovery of the repository starts there.
        git_dir: the repository itself (`--git-dir`); no discovery.
        stdin: given to it whole; a path is opened and read by git itself.
        environment: added to the clean environment (`GIT_INDEX_FILE`, dates).
        config: more `key=value` settings.
        local: allow fetching from paths and bundles.
        timeout_s: seconds, then it and all it started is killed.
        max_output: bytes of standard output.
        truncate: cut the output at `max_output` instead of failing.
        memory_bytes: bound of its address space, for input that nobody trusts.
        accept: exit codes that are answers rather than failures.

    Raises:
        GitError: `git_missing`, `git_failed`, `git_timeout`, `git_output_too_big`.
    """
    command = ["git", "--no-pager"]
    if directory is not None:
        command += ["-C", os.fspath(directory)]
    if git_dir is not None:
        command.append(f"--git-dir={os.fspath(git_dir)}")
    for setting in (*CLEAN_CONFIG, *config):
        command += ["-c", setting]
    command += arguments
    if memory_bytes is not None:
        command = ["sh", "-c", _SHELL, str(memory_bytes // 1024), *command]
    name = arguments[0]
    data = stdin if isinstance(stdin, bytes) else b""
    source = subprocess.PIPE if data else os.open(stdin if isinstance(stdin, Path) else os.devnull, os.O_RDONLY)
    try:
        process = await anyio.open_process(
            command,
            stdin=source,
            env=clean_environment(local=local) | dict(environment or {}),
            start_new_session=True,
        )
    except FileNotFoundError:
        raise GitError("git_missing", "git is not installed", "sudo apt install git") from None
    finally:
        if source >= 0:
            os.close(source)
    output = _Capture(max_output)
    errors = _Capture(_STDERR_CAP, endless=True)
    try:
        with anyio.move_on_after(timeout_s) as scope:
            async with anyio.create_task_group() as tasks:
                if data:
                    tasks.start_soon(_feed, process, data)
                tasks.start_soon(errors.drain, process.stderr)
                await output.drain(process.stdout)
                if output.full:
                    _kill_group(process)
            await process.wait()
    finally:
        _kill_group(process)
        with anyio.CancelScope(shield=True):
            await process.aclose()
    if scope.cancelled_caught:
        raise GitError("git_timeout", f"git {name} took longer than {timeout_s:g} s and was stopped")
    code = process.returncode if process.returncode is not None else -1
    text = bytes(errors.data).decode("utf-8", "backslashreplace").strip()
    if output.full:
        if not truncate:
            raise GitError("git_output_too_big", f"git {name} wrote more than {max_output} bytes and was stopped")
        return GitResult(0, bytes(output.data[:max_output]), text, truncated=True)
    if code not in accept:
        raise GitError("git_failed", f"git {name} failed with {code}: {text[-600:] or 'it said nothing'}")
    return GitResult(code, bytes(output.data), text)


class _Capture:
    """The first `cap` bytes of a stream; `full` once there were more. With `endless` the rest is read and dropped."""

    def __init__(self, cap: int, *, endless: bool = False) -> None:
        self.data = bytearray()
        self.full = False
        self._cap = cap
        self._endless = endless

    async def drain(self, stream: ByteReceiveStream | None) -> None:
        if stream is None:
            return
        with suppress(anyio.EndOfStream, anyio.ClosedResourceError):
            while self._endless or not self.full:
                chunk = await stream.receive(_READ_SIZE)
                if not self.full:
                    self.data += chunk
                    self.full = len(self.data) > self._cap


async def _feed(process: Process, data: bytes) -> None:
    if process.stdin is None:
        return
    with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
        await process.stdin.send(data)
        await process.stdin.aclose()


def _kill_group(process: Process) -> None:
    # The group is git's own (new session). Once git itself was waited for, its pid may belong to another.
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
