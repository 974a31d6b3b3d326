"""Months removed from PostgreSQL by the owner of the schema: their partitions are dropped, one transaction a month.

Invariant: what takes long is done before the tables are locked against everybody; with the lock it is asked again
whether something that stays has come to belong to what goes. Nobody waits for the lock longer than `LOCK_WAIT`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from engine.errors import Configuration, Conflict
from engine.store.connection import Connection
from engine.store.ledger import Transaction
from engine.store.months import Month
from engine.store.moving import refuse_unfinished
from engine.store.postgres import schema
from engine.store.postgres.connection import Found, NotThere, PostgresConnection, TryAgain
from engine.store.postgres.membership import NOW
from engine.store.postgres.reading import organizations
from engine.store.retention import Beside, Faulty, Order, Retired, account_for, refuse_open

LONGEST_STATEMENT_SECONDS = 3600.0
LOCK_WAIT = "1s"
"""So long senders may wait for their answers while the lock is waited for; then they go on, and it tries again."""
LOCK_TRIES = 20
PAUSE_SECONDS = 0.5
PARTITIONED = ("message", "payload", "delivery", "attempt")

OWNS = "SELECT pg_has_role(current_user, relowner, 'MEMBER') FROM pg_class WHERE oid = to_regclass('message')"
ALONE = "SELECT pg_try_advisory_lock(726180310)"
"""The lock of the schema's migrations, held by the connection until it ends."""
CLOCK = f"SELECT {NOW}"
NO_MOVE = "LOCK TABLE process IN ROW EXCLUSIVE MODE"
"""A move of the site locks it against this."""
KEEP = "CREATE TABLE retiring_keeps (id bigint PRIMARY KEY)"
FORGET = "DROP TABLE retiring_keeps"
#: Every id before {0} that belongs to a message of which something comes later: no two rows of a site share an id.
KEPT = (
    "WITH m AS (SELECT message AS id FROM delivery WHERE id >= {0} AND message < {0}"
    " UNION SELECT d.message FROM attempt a JOIN delivery d ON d.id = a.delivery"
    " WHERE a.id >= {0} AND a.delivery < {0} AND d.message < {0}"
    " UNION SELECT original FROM message WHERE id >= {0} AND original < {0}),"
    " d AS (SELECT id FROM delivery WHERE id < {0} AND message IN (SELECT id FROM m)),"
    " a AS (SELECT id FROM attempt WHERE id < {0} AND delivery IN (SELECT id FROM d))"
    " SELECT id FROM m UNION SELECT id FROM d UNION SELECT id FROM a"
)
_GOES = "id < {0} AND id NOT IN (SELECT id FROM retiring_keeps)"
MESSAGES = (
    "SELECT organization, channel, '', state, count(*), CAST(sum(receipt) AS bigint) FROM message"
    f" WHERE {_GOES} GROUP BY organization, channel, state"
)
DELIVERIES = (
    "SELECT organization, channel, destination, state, count(*), CAST(sum(seq) AS bigint) FROM delivery"
    f" WHERE {_GOES} GROUP BY organization, channel, destination, state"
)
REMOVE = (
    "DELETE FROM receipt_key WHERE message < {0} AND message NOT IN (SELECT id FROM retiring_keeps)",
    "DELETE FROM item WHERE closed_at IS NOT NULL AND message < {0} AND message NOT IN (SELECT id FROM retiring_keeps)",
    *(f"DELETE FROM {table}_other WHERE {_GOES}" for table in PARTITIONED),
)
CHANGED = "SELECT count(*) FROM ({0}) AS found WHERE id NOT IN (SELECT id FROM retiring_keeps)"
LOCK = f"SELECT pg_advisory_xact_lock(726180311); LOCK TABLE {', '.join(PARTITIONED)} IN ACCESS EXCLUSIVE MODE"
"""Partitions are made under the same advisory lock."""
PARTS = "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = to_regclass(?)"


class OwnersConnection(PostgresConnection):
    """A connection whose statements may take long: nobody waits for their answers but whoever gave the command."""

    async def _fetch(self, statement: str, values: Sequence[Any]) -> Found:
        if self._raw is None:
            raise NotThere("asking PostgreSQL: the connection was lost")
        prepared = await self._raw.prepare(statement)
        rows = await prepared.fetch(*values, timeout=LONGEST_STATEMENT_SECONDS)
        return Found(rows, prepared.get_statusmsg())

    def _command(self, text: str) -> None:
        if self._raw is None:
            raise NotThere("asking PostgreSQL: the connection was lost")
        self.wait(self._raw.execute(text, timeout=LONGEST_STATEMENT_SECONDS))


