"""The `palmette` command. The relay is told apart before anything heavy is imported (R10)."""

import sys

__all__ = ["main"]


def main() -> int:
    """Run the command line of this process. Returns the exit status."""
    if sys.argv[1:2] == ["mcp"]:
        from palmette.servers import relay

        return relay.main(sys.argv[2:])
    from palmette.servers.cli.app import run

    return run(sys.argv[1:])
