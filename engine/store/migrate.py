"""Numbered migrations: each one transaction, so that a kill leaves the schema before it or after it, never between."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from importlib.resources import files

from engine.errors import UnsafeStore
from engine.failpoints import failpoint
from engine.store.connection import Connection


def scripts() -> list[tuple[int, str]]:
    """Every migration as (number, SQL), in order."""
    folder = files("engine.store") / "migrations" / "sqlite"
    named = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [(int(name.split("_")[0]), (folder / name).read_text()) for name in named]


def to_head(connection: Connection) -> int:
    """Bring the schema to the newest version; returns it.

    Raises:
        UnsafeStore: when the database is of a newer version than this program.
    """
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    known = scripts()
    if version > known[-1][0]:
        raise UnsafeStore(
            f"opening the store: its schema is version {version}, this program knows {known[-1][0]}",
            code="newer_schema",
            advice="Start the newer Interlock that wrote it, or restore a backup made by this version.",
        )
    for number, text in known:
        if number > version:
            _apply(connection, number, text)
    return known[-1][0]


def _apply(connection: Connection, number: int, text: str) -> None:
    connection.execute("BEGIN IMMEDIATE")
    for statement in _statements(text):
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {number}")
    failpoint("migrate.commit.before")
    connection.execute("COMMIT")
    failpoint("migrate.commit.after")


def _statements(text: str) -> Iterator[str]:
    statement = ""
    for line in text.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
