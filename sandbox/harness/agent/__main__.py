"""Run by path and isolated: `python -I -S …/sandbox/harness/agent/__main__.py LAUNCH.json`."""

import os
import sys

if __name__ == "__main__" and not __package__:
    # Nothing names the folder that holds the package, so find it above this file. It goes last, so that no file beside
    # it can stand in for a module of the standard library.
    _folder = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    sys.path.append(os.path.dirname(_folder) if os.path.basename(_folder) == "palmette" else _folder)

from palmette.sandbox.harness.agent.process import main

if __name__ == "__main__":
    # Threads that wait for a silent peer must not delay the end, and everything that matters is flushed by then.
    os._exit(main(sys.argv[1:]))