class PostgresPlace:
    """A site on PostgreSQL, as the owner of its schema sees it."""

    def __init__(self, url: str, connection: PostgresConnection, names: list[str]) -> None:
        self.connection: Connection = connection
        self._owner = connection
        self._url = url
        self._names = names

    def now(self) -> int:
        """The database's time: by it ids are made here."""
        return int(self.connection.execute(CLOCK).fetchone()[0])

    def account(self, take: Callable[[Connection], Faulty]) -> Faulty:
        """On a connection that only reads."""
        reading = PostgresConnection(self._url, lambda: self._names, read_only=True)
        try:
            return take(reading)
        finally:
            reading.close()

    def remove(self, month: Month, order: Order) -> Retired:
        """In one transaction; once more when something came to belong to the month meanwhile."""
        for _ in range(3):
            try:
                return Beside(self._owner, _Clock(self)).run(lambda t: self._remove(t, month, order))
            except TryAgain:
                continue
        raise _not_locked(month)

    def _remove(self, t: Transaction, month: Month, order: Order) -> Retired:
        end = str(month.following.first_id)
        self._owner.script(f"SET LOCAL lock_timeout = '{LOCK_WAIT}'; {NO_MOVE}; {KEEP}")
        refuse_unfinished(t.connection)
        refuse_open(t.connection, month.following)
        t.connection.execute(f"INSERT INTO retiring_keeps {KEPT.format(end)}")
        messages = t.connection.execute(MESSAGES.format(end)).fetchall()
        deliveries = t.connection.execute(DELIVERIES.format(end)).fetchall()
        for statement in REMOVE:
            t.connection.execute(statement.format(end))
        gone = account_for(t, month, order, messages, deliveries)
        self._drop(t, month)
        t.connection.execute(FORGET)
        return gone

    def _drop(self, t: Transaction, month: Month) -> None:
        """With the lock only what is quick: what stays of the month's partitions goes to those without a month."""
        parts = [(table, part) for table in PARTITIONED for part in self._parts(table, month)]
        self._lock(month)
        if t.connection.execute(CHANGED.format(KEPT.format(month.following.first_id))).fetchone()[0]:
            raise TryAgain("retiring a month: something came to belong to it")
        for table, part in parts:
            t.connection.execute(f"ALTER TABLE {table} DETACH PARTITION {part}")
            t.connection.execute(
                f"INSERT INTO {table} SELECT * FROM {part} WHERE id IN (SELECT id FROM retiring_keeps)"
            )
            t.connection.execute(f"DROP TABLE {part}")

    def _parts(self, table: str, month: Month) -> list[str]:
        """The partitions of a table up to that month."""
        found = (name for (name,) in self.connection.execute(PARTS, (table,)) if name != f"{table}_other")
        return sorted(name for name in found if name <= f"{table}_{month.year:04}_{month.number:02}")

    def _lock(self, month: Month) -> None:
        for _ in range(LOCK_TRIES):
            self._owner.script("SAVEPOINT unlocked")
            try:
                self._owner.script(LOCK)
            except TryAgain:
                self._owner.script("ROLLBACK TO unlocked")
                time.sleep(PAUSE_SECONDS)
            else:
                return
        raise _not_locked(month)


class _Clock:
    def __init__(self, place: PostgresPlace) -> None:
        self._place = place

    def now(self) -> int:
        return self._place.now()


def _not_locked(month: Month) -> Conflict:
    return Conflict(
        f"retiring {month}: others read or write its tables without a pause",
        code="month_in_use",
        advice="End long reads (a balance, a backup with pg_dump, a move), and give the command again.",
    )


@contextmanager
def open_owned(url: str) -> Iterator[PostgresPlace]:
    """A site on PostgreSQL, whether processes work on it or not; no key is needed.

    Raises:
        Configuration: the URL does not name the owner of the schema.
        Conflict: somebody migrates the schema or retires months already.
        UnsafeStore, StoreUnavailable: the schema is of another version, or PostgreSQL does not answer.
    """
    names: list[str] = []
    connection = OwnersConnection(url, lambda: names)
    try:
        schema.check_version(connection)
        if not connection.execute(OWNS).fetchone()[0]:
            raise Configuration(
                "retiring months: this role does not own the schema",
                code="role",
                advice="Give --store with the role that ran `interlock migrate schema`.",
            )
        if not connection.execute(ALONE).fetchone()[0]:
            raise Conflict(
                "retiring months: somebody migrates the schema or retires months already",
                code="month_in_use",
                advice="Wait until that command has ended.",
            )
        names.extend(organizations(connection))
        yield PostgresPlace(url, connection, names)
    finally:
        connection.close()
