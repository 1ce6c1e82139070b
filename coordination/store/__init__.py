"""The journal and its projections: on SQLite, and in memory."""

from palmette.coordination.store.engine import EngineFacts, engine_facts
from palmette.coordination.store.memory import MemoryStore
from palmette.coordination.store.sqlite import SqliteStore
from palmette.coordination.store.verify import Difference, Problem, Report, verify

__all__ = ["Difference", "EngineFacts", "MemoryStore", "Problem", "Report", "SqliteStore", "engine_facts", "verify"]
