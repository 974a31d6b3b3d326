"""The balance closes over every state, and opens for a row that vanishes from any table of the path."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from engine.balance import Balance, balance, quick_balance
from engine.model import DeliveryState, Finding, MessageState
from engine.store.postgres.connection import PostgresConnection
from engine.store.sqlite import DATABASE, SqliteStore
from engine.store.sqlite_connection import connect
from tests import postgres, stores

pytestmark = pytest.mark.usefixtures("both_stores")


async def everything(store: SqliteStore) -> None:
    """One message or delivery in each state, merges and duplicates among them."""
    await stores.deliver(store, await stores.keep_one(store, "1"))
    await stores.kill(store, await stores.keep_one(store, "2"))
    await stores.doubt(store, await stores.keep_one(store, "3", patient="P3"))
    await stores.claim(store, await stores.keep_one(store, "4", patient="P4"), Finding("unmapped", subject="K"))
    await stores.keep(store, "5", destinations=("ehr", "archive"))
    await stores.keep(store, "6", wanted=False)
    await stores.keep(store, "1")
    await store.keep(stores.held(store, "7"))
    await store.keep(stores.refused(store, "8"))
    await stores.keep(store, "9", patient="P1", merged="P3")
    aside = await stores.keep_one(store, "10")
    aside.turn = stores.OWNED
    await store.put_aside(aside, DeliveryState.HELD, "unmapped", [])


def taken(folder: Path) -> Balance:
    reader = stores.reading(folder)
    try:
        return balance(reader.connection)
    finally:
        reader.close()


def test_it_closes_over_every_state_live_and_closed(tmp_path: Path) -> None:
    async def work(store: SqliteStore) -> Balance:
        await everything(store)
        assert await store.read(balance) == await asyncio.to_thread(taken, tmp_path)
        return await store.read(balance)

    live = stores.run(tmp_path, work)
    assert live.faults == () == taken(tmp_path).faults
    assert live.channels == taken(tmp_path).channels
    (lab,) = live.channels
    assert lab.received == 11
    assert {state: n for state, n in lab.states.items() if n} == {
        MessageState.ACCEPTED: 7, MessageState.FILTERED: 1, MessageState.DUPLICATE: 1,
        MessageState.HELD: 1, MessageState.REFUSED: 1,
    }  # fmt: skip
    archive, ehr = live.destinations
    assert (archive.accepted, ehr.accepted) == (1, 8)
    assert {state: n for state, n in ehr.states.items() if n} == {
        DeliveryState.DELIVERED: 1, DeliveryState.DEAD: 1, DeliveryState.IN_DOUBT: 1, DeliveryState.CLAIMED: 1,
        DeliveryState.QUEUED: 2, DeliveryState.FILTERED: 1, DeliveryState.HELD: 1,
    }  # fmt: skip
    assert not live.open
    assert live.as_dict()["open"] is False


@pytest.mark.parametrize("which", ["min", "max"])
@pytest.mark.parametrize("table", ["message", "payload", "delivery", "attempt"])
def test_a_row_with_an_id_that_vanishes_opens_it(tmp_path: Path, table: str, which: str) -> None:
    stores.run(tmp_path, everything)
    change(tmp_path, f"DELETE FROM {table} WHERE id = (SELECT {which}(id) FROM {table})")
    assert taken(tmp_path).open


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM counter WHERE destination <> ''",
        "DELETE FROM counter WHERE destination = ''",
        "DELETE FROM event WHERE seq = 1",
        "DELETE FROM event WHERE seq = 3",
        "DELETE FROM event WHERE seq = (SELECT max(seq) FROM event)",
        "DELETE FROM chain",
        "UPDATE event SET body = body || ' ' WHERE seq = 3",
        "UPDATE message SET receipt = receipt + 1 WHERE id = (SELECT max(id) FROM message)",
        "UPDATE message SET state = 'lost' WHERE id = (SELECT max(id) FROM message)",
        "UPDATE delivery SET state = 'lost' WHERE id = (SELECT max(id) FROM delivery)",
        "UPDATE counter SET last = last + 1 WHERE destination <> ''",
        "UPDATE delivery SET seq = seq + 1 WHERE id = (SELECT max(id) FROM delivery)",
    ],
)
def test_other_rows_that_vanish_or_change_open_it(tmp_path: Path, statement: str) -> None:
    stores.run(tmp_path, everything)
    change(tmp_path, statement)
    found = taken(tmp_path)
    assert found.open
    assert found.as_dict()["open"] is True


def test_every_single_row_is_missed(tmp_path: Path) -> None:
    stores.run(tmp_path, everything)
    connection = writing(tmp_path)
    try:
        for table in ("message", "payload", "delivery", "attempt"):
            for (number,) in connection.execute(f"SELECT id FROM {table}").fetchall():
                connection.begin()
                connection.execute(f"DELETE FROM {table} WHERE id = ?", (number,))
                assert balance(connection).open, f"{table} {number}"
                connection.roll_back()
        assert not balance(connection).open
    finally:
        connection.close()


def test_the_quick_one_counts_and_does_not_verify(tmp_path: Path) -> None:
    stores.run(tmp_path, everything)
    change(tmp_path, "DELETE FROM event WHERE seq = 3")
    reader = stores.reading(tmp_path)
    assert not quick_balance(reader.connection).open
    assert balance(reader.connection).open
    reader.close()
    change(tmp_path, "DELETE FROM counter WHERE destination = ''")
    assert taken(tmp_path).channels[0].unaccounted == -11


def writing(folder: Path) -> Any:
    """A connection that may change what no engine would."""
    if stores.CHOSEN == "postgres":
        return PostgresConnection(postgres.database().admin, lambda: (stores.SITE,))
    return connect(folder / DATABASE)


def change(folder: Path, statement: str) -> None:
    connection = writing(folder)
    try:
        assert connection.execute(statement).rowcount > 0
    finally:
        connection.close()
