"""`palmette mcp`: the MCP stdio server that every harness starts. It pumps JSON-RPC lines to the supervisor's socket.

Standard library only; nothing else of palmette is imported but its other relay modules (R10: 20 to 40 ms to the first
line, 11 MB), and little stands in this file, which is compiled anew at each start by path. Outside a node it starts a
supervisor where none runs; inside one it dials the attempt's own socket (`--socket`), and is the same code (R12). Rules
R1 to R12 of the stdio-relay note.

Run it as `palmette mcp`, or faster as `python -I -S …/servers/relay.py --data DIR`.
"""

import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

if __name__ == "__main__" and not __package__:
    # Run by path and isolated (-I -S): nothing names the folder that holds the package, so find it above this file.
    # It goes last, so that no file beside it can stand in for a module of the standard library.
    _folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    sys.path.append(os.path.dirname(_folder) if os.path.basename(_folder) == "palmette" else _folder)

from palmette import __version__
from palmette.servers import places
from palmette.servers.relay_dial import Target
from palmette.servers.relay_pump import Relay
from palmette.servers.relay_wire import WIRE, TokenError, printable, read_token, root_environment

__all__ = ["Options", "main", "parse_options", "supervisor_command"]

_USAGE = "usage: palmette mcp [--data DIR] [--only coordination|checks|corpus] [--socket PATH]"
_SERVERS = ("coordination", "checks", "corpus")


class Options(NamedTuple):
    """The command line of `palmette mcp`. `data` and `socket` are real paths; with `socket` nothing is ever started."""

    data: str | None
    socket: str | None
    only: str | None


def main(argv: Sequence[str], supervisor: Callable[[str], Sequence[str]] | None = None) -> int:
    """Serve one harness on standard input and output until it goes. Returns the exit status.

    0: the harness closed the stream. 1: no supervisor to be had, or an unusable token file, said in one line on
    standard error. 2: wrong arguments. PALMETTE_TOKEN_FILE names the file that holds the attempt's token.
    `supervisor` gives the argv that starts a supervisor for a data directory.
    """
    if any(word in ("-h", "--help") for word in argv):
        print(_USAGE)
        return 0
    token_file = os.environ.pop("PALMETTE_TOKEN_FILE", None)  # a child (a supervisor it starts) has no use for it
    try:
        options = parse_options(argv)
        token = None if token_file is None else read_token(token_file)
    except ValueError as error:
        print(printable(f"palmette mcp: {error}; {_USAGE}", 2000), file=sys.stderr)
        return 2
    except (places.PlaceError, TokenError) as error:
        print(printable(f"palmette mcp: {error}", 2000), file=sys.stderr)
        return 1
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return Relay(_target(options, token, supervisor or supervisor_command)).run()


def parse_options(argv: Sequence[str]) -> Options:
    """Read the command line. Raises ValueError for what is not understood, PlaceError for an unusable data directory.

    By hand: argparse alone costs a third of the whole start.
    """
    given: dict[str, str] = {}
    words = list(argv)
    while words:
        name, equals, value = words.pop(0).partition("=")
        if name not in ("--data", "--only", "--socket"):
            raise ValueError(f"unknown argument {name!r}")
        if not equals:
            if not words:
                raise ValueError(f"{name} needs a value")
            value = words.pop(0)
        given[name] = value
    only, path = given.get("--only"), given.get("--socket")
    if only is not None and only not in _SERVERS:
        raise ValueError(f"--only takes one of {', '.join(_SERVERS)}")
    if path is not None:
        return Options(None, os.path.abspath(path), only)
    return Options(places.data_directory(given.get("--data")), None, only)


def supervisor_command(data: str) -> list[str]:
    """The argv that starts a supervisor for the data directory `data`."""
    return [sys.executable, "-m", "palmette", "up", "--foreground", "--data", data, "--started-by-relay"]


def _target(options: Options, token: str | None, command: Callable[[str], Sequence[str]]) -> Target:
    try:
        cwd = os.getcwd()
    except OSError:  # the folder was deleted under the harness
        cwd = ""
    hello: dict[str, object] = {
        "palmette": WIRE,
        "version": __version__,
        "session": os.urandom(16).hex(),
        "pid": os.getpid(),
        "ppid": os.getppid(),
        "cwd": cwd,
        "env": root_environment(os.environ),
    }
    if token is not None:
        hello["token"] = token
    if options.only is not None:
        hello["only"] = options.only
    line = json.dumps(hello, separators=(",", ":")).encode() + b"\n"
    data, path = options.data, options.socket
    if data is not None:
        return Target(lambda: places.find_socket(data), line, __version__, data, tuple(command(data)))
    return Target(lambda: path or "", line, __version__)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
