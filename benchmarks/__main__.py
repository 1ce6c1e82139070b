"""`python -m benchmarks [NAME …]`: all of them, or those named."""

import importlib
import os
import pkgutil
import platform
import sys

import anyio

import benchmarks
from benchmarks import Report


def main() -> int:
    """Run what is asked for; 2 for a name that is none."""
    known = sorted(module.name for module in pkgutil.iter_modules(benchmarks.__path__) if module.name[0] != "_")
    asked = sys.argv[1:] or known
    unknown = [name for name in asked if name not in known]
    if unknown:
        print(f"no benchmark is called {', '.join(unknown)}; there are: {', '.join(known)}", file=sys.stderr)
        return 2
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, load {load}")
    for name in asked:
        anyio.run(importlib.import_module(f"benchmarks.{name}").run, Report(name))
    return 0


if __name__ == "__main__":
    sys.exit(main())
