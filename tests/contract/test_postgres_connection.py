"""A connection that breaks in the middle of a transaction: nothing of it is kept, and nothing runs outside of it."""

from __future__ import annotations

import pytest

from engine.errors import RowRefused, StoreUnavailable
from engine.store.connection import Many
from engine.store.postgres.connection import PostgresConnection
from tests import postgres

ADD_SITE = Many("text text", "INSERT INTO site (name, value) {rows}")
ADD_COUNTER = Many("text text int bigint", "INSERT INTO counter (channel, destination, writer, last) {rows}")
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


def test_deferred_statements_run_together_before_the_next_one_and_before_the_commit() -> None:
    database = postgres.database()
    connection = PostgresConnection(database.url, lambda: ("site",))
    seen = "SELECT name FROM site WHERE name LIKE 'later%' ORDER BY name"
    try:
        connection.begin()
        connection.defer(ADD_SITE, [("later-1", ""), ("later-2", "")])
        connection.defer(ADD_COUNTER, [("later", "", 0, 7)])
        assert [name for (name,) in connection.execute(seen)] == ["later-1", "later-2"]
        connection.defer(ADD_SITE, [("later-3", "")])
        connection.commit()
        assert [row[0] for row in database.rows(seen)] == ["later-1", "later-2", "later-3"]
        assert [row[0] for row in database.rows("SELECT last FROM counter WHERE channel = 'later'")] == [7]
    finally:
        connection.execute("DELETE FROM site WHERE name LIKE 'later%'")
        connection.execute("DELETE FROM counter WHERE channel = 'later'")
        connection.close()


def test_what_was_deferred_is_undone_with_its_transaction_and_a_fault_in_it_stops_the_commit() -> None:
    database = postgres.database()
    connection = PostgresConnection(database.url, lambda: ("site",))
    try:
        connection.begin()
        connection.defer(ADD_SITE, [("undone", "")])
        connection.roll_back()
        connection.begin()
        connection.defer(ADD_SITE, [("twice", ""), ("twice", "")])
        with pytest.raises(RowRefused):
            connection.commit()
        connection.roll_back()
        with connection.transaction():
            pass
        assert database.rows("SELECT name FROM site WHERE name IN ('undone', 'twice')") == []
    finally:
        connection.close()
