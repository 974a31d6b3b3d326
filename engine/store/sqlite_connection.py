"""One connection to SQLite, with every setting the promises rest on.

Invariant: a statement for many rows gives up the interpreter once, not once a row, so that the loop goes on; it comes
in at most `MOST_ROWS` sizes, so that each is prepared once.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

from engine.errors import RowRefused, StoreUnavailable, UnsafeStore
from engine.store.connection import Many

MOST_ROWS = 48
STATEMENTS = 1024
"""Prepared statements kept: each of the path's comes in as many sizes as a batch has rows."""
REFUSED = (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError, OverflowError)


class SqliteConnection:
    """A `Connection`; `execute` is SQLite's own, so that a statement costs nothing more."""

    def __init__(self, raw: sqlite3.Connection) -> None:
        self.raw = raw
        self.execute = raw.execute

    def write(self, many: Many, rows: Sequence[Sequence[Any]]) -> int:
        """Run a statement for all rows, in order; returns how many rows it changed."""
        changed = 0
        for start in range(0, len(rows), MOST_ROWS):
            chunk = rows[start : start + MOST_ROWS]
            values = tuple(chain.from_iterable(chunk))
            changed += self.execute(_sized(many.text, len(chunk), len(chunk[0])), values).rowcount
        return changed

    def defer(self, many: Many, rows: Sequence[Sequence[Any]]) -> None:
        """Run a statement for all rows; here it costs nothing to do so at once."""
        self.write(many, rows)

    def ask(self, many: Many, rows: Sequence[Sequence[Any]]) -> Iterator[Any]:
        """Run a query for all rows; yields what it finds."""
        for start in range(0, len(rows), MOST_ROWS):
            chunk = rows[start : start + MOST_ROWS]
            values = tuple(chain.from_iterable(chunk))
            yield from self.execute(_sized(many.text, len(chunk), len(chunk[0])), values)

    def begin(self) -> None:
        """Begin a transaction that writes."""
        self.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Make the transaction durable."""
        self.execute("COMMIT")

    def roll_back(self) -> None:
        """Undo the transaction, when one is open."""
        if self.raw.in_transaction:
            with suppress(sqlite3.Error):
                self.execute("ROLLBACK")

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Everything read inside is one committed state; inside another transaction it is that one's."""
        if self.raw.in_transaction:
            yield
            return
        self.execute("BEGIN")
        try:
            yield
        finally:
            self.roll_back()

    @contextmanager
    def told(self) -> Iterator[None]:
        """What SQLite says when it cannot, in the engine's words: a row it never takes, or no store."""
        try:
            yield
        except REFUSED as error:
            raise RowRefused(f"keeping one operation: {type(error).__name__}") from error
        except sqlite3.Error as error:
            raise StoreUnavailable(f"committing: {error.sqlite_errorname}") from error

    def close(self) -> None:
        """Let go of the database."""
        self.raw.close()


@cache
def _sized(statement: str, rows: int, columns: int) -> str:
    row = "(" + ",".join("?" * columns) + ")"
    return statement.format(rows="VALUES " + ",".join([row] * rows))


def connect(file: Path, *, read_only: bool = False) -> SqliteConnection:
    """Open the database.

    Raises:
        UnsafeStore: when SQLite does not take the settings, e.g. on a network file system without shared memory.
    """
    mode = "ro" if read_only else "rwc"
    raw = sqlite3.connect(
        f"file:{file}?mode={mode}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=30,
        cached_statements=STATEMENTS,
    )
    raw.execute("PRAGMA foreign_keys = ON")
    if not read_only:
        _make_durable(raw, file)
    return SqliteConnection(raw)


def _make_durable(raw: sqlite3.Connection, file: Path) -> None:
    journal = raw.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    raw.execute("PRAGMA synchronous = FULL")
    raw.execute("PRAGMA wal_autocheckpoint = 4000")
    raw.execute("PRAGMA cache_size = -32000")
    if journal != "wal" or raw.execute("PRAGMA synchronous").fetchone()[0] != 2:
        raise UnsafeStore(
            f"opening {file}: it cannot be written with a durable log (journal mode {journal})",
            code="unsafe_journal",
            advice="Put the data folder on a local disk; network file systems cannot hold it.",
        )
