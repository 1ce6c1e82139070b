"""Making the tables of `schema.sql`, and refusing a database that is not ours to use."""

import secrets
import sqlite3
from importlib.resources import files
from pathlib import Path

from palmette.coordination.errors import JournalCorrupt, JournalError
from palmette.coordination.store.engine import lengthen_log, set_up, translated

__all__ = ["APPLICATION", "VERSION", "prepare", "statements", "version_of"]

VERSION = 1
"""The schema's version; one that is higher is refused, one that is lower is migrated when there is such a thing."""
APPLICATION = 0x50414C4D
"""`PALM`, in the file's header."""


def statements() -> list[str]:
    """The statements of schema.sql, one each."""
    text = files("palmette.coordination.store").joinpath("schema.sql").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("--")]
    return [statement.strip() for statement in "\n".join(lines).split(";") if statement.strip()]


def prepare(connection: sqlite3.Connection, path: Path, now: int) -> None:
    """Make the tables if there are none, in one transaction with the version; else check that they are ours.

    Args:
        now: UTC microseconds, for the record.

    Raises:
        JournalError: `journal_newer`.
        JournalCorrupt: a database of something else.
        JournalUnwritable: the disk refused.
    """
    try:
        if connection.execute("SELECT count(*) FROM sqlite_schema").fetchone() != (0,):
            version_of(connection, path)
            set_up(connection, path)
            lengthen_log(path)
            return
        set_up(connection, path)
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in statements():
                connection.execute(statement)
            about = {"version": str(VERSION), "journal": secrets.token_hex(16), "begun_at": str(now)}
            connection.executemany("INSERT INTO meta VALUES (?, ?)", about.items())
            connection.execute(f"PRAGMA application_id = {APPLICATION}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        lengthen_log(path)
    except sqlite3.Error as error:
        raise translated(error, path) from error


def version_of(connection: sqlite3.Connection, path: Path) -> int:
    """The version of a journal that this version of palmette can read.

    Raises:
        JournalError: `journal_newer`.
        JournalCorrupt: a database of something else.
    """
    if connection.execute("PRAGMA application_id").fetchone() != (APPLICATION,):
        raise JournalCorrupt(
            f"{path} is a database of something else",
            "Name another data directory (--data, PALMETTE_DATA), or move the file away.",
        )
    row = connection.execute("SELECT value FROM meta WHERE name = 'version'").fetchone()
    version = int(row[0]) if row is not None else 0
    if version > VERSION:
        raise JournalError(
            f"{path} has version {version}; this version of palmette reads up to {VERSION}",
            "Install the version of palmette that wrote it, or a newer one.",
            code="journal_newer",
        )
    return version
