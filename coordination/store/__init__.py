"""The journal and its projections: on SQLite, and in memory."""

from palmette.coordination.store.memory import MemoryStore

__all__ = ["MemoryStore"]
