"""Months removed from SQLite, a batch of messages with all that belongs to them in one commit, beside a server or not.

Invariant: whether a message may go is asked in the transaction that removes it. Of a batch that was killed nothing or
everything is gone, so that the command is simply given again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.errors import NotFound, UnsafeStore
from engine.ports import Clock
from engine.store.connection import Connection
from engine.store.ledger import Transaction
from engine.store.months import Month
from engine.store.moving import refuse_unfinished
from engine.store.open_read import check_version
from engine.store.retention import Beside, Faulty, Order, Retired, account_for
from engine.store.sqlite import DATABASE
from engine.store.sqlite_connection import SqliteConnection, connect

BATCH = 500
"""Messages of one commit: a server's own commits wait that long and no longer."""

MAKE_CHOSEN = "CREATE TEMP TABLE IF NOT EXISTS retiring (id INTEGER PRIMARY KEY)"
FORGET_CHOSEN = "DELETE FROM retiring"
#: Of (first id of the month after, last id looked at, the first one three times more, how many).
CHOOSE = (
    "INSERT INTO retiring SELECT id FROM message AS m WHERE id < ? AND id > ?"
    " AND NOT EXISTS (SELECT 1 FROM delivery AS d WHERE d.message = m.id AND (d.id >= ?"
    " OR EXISTS (SELECT 1 FROM attempt AS a WHERE a.delivery = d.id AND a.id >= ?)))"
    " AND NOT EXISTS (SELECT 1 FROM message AS later WHERE later.original = m.id AND later.id >= ?)"
    " ORDER BY id LIMIT ?"
)
LAST_CHOSEN = "SELECT coalesce(max(id), 0) FROM retiring"
MESSAGES = (
    "SELECT organization, channel, '', state, count(*), sum(receipt) FROM message"
    " WHERE id IN (SELECT id FROM retiring) GROUP BY organization, channel, state"
)
DELIVERIES = (
    "SELECT organization, channel, destination, state, count(*), sum(seq) FROM delivery"
    " WHERE message IN (SELECT id FROM retiring) GROUP BY organization, channel, destination, state"
)
_OF_THEM = "(SELECT id FROM delivery WHERE message IN (SELECT id FROM retiring))"
REMOVE = (
    "DELETE FROM receipt_key WHERE (sent_as, content, message) IN"
    " (SELECT sent_as, content, id FROM message WHERE id IN (SELECT id FROM retiring))",
    f"DELETE FROM payload WHERE id IN (SELECT id FROM attempt WHERE delivery IN {_OF_THEM})",
    "DELETE FROM payload WHERE id IN (SELECT id FROM retiring)",
    f"DELETE FROM attempt WHERE delivery IN {_OF_THEM}",
    "DELETE FROM delivery WHERE message IN (SELECT id FROM retiring)",
    "DELETE FROM message WHERE id IN (SELECT id FROM retiring)",
)
#: Items that somebody closed and whose message has gone.
REMOVE_ITEMS = (
    "DELETE FROM item WHERE closed_at IS NOT NULL AND NOT EXISTS (SELECT 1 FROM message AS m WHERE m.id = item.message)"
)


class SqlitePlace:
    """The embedded store of a data folder."""

    def __init__(self, file: Path, connection: SqliteConnection, clock: Clock) -> None:
        self.connection: Connection = connection
        self._file = file
        self._clock = clock

    def now(self) -> int:
        """This machine's time."""
        return self._clock.now()

    def account(self, take: Callable[[Connection], Faulty]) -> Faulty:
        """On a connection that only reads."""
        connection = connect(self._file, read_only=True)
        try:
            return take(connection)
        finally:
            connection.close()

    def remove(self, month: Month, order: Order) -> Retired:
        """Batch by batch."""
        ledger = Beside(self.connection, self._clock)
        self.connection.execute(MAKE_CHOSEN)
        messages = deliveries = last = 0

        def batch(t: Transaction) -> Retired:
            nonlocal last
            refuse_unfinished(t.connection)
            gone, last = _remove(t, month, order, last)
            return gone

        while (gone := ledger.run(batch)).messages:
            messages, deliveries = messages + gone.messages, deliveries + gone.deliveries
        return Retired(month, messages, deliveries)


def _remove(t: Transaction, month: Month, order: Order, after: int) -> tuple[Retired, int]:
    """A batch of messages behind the id `after`, and the last id of them."""
    end = month.following.first_id
    t.connection.execute(FORGET_CHOSEN)
    t.connection.execute(CHOOSE, (end, after, end, end, end, BATCH))
    (last,) = t.connection.execute(LAST_CHOSEN).fetchone()
    messages = t.connection.execute(MESSAGES).fetchall()
    deliveries = t.connection.execute(DELIVERIES).fetchall()
    for statement in REMOVE if messages else (REMOVE_ITEMS,):
        t.connection.execute(statement)
    return account_for(t, month, order, messages, deliveries), last


@contextmanager
def open_sqlite(folder: Path, clock: Clock) -> Iterator[SqlitePlace]:
    """The store of a data folder, whether a server works on it or not; no key is needed.

    Raises:
        NotFound: there is none.
        UnsafeStore: it cannot be opened, or is of another version than this program.
    """
    file = folder / DATABASE
    if not file.exists():
        raise NotFound(f"opening {file}: there is no store", advice="Name the data folder with --data.")
    try:
        connection = connect(file)
    except sqlite3.Error as error:
        advice = "See that the disk is there, writable and not full."
        raise UnsafeStore(f"opening {file}: {error.sqlite_errorname}", code="store_unopened", advice=advice) from error
    try:
        check_version(connection)
        yield SqlitePlace(file, connection, clock)
    finally:
        connection.close()
