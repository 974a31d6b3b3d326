"""A connection that breaks in the middle of a transaction: nothing of it is kept, and nothing runs outside of it."""

from __future__ import annotations

import pytest

from engine.errors import StoreUnavailable
from engine.store.postgres.connection import PostgresConnection
from tests import postgres

TERMINATE = "SELECT pg_terminate_backend({0})"


def test_after_a_break_nothing_of_the_transaction_runs_elsewhere() -> None:
    """A statement after the break must not open a transaction of its own, and the commit must not succeed."""
    database = postgres.database()
    connection = PostgresConnection(database.url, lambda: ("site",))
    add = "INSERT INTO site (name, value) VALUES (?, '')"
    try:
        connection.begin()
        connection.execute(add, ("before",))
        (process,) = connection.execute("SELECT pg_backend_pid()").fetchone()
        database.rows(TERMINATE.format(process))
        with pytest.raises(StoreUnavailable):
            connection.execute(add, ("at the break",))
        with pytest.raises(StoreUnavailable):
            connection.execute(add, ("after",))
        with pytest.raises(StoreUnavailable):
            connection.commit()
        connection.roll_back()
        connection.execute(add, ("next",))
        found = database.rows("SELECT name FROM site WHERE name IN ('before', 'at the break', 'after', 'next')")
        assert [tuple(row) for row in found] == [("next",)]
    finally:
        connection.execute("DELETE FROM site WHERE name = 'next'")
        connection.close()


def test_a_process_that_stops_in_a_transaction_lets_go_of_its_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.store.postgres.connection.SILENT", "200ms")
    database = postgres.database()
    first, second = (PostgresConnection(database.url, lambda: ("site",)) for _ in range(2))
    lock = "INSERT INTO counter (channel, destination, writer, last) VALUES ('held', '', 0, 1) ON CONFLICT DO NOTHING"
    try:
        first.begin()
        first.execute(lock)  # and now it is silent
        assert second.execute(lock).rowcount == 1
        with pytest.raises(StoreUnavailable):
            first.commit()
        first.roll_back()
    finally:
        second.execute("DELETE FROM counter WHERE channel = 'held'")
        first.close()
        second.close()
