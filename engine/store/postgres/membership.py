"""A process among the others of its site: its epoch, its writer number, its lease.

Invariant: the lease is a row, its time this database's, and every commit of the process renews it in the same
transaction. So a process whose row is gone can commit nothing any more, however long it was paused or cut off.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from engine.errors import RowRefused, UnsafeStore
from engine.store.connection import Connection
from engine.store.moving import refuse_unfinished
from engine.store.postgres.connection import PostgresConnection

LEASE_SECONDS = 15
"""A process that was not heard of for so long has its lanes taken over."""
WRITERS = 63
"""Processes that may write at once: ids have six bits for it, and number 0 is the embedded store's."""
TRIES = 100
_joined: set[int] = set()
"""The epochs of this process: more than one where it has several stores."""

NOW = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
JOIN = (
    "INSERT INTO process (epoch, writer, role, host, pid, started_at, until)"
    f" SELECT nextval('epoch'), number, ?, ?, ?, {NOW}, {NOW} + {LEASE_SECONDS} * 1000000"
    f" FROM generate_series(1, {WRITERS}) AS number WHERE NOT EXISTS (SELECT 1 FROM process WHERE writer = number)"
    " ORDER BY number LIMIT 1 RETURNING epoch, writer"
)
#: The first statement of every commit: for (organizations, epoch).
RENEW = (
    "WITH named AS MATERIALIZED (SELECT set_config('app.organizations', ?, true) AS organizations)"
    f" UPDATE process SET until = {NOW} + {LEASE_SECONDS} * 1000000, commits = commits + 1 FROM named WHERE epoch = ?"
    f" RETURNING {NOW}, commits"
)
#: A process that is just committing lives.
BURY = (
    f"DELETE FROM process WHERE epoch IN (SELECT epoch FROM process WHERE until < {NOW} FOR UPDATE SKIP LOCKED)"
    " RETURNING epoch"
)
NAME_ALL = "SELECT set_config('app.organizations', (SELECT string_agg(name, ',') FROM organization), true)"
OF_THIS_HOST = "SELECT epoch, pid FROM process WHERE host = ?"
END_LEASE = "UPDATE process SET until = 0 WHERE epoch = ?"
LEAVE = "DELETE FROM process WHERE epoch = ?"
#: Waits for a commit that has not ended.
COMMITS = "SELECT commits FROM process WHERE epoch = ? FOR UPDATE"


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
                row = connection.execute(JOIN, (role, host(), os.getpid())).fetchone()
                refuse_unfinished(connection)
        except RowRefused:  # another one took the same number at the same time
            continue
        if row is not None:
            _joined.add(int(row[0]))
            return int(row[0]), int(row[1])
        break
    raise UnsafeStore(
        f"joining the site: {WRITERS} processes are at work",
        code="too_many_processes",
        advice="Stop some; one that was killed is forgotten a little later.",
    )


def bury(connection: Connection, mine: int) -> Sequence[int]:
    """End the membership of processes whose lease has ended, or that ran here and do not any more; their epochs."""
    for epoch, process in connection.execute(OF_THIS_HOST, (host(),)).fetchall():
        if epoch != mine and not _runs(epoch, process):
            connection.execute(END_LEASE, (epoch,))
    return [epoch for (epoch,) in connection.execute(BURY)]


@cache
def host() -> str:
    """This host until it is started again, and this container on it: only here a process id says anything."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)


def forget(epoch: int) -> None:
    """This process is no member under that epoch any more."""
    _joined.discard(epoch)


def _runs(epoch: int, process: int) -> bool:
    if process == os.getpid():  # or an earlier process had this number
        return epoch in _joined
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
