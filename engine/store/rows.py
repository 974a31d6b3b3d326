"""Many rows in one statement: a statement gives up the interpreter once, not once a row, and the loop goes on.

Invariant: the statements come in a few sizes only, so that each is prepared once.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import cache
from itertools import chain
from typing import Any

SIZES = (64, 16, 4, 1)


def write_rows(connection: sqlite3.Connection, statement: str, rows: Sequence[tuple[Any, ...]]) -> int:
    """Run a statement with {rows} in it for all rows, in order; returns how many rows it changed."""
    changed = start = 0
    while start < len(rows):
        size = next(size for size in SIZES if size <= len(rows) - start)
        values = tuple(chain.from_iterable(rows[start : start + size]))
        changed += connection.execute(_sized(statement, size, len(rows[start])), values).rowcount
        start += size
    return changed


@cache
def _sized(statement: str, rows: int, columns: int) -> str:
    row = "(" + ",".join("?" * columns) + ")"
    return statement.format(rows=",".join([row] * rows))
