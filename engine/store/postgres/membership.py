"""A process among the others of its site: its epoch, its writer number, its lease.

Invariant: the lease is a row, its time this database's, and every commit of the process renews it in the same
transaction. So a process whose row is gone can commit nothing any more, however long it was paused or cut off.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence

from engine.errors import RowRefused, UnsafeStore
from engine.store.connection import Connection
from engine.store.postgres.connection import PostgresConnection

LEASE_SECONDS = 15
"""A process that was not heard of for so long has its lanes taken over."""
WRITERS = 63
"""Processes that may write at once: ids have six bits for it, and number 0 is the embedded store's."""
TRIES = 5

NOW = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
JOIN = (
    "INSERT INTO process (epoch, writer, role, host, pid, started_at, until)"
    f" SELECT nextval('epoch'), number, ?, ?, ?, {NOW}, {NOW} + {LEASE_SECONDS} * 1000000"
    f" FROM generate_series(1, {WRITERS}) AS number WHERE NOT EXISTS (SELECT 1 FROM process WHERE writer = number)"
    " ORDER BY number LIMIT 1 RETURNING epoch, writer"
)
RENEW = (
    f"UPDATE process SET until = {NOW} + {LEASE_SECONDS} * 1000000 WHERE epoch = ?"
    f" RETURNING {NOW}, pg_current_xact_id()::text"
)
BURY = f"DELETE FROM process WHERE until < {NOW} RETURNING epoch"
LEAVE = "DELETE FROM process WHERE epoch = ?"
STATUS = "SELECT pg_xact_status(?::xid8)"


class DatabaseClock:
    """The database's time, told by each commit and counted on from there: a clock set here changes nothing."""

    def __init__(self) -> None:
        self._ahead = 0

    def now(self) -> int:
        """Microseconds since 1970, UTC."""
        return time.monotonic_ns() // 1000 + self._ahead

    def told(self, now: int) -> None:
        """The database has said what time it is."""
        self._ahead = now - time.monotonic_ns() // 1000


def join(connection: PostgresConnection, role: str) -> tuple[int, int]:
    """Become one of the site's processes; gives back the epoch and the writer number.

    Raises:
        UnsafeStore: there are as many processes as there may be.
    """
    for _ in range(TRIES):
        try:
            with connection.transaction():
                row = connection.execute(JOIN, (role, socket.gethostname(), os.getpid())).fetchone()
        except RowRefused:  # another one took the same number at the same time
            continue
        if row is not None:
            return int(row[0]), int(row[1])
        break
    raise UnsafeStore(
        f"joining the site: {WRITERS} processes are at work",
        code="too_many_processes",
        advice="Stop some; one that was killed is forgotten a little later.",
    )


def bury(connection: Connection) -> Sequence[int]:
    """End the membership of processes whose lease has ended; their epochs."""
    return [epoch for (epoch,) in connection.execute(BURY)]
