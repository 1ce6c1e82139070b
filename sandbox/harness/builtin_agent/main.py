"""The agent's process. Run by path, isolated: `python -I -S …/sandbox/harness/builtin_agent/main.py`.

The driver speaks on standard input, beginning with `launch`, and listens on standard output; standard error is the log.
"""

import os
import sys
import threading

if __name__ == "__main__" and not __package__:
    # Run by path and isolated (-I -S): nothing names the folder that holds the package, so find it above this file.
    # It goes last, so that no file beside it can stand in for a module of the standard library.
    _sandbox = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    _folder = os.path.dirname(_sandbox)
    sys.path.append(os.path.dirname(_folder) if os.path.basename(_folder) == "palmette" else _folder)

from pathlib import Path

from palmette import __version__
from palmette.sandbox.harness.builtin_agent.calls import Caller
from palmette.sandbox.harness.builtin_agent.inbox import Inbox, Said
from palmette.sandbox.harness.builtin_agent.loop import Loop, Settings
from palmette.sandbox.harness.builtin_agent.mcp import Relay
from palmette.sandbox.harness.builtin_agent.session import Session
from palmette.sandbox.harness.builtin_agent.wire import FatalError, Object, Wire, as_list

__all__ = ["main"]


class _Agent:
    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._lines = wire.lines()
        self._inbox = Inbox()

    def run(self) -> None:
        """From launch to stop.

        Raises:
            FatalError: it cannot begin, or not go on.
        """
        launch = next(self._lines, Object())
        if launch.get("kind") != "launch":
            raise FatalError("start", "the first line is no launch")
        folder = Path(launch["session_directory"])
        name = launch["session"]
        session = Session.begin(folder) if name is None else Session.open(folder, name)
        self._wire.send("started", session=session.name, version=__version__)
        env = {**os.environ, "PALMETTE_TOKEN_FILE": launch["token_file"]}
        log = os.open(launch["relay_log"], os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        relay = Relay(launch["relay_argv"], env, log, self._lost)
        caller = Caller(self._wire, self._inbox, launch["model_url"], launch["silence_s"])
        settings = _settings(launch)
        loop = Loop(self._wire, self._inbox, session, relay, caller, settings, dict(os.environ))
        threading.Thread(target=self._read, args=(caller,), daemon=True).start()
        try:
            relay.open(launch["mcp_s"], __version__)
            self._wire.send("ready")
            loop.run()
        finally:
            relay.close()

    def _read(self, caller: Caller) -> None:
        try:
            for line in self._lines:
                kind = line.get("kind")
                if kind in ("prompt", "steer"):
                    said = Said(str(line["message"]), str(line["text"]))
                    self._inbox.say(said, interrupt=line.get("interrupt") is True)
                elif kind == "interrupt":
                    self._inbox.interrupt()
                elif kind in ("hold_granted", "hold_refused"):
                    caller.answer_hold(line)
                elif kind == "stop":
                    break
        finally:  # also when the driver is gone
            self._inbox.stop()
            caller.answer_hold({"kind": "stop"})

    def _lost(self, reason: str) -> None:
        """The relay hides the supervisor's restarts; when it ends by itself the agent cannot go on."""
        self._wire.send("fatal", stage="run", reason=reason)
        os._exit(1)


def _settings(launch: Object) -> Settings:
    tools = launch["tools"]
    return Settings(
        system=launch["system"],
        model=launch["model"],
        max_output=launch["max_output"],
        tools=None if tools is None else tuple(as_list(tools)),
        directory=launch["workspace"],
        mcp_s=launch["mcp_s"],
    )


def main() -> int:
    """Serve one driver. 0: told to stop; 1: it could not go on, and said why."""
    wire = Wire(0, os.dup(1))
    os.dup2(2, 1)  # whatever a library prints is no line of the protocol
    os.set_inheritable(0, False)
    try:
        _Agent(wire).run()
    except FatalError as error:
        wire.send("fatal", stage=error.stage, reason=str(error))
        return 1
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # threads that wait for a background command's output must not hold the process
