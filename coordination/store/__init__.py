"""The journal and its projections: on SQLite, and in memory."""

from palmette.coordination.store.engine import EngineFacts, engine_facts
from palmette.coordination.store.memory import MemoryStore
from palmette.coordination.store.sqlite import SqliteStore

__all__ = ["EngineFacts", "MemoryStore", "SqliteStore", "engine_facts"]
