"""The shape of the database."""

import dataclasses
import sqlite3
from collections.abc import Generator
from contextlib import closing

import pytest

from palmette.coordination.records import RECORD_TYPES, Record
from palmette.coordination.store.journal import COLUMNS
from palmette.coordination.store.schema import statements


@pytest.fixture
def database() -> Generator[sqlite3.Connection]:
    """The tables, empty."""
    with closing(sqlite3.connect(":memory:")) as connection:
        for statement in statements():
            connection.execute(statement)
        yield connection


def columns(database: sqlite3.Connection, table: str) -> list[str]:
    return [row[1] for row in database.execute(f'PRAGMA table_info("{table}")')]


@pytest.mark.parametrize("kind", RECORD_TYPES, ids=lambda kind: kind.table)
def test_a_table_has_the_fields_of_its_record_and_its_key(database: sqlite3.Connection, kind: type[Record]) -> None:
    names = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    assert columns(database, kind.table) == names
    keys = [row[1] for row in database.execute(f'PRAGMA table_info("{kind.table}")') if row[5]]
    assert keys == names[:1]


@pytest.mark.parametrize("kind", RECORD_TYPES, ids=lambda kind: kind.table)
def test_every_declared_group_of_fields_is_found_by_an_index(database: sqlite3.Connection, kind: type[Record]) -> None:
    for names in kind.indexes:
        where = " AND ".join(f'"{name}" IS ?' for name in names)
        plan = database.execute(
            f'EXPLAIN QUERY PLAN SELECT * FROM "{kind.table}" WHERE {where}',  # noqa: S608
            ("x",) * len(names),
        ).fetchall()
        (said,) = [row[3] for row in plan]
        # A search by this very number of columns, not a scan, and not by a part of them.
        assert said.startswith("SEARCH"), said
        assert said.count("=?") == len(names), said


def test_the_event_table_is_the_envelope(database: sqlite3.Connection) -> None:
    assert tuple(columns(database, "event")) == COLUMNS


def test_there_is_no_table_that_nobody_declared(database: sqlite3.Connection) -> None:
    found = {row[0] for row in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    assert found == {"meta", "event", "sqlite_sequence"} | {kind.table for kind in RECORD_TYPES}


def test_a_value_of_the_wrong_type_is_refused_by_the_table(database: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.IntegrityError, match="cannot store TEXT value"):
        database.execute("INSERT INTO rest VALUES ('t1/0', 'many', 0)")
