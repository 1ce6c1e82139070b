"""`python -m palmette`."""

from palmette.servers.entry import main

if __name__ == "__main__":
    raise SystemExit(main())
