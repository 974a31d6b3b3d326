"""Chunks of rows, each one commit of the target together with how far the copy has come.

Invariant: a row and the mark that says it is there are one commit, so that a kill between two chunks, or inside one, is
resumed without a row twice and without a row missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from engine.errors import RowRefused
from engine.store.connection import Connection
from engine.store.moving.marks import Mark
from engine.store.moving.sides import Side
from engine.store.moving.tables import TABLES, Table

ROWS = 2000
"""Rows of one commit at the most."""
BYTES = 16 << 20
"""Bytes of the large column in one commit; one value alone may be more."""

Told = Callable[[str, int], None]
"""Told (table, rows copied) after each commit."""


def copy(source: Side, target: Side, mark: Mark, told: Told) -> None:
    """Copy every table, on from where the mark stands."""
    names = [table.name for table in TABLES]
    first = names.index(mark.table) if mark.table else 0
    for table in TABLES[first:]:
        after = mark.after if table.name == mark.table else ()
        for rows in chunks(source.connection, table, after):
            mark = replace(mark, table=table.name, after=_key(table, rows[-1]))
            _write(target, table, rows, mark)
            told(table.name, len(rows))


def _write(target: Side, table: Table, rows: Sequence[Any], mark: Mark) -> None:
    try:
        with target.writing():
            target.add(table, rows)
            mark.write(target.connection)
    except RowRefused as error:
        raise RowRefused(
            f"copying {table.name}: the target refuses a row of this chunk ({error.text})",
            advice="Nothing is lost: the source is as it was. Report it with the text above.",
        ) from error


def chunks(connection: Connection, table: Table, after: tuple[Any, ...]) -> Iterator[list[Any]]:
    """The rows of a table behind a key, in the order of the key."""
    while True:
        with connection.told():
            rows = _chunk(connection, table, after)
        if not rows:
            return
        yield rows
        after = _key(table, rows[-1])


def _chunk(connection: Connection, table: Table, after: tuple[Any, ...]) -> list[Any]:
    if not table.large:
        return _select(connection, table, ", ".join(table.columns), after)
    upto = _cut(_select(connection, table, f"{', '.join(table.key)}, coalesce(length({table.large}), 0)", after))
    return _select(connection, table, ", ".join(table.columns), after, upto) if upto else []


def _cut(sizes: Sequence[Any]) -> tuple[Any, ...]:
    """The key up to which the large values fit together into a chunk."""
    upto: tuple[Any, ...] = ()
    total = 0
    for *key, size in sizes:
        total += size
        if upto and total > BYTES:
            break
        upto = tuple(key)
    return upto


def _select(
    connection: Connection, table: Table, what: str, after: tuple[Any, ...], upto: tuple[Any, ...] = ()
) -> list[Any]:
    key, marks = ", ".join(table.key), ", ".join("?" * len(table.key))
    terms = [f"({key}) {sign} ({marks})" for sign, bound in ((">", after), ("<=", upto)) if bound]
    where = f" WHERE {' AND '.join(terms)}" if terms else ""
    query = f"SELECT {what} FROM {table.name}{where} ORDER BY {key} LIMIT ?"
    return [tuple(row) for row in connection.execute(query, (*after, *upto, ROWS))]


def _key(table: Table, row: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(row[place] for place in table.key_places)
