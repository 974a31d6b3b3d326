"""Every named statement finds its rows by a key or an index; those that may walk a table are named here with why."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest

from deadletter import queues
from engine import recovery
from engine.store import acts, backlog, migrate, queries, sql

MAY_WALK = {
    "CHANNEL_STATES": "as many rows as channels and destinations",
    "CLAIMED_BEFORE": "once at a start: every open delivery",
    "LAST_NUMBERS": "once at a start: as many rows as channels and destinations",
    "OPEN_ITEMS": "open items: one a subject, never one a message",
}
WALKED = ("SCAN site", "SCAN new", "SCAN chain", "SCAN CONSTANT ROW", "SCAN delivery USING INDEX delivery_in_doubt")
"""Tables of a few rows, and the index that holds nothing but what is in doubt."""


def statements() -> Iterator[tuple[str, str]]:
    for module in (acts, backlog, queries, queues, recovery, sql):
        for name, value in vars(module).items():
            if (
                name[0].isupper()
                and name.isupper()
                and isinstance(value, str)
                and value.startswith(("SELECT", "UPDATE", "DELETE"))
            ):
                yield name, value


def connection() -> sqlite3.Connection:
    made = sqlite3.connect(":memory:", isolation_level=None)
    migrate.to_head(made)
    return made


@pytest.mark.parametrize(("name", "statement"), list(statements()))
def test_a_statement_goes_by_an_index(name: str, statement: str) -> None:
    columns = ",".join("?" * 9)
    query = statement.replace("{marks}", "?, ?").replace("{rows}", f"({columns})")
    made = connection()
    try:
        steps = [row[3] for row in made.execute("EXPLAIN QUERY PLAN " + query, [1] * query.count("?"))]
    finally:
        made.close()
    walks = [step for step in steps if step.startswith("SCAN") and not step.startswith(WALKED)]
    assert bool(walks) is (name in MAY_WALK), steps


def test_the_statements_are_found() -> None:
    assert len(list(statements())) > 35
