"""`palmette mcp` whose supervisor is the test daemon. Run it isolated (-I -S), as an installed relay runs."""

import os
import sys

sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from palmette.servers.relay import main


def supervisor(data: str) -> list[str]:
    """The argv of the test daemon."""
    return [sys.executable, os.path.join(os.path.dirname(os.path.abspath(__file__)), "line_daemon.py"), "--data", data]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], supervisor))
