"""Looking into a directory from a test."""

from pathlib import Path

__all__ = ["names"]


def names(directory: Path) -> list[str]:
    """What is in `directory`, sorted, dot files too."""
    return sorted(path.name for path in directory.iterdir())
