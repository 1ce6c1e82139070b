"""The verbs of the tree, and how their answers look."""

from palmette.coordination.verbs.roots import RunOrder
from palmette.coordination.verbs.verbs import Verbs

__all__ = ["RunOrder", "Verbs"]
