"""Where an installation keeps its files and its sockets: one computation for the relay, the supervisor and the CLI.

Standard library only and cheap to import (it runs in every `palmette mcp`): no pathlib, hashlib on first use.
Source of the layout: DESIGN "Platforms" (short runtime directory, 0700, owner checked, 12 hex of the data directory).
"""

import os
import stat
from collections.abc import Mapping

__all__ = [
    "MCP_SOCKET",
    "SOCKET_PATH_LIMIT",
    "PlaceError",
    "claim_runtime",
    "data_directory",
    "down_marker",
    "ensure_data_directory",
    "find_socket",
    "is_full",
    "private_directory",
    "runtime_directory",
    "runtime_pointer",
    "socket_path",
    "start_lock",
    "supervisor_lock",
    "supervisor_log",
    "write_file",
]

SOCKET_PATH_LIMIT = 107
"""Bytes a unix socket's path may have: sockaddr_un holds 108 with the closing NUL."""

MCP_SOCKET = "mcp.sock"
"""The socket that speaks MCP as JSON lines."""


class PlaceError(Exception):
    """A directory or path of the installation cannot be used.

    Attributes: `code` (machine code), `message` (what is wrong), `hint` (what to do next).
    """

    def __init__(self, code: str, message: str, hint: str) -> None:
        super().__init__(f"{message}: {hint}")
        self.code = code
        self.message = message
        self.hint = hint


def data_directory(flag: str | None = None, environ: Mapping[str, str] | None = None) -> str:
    """The data directory's real path: the flag, else $PALMETTE_DATA, else $XDG_DATA_HOME/palmette, else ~/.local/share.

    It need not exist. Raises PlaceError `bad_path` for an empty path or one with a NUL.
    """
    env = os.environ if environ is None else environ
    chosen = flag if flag is not None else env.get("PALMETTE_DATA") or None
    if chosen is None:
        shared = env.get("XDG_DATA_HOME", "")
        if not os.path.isabs(shared):  # unset, or relative, which the XDG specification tells us to ignore
            shared = os.path.join(env.get("HOME") or os.path.expanduser("~"), ".local", "share")
        chosen = os.path.join(shared, "palmette")
    if not chosen or "\0" in chosen:
        raise PlaceError("bad_path", "the data directory's path is empty or holds a NUL", "give --data DIR")
    return os.path.realpath(chosen)


def ensure_data_directory(data: str) -> str:
    """Create the data directory (0700) if it is missing; refuse one that others own or may write. Returns `data`.

    Raises PlaceError `not_private` or `unusable_directory`.
    """
    try:
        os.makedirs(data, mode=0o700, exist_ok=True)
        found = os.stat(data)
    except OSError as error:
        raise PlaceError(
            "unusable_directory",
            f"the data directory {data} cannot be used ({error.strerror})",
            "give another with --data DIR",
        ) from error
    _refuse_foreign(data, found, forbidden=0o022)
    return data


def runtime_directory(data: str, environ: Mapping[str, str] | None = None) -> str:
    """Where this environment would put the sockets of the installation `data` (a path; nothing is created)."""
    import hashlib  # 4 ms of a start that takes 30: only who needs it pays

    return os.path.join(_runtime_root(environ), hashlib.sha256(os.fsencode(os.path.realpath(data))).hexdigest()[:12])


def claim_runtime(data: str, environ: Mapping[str, str] | None = None) -> str:
    """Create the runtime directory of `data` and write it down in the data directory, so that every client finds it.

    For the supervisor alone. Harnesses cut their servers' environment (codex passes no XDG_RUNTIME_DIR), so a client
    may compute another directory than the supervisor did; `find_socket` therefore reads this record first.
    Raises PlaceError `not_private`, `path_too_long` or `unusable_directory`.
    """
    ensure_data_directory(data)
    private_directory(_runtime_root(environ))
    chosen = private_directory(runtime_directory(data, environ))
    socket_path(chosen, MCP_SOCKET)
    write_file(runtime_pointer(data), os.fsencode(chosen))
    return chosen


