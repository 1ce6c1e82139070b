"""Figures, each beside the floor that the machine sets in the same run: `python -m benchmarks [NAME …]`.

A module here with `async def run(report)` is a benchmark; its name is the module's. They are no tests: nothing fails.
"""

from dataclasses import dataclass

__all__ = ["Report"]


@dataclass(frozen=True, slots=True)
class Report:
    """Prints figures, one line each.

    Attributes:
        name: of the benchmark.
    """

    name: str

    def figure(self, what: str, value: str, *, floor: str = "", target: str = "", met: bool | None = None) -> None:
        """One figure.

        Args:
            value, floor: with their units.
            target: what it should be, with the value it is compared by.
            met: whether it is; None without a target.
        """
        verdict = "" if met is None else "met" if met else "MISSED"
        print(f"{self.name:10} {what:34} {value:>24}   {floor:34} {target:28} {verdict}".rstrip(), flush=True)

    def say(self, text: str) -> None:
        """A line about what is being measured."""
        print(f"{self.name:10} {text}", flush=True)
