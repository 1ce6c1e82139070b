"""The harnesses that can be named (ports.Harnesses). So far that is the builtin one."""

from collections.abc import Callable, Mapping, Sequence

from palmette import __version__
from palmette.coordination.errors import Refused
from palmette.coordination.ports import Harness, HarnessProbe, Launch, Ledger
from palmette.sandbox.harness.builtin import BuiltinHarness, Isolation

__all__ = ["Registry"]

Driver = Callable[[Launch, Ledger], Harness]


class Registry:
    """Fills ports.Harnesses.

    Args:
        isolation: holds the processes of every harness, e.g. UnsafeNone.
    """

    def __init__(self, isolation: Isolation) -> None:
        self._isolation = isolation
        self._drivers: Mapping[str, Driver] = {
            "builtin": lambda launch, ledger: BuiltinHarness(launch, ledger, isolation)
        }

    def names(self) -> Sequence[str]:
        """Their names, in order."""
        return sorted(self._drivers)

    async def probe(self, name: str) -> HarnessProbe:
        """Whether it can be used here; the builtin one can wherever the isolation can."""
        if name not in self._drivers:
            return HarnessProbe(False, reason=_unknown(name, self.names()), remedy="name another harness")
        held = self._isolation.probe()
        return HarnessProbe(held.available, __version__, held.reason, held.remedy)

    def create(self, name: str, launch: Launch, ledger: Ledger) -> Harness:
        """See ports.Harnesses."""
        driver = self._drivers.get(name)
        if driver is None:
            raise Refused("unknown_harness", _unknown(name, self.names()))
        return driver(launch, ledger)


def _unknown(name: str, names: Sequence[str]) -> str:
    return f"there is no harness {name[:80]!r} here; there are: {', '.join(names)}"