def write_file(path: str, content: bytes) -> None:
    """Write a file of ours alone (0600): afterwards it holds all of `content`, or, refused, what it held before.

    For whoever owns the data directory. Raises PlaceError `unusable_directory`, on a full disk for instance.
    """
    written = f"{path}.{os.getpid()}"
    try:
        with open(os.open(written, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(written, path)
    except OSError as error:
        if os.path.lexists(written):
            os.unlink(written)
        directory = os.path.dirname(path)
        raise PlaceError(
            "unusable_directory", f"{directory} cannot be written ({error.strerror})", "free space or give --data DIR"
        ) from error


def is_full(data: str) -> bool:
    """Whether the disk of an existing data directory has no room left for this user."""
    return os.statvfs(data).f_bavail == 0


def find_socket(data: str, name: str = MCP_SOCKET, environ: Mapping[str, str] | None = None) -> str:
    """The path at which a client should dial socket `name` of the installation `data`; it may not exist yet.

    Raises PlaceError `not_private` when its directory exists but is not ours alone, `path_too_long`.
    """
    directory = _recorded_runtime(data) or runtime_directory(data, environ)
    for part in (os.path.dirname(directory), directory):
        if os.path.lexists(part):
            _check_private(part)
    return socket_path(directory, name)


def socket_path(directory: str, name: str) -> str:
    """`directory/name`, refused with PlaceError `path_too_long` where the kernel would refuse it."""
    path = os.path.join(directory, name)
    if len(os.fsencode(path)) > SOCKET_PATH_LIMIT:
        raise PlaceError(
            "path_too_long",
            f"the socket path {path} is longer than {SOCKET_PATH_LIMIT} bytes",
            "set XDG_RUNTIME_DIR to a shorter directory of yours",
        )
    return path


def private_directory(path: str) -> str:
    """Create `path` (0700) if missing and check that it is a directory of ours alone. Returns `path`.

    Raises PlaceError `not_private` or `unusable_directory`.
    """
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    except OSError as error:
        raise PlaceError(
            "unusable_directory", f"{path} cannot be created ({error.strerror})", "set XDG_RUNTIME_DIR"
        ) from error
    _check_private(path)
    return path


def runtime_pointer(data: str) -> str:
    """The file that names the runtime directory the running (or last) supervisor took."""
    return os.path.join(data, "runtime")


def down_marker(data: str) -> str:
    """The file that says "a person stopped the supervisor" (R3): while it exists no relay starts one."""
    return os.path.join(data, "down")


def start_lock(data: str) -> str:
    """The file whose flock decides which relay starts the supervisor (R2)."""
    return os.path.join(data, "start.lock")


def supervisor_lock(data: str) -> str:
    """The file whose flock the supervisor holds for its whole life: who has it owns the data directory (R2)."""
    return os.path.join(data, "supervisor.lock")


def supervisor_log(data: str) -> str:
    """Where a supervisor that a relay started writes its standard error (0600)."""
    return os.path.join(data, "supervisor.log")


def _runtime_root(environ: Mapping[str, str] | None) -> str:
    given = (os.environ if environ is None else environ).get("XDG_RUNTIME_DIR", "")
    # Ignored if relative (the XDG specification says so), missing or another user's (what sudo and cron leave behind).
    if os.path.isabs(given) and _is_ours(given):
        return os.path.join(given, "palmette")
    return f"/tmp/palmette-{os.getuid()}"  # noqa: S108 - 0700 and owner are checked before use


def _is_ours(path: str) -> bool:
    try:
        found = os.stat(path)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()


def _recorded_runtime(data: str) -> str | None:
    try:
        with open(os.open(runtime_pointer(data), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as record:
            found = os.fsdecode(record.read(4096))
    except OSError:
        return None
    return found if os.path.isabs(found) and "\0" not in found and os.path.isdir(found) else None


def _check_private(path: str) -> None:
    try:
        found = os.lstat(path)
    except OSError as error:
        raise PlaceError(
            "unusable_directory", f"{path} cannot be used ({error.strerror})", "set XDG_RUNTIME_DIR"
        ) from error
    _refuse_foreign(path, found, forbidden=0o077)


def _refuse_foreign(path: str, found: os.stat_result, forbidden: int) -> None:
    if not stat.S_ISDIR(found.st_mode):
        raise PlaceError("not_private", f"{path} is not a directory", "move it away")
    if found.st_uid != os.getuid():
        raise PlaceError("not_private", f"{path} belongs to another user (uid {found.st_uid})", "use one of your own")
    if stat.S_IMODE(found.st_mode) & forbidden:
        raise PlaceError("not_private", f"{path} is open to other users", f"chmod 700 {path}")
