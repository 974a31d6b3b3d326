"""Many rows in one statement: a statement gives up the interpreter once, not once a row, and the loop goes on.

Invariant: a statement comes in at most `MOST_ROWS` sizes, so that each is prepared once.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import chain
from typing import Any

MOST_ROWS = 48


def write_rows(connection: sqlite3.Connection, statement: str, rows: Sequence[tuple[Any, ...]]) -> int:
    """Run a statement with {rows} in it for all rows, in order; returns how many rows it changed."""
    changed = 0
    for start in range(0, len(rows), MOST_ROWS):
        chunk = rows[start : start + MOST_ROWS]
        values = tuple(chain.from_iterable(chunk))
        changed += connection.execute(_sized(statement, len(chunk), len(chunk[0])), values).rowcount
    return changed


def read_rows(connection: sqlite3.Connection, statement: str, rows: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
    """Run a query with {rows} in it for all rows; yields what it finds."""
    for start in range(0, len(rows), MOST_ROWS):
        chunk = rows[start : start + MOST_ROWS]
        values = tuple(chain.from_iterable(chunk))
        yield from connection.execute(_sized(statement, len(chunk), len(chunk[0])), values)


@cache
def _sized(statement: str, rows: int, columns: int) -> str:
    row = "(" + ",".join("?" * columns) + ")"
    return statement.format(rows=",".join([row] * rows))
