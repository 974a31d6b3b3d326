"""The embedded store: SQLite in the data folder, one writer thread, WAL with synchronous=FULL.

Invariant: the folder has one process, which owns every number and every lane; what an earlier process claimed and did
not settle bears an earlier epoch.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from engine.errors import StoreUnavailable, UnsafeStore
from engine.failpoints import failpoint
from engine.ids import Ids
from engine.ports import Clock
from engine.secret_files import unwritable
from engine.store import migrate, sealing, sql
from engine.store.committing import STEPS, CommittingStore
from engine.store.connection import Connection
from engine.store.keyring import read_keys
from engine.store.ledger import Ledger
from engine.store.moving import refuse_unfinished
from engine.store.sqlite_connection import SqliteConnection, connect

DATABASE = "interlock.db"
KEY_FILE = "interlock.key"
WRITER = 0
"""The one writer of an embedded store."""

T = TypeVar("T")


class SqliteStore(CommittingStore):
    """The store of one process. `open_store` makes one; `close` ends it."""

    def __init__(
        self, folder: Path, connection: SqliteConnection, clock: Clock, master: bytes, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.folder = folder
        self._connection = connection
        self._reading: SqliteConnection | None = None
        ledger = Ledger(connection, clock, WRITER, _new_epoch(connection), STEPS)
        ids = Ids(clock, WRITER, _largest_id(connection))
        super().__init__(ledger, clock, ids, master, read_keys(connection, master), loop)

    @contextmanager
    def counting(self) -> Iterator[Connection]:
        """A connection of one's own for a long read, to be used in a thread of one's own."""
        connection = connect(self.folder / DATABASE, read_only=True)
        try:
            yield connection
        finally:
            connection.close()

    def close(self) -> None:
        """Commit what is waiting, fold the log into the database, release the folder."""
        self._commits.close()
        self._reader.shutdown()
        if self._reading is not None:
            self._reading.close()
        failpoint("close.checkpoint.before")
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        failpoint("close.checkpoint.after")
        self._connection.close()

    def _read(self, query: Callable[[Connection], T]) -> T:
        try:
            return query(self._read_connection())
        except sqlite3.ProgrammingError:
            raise
        except sqlite3.DatabaseError as error:  # a connection that met a failing disk may not recover: the next is new
            if self._reading is not None:
                self._reading.close()
                self._reading = None
            raise StoreUnavailable(f"reading: {error.sqlite_errorname}", code="store_unreadable") from error

    def _read_connection(self) -> SqliteConnection:
        if self._reading is None:
            self._reading = connect(self.folder / DATABASE, read_only=True)
        return self._reading


def _new_epoch(connection: Connection) -> int:
    """Begin a new epoch: what an earlier process claimed and did not settle is in doubt from now on."""
    row = connection.execute("SELECT value FROM site WHERE name = 'epoch'").fetchone()
    epoch = int(row[0]) + 1 if row else 1
    failpoint("epoch.commit.before")
    connection.execute(sql.SET_SITE, ("epoch", str(epoch)))
    failpoint("epoch.commit.after")
    return epoch


def _largest_id(connection: Connection) -> int:
    tables = ("message", "delivery", "attempt", "item")
    largest = (connection.execute(f"SELECT max(id) FROM {table}").fetchone()[0] for table in tables)
    return max(number or 0 for number in largest)


def open_store(folder: Path, key: str, clock: Clock, loop: asyncio.AbstractEventLoop) -> SqliteStore:
    """Open, or make, the store in a data folder that `lock_folder` has locked.

    Raises:
        UnsafeStore: on a wrong key, an unsafe setting, or a database of a newer version.
    """
    file = folder / DATABASE
    existed = file.exists()
    master = sealing.master_key(key, folder / KEY_FILE, may_create=not existed)
    with _opening(file) as connection:
        if not existed:
            os.chmod(file, 0o600)
        migrate.to_head(connection)
        refuse_unfinished(connection)
        return SqliteStore(folder, connection, clock, master, loop)


@contextmanager
def _opening(file: Path) -> Iterator[SqliteConnection]:
    """A new connection that stays open unless something goes wrong; what SQLite says then is an `UnsafeStore`."""
    connection = None
    try:
        connection = connect(file)
        yield connection
    except BaseException as error:
        if connection is not None:
            connection.close()
        if not isinstance(error, sqlite3.Error):
            raise
        advice = "See that the disk is there, writable and not full; a file that is no store comes back from a backup."
        raise UnsafeStore(f"opening {file}: {error.sqlite_errorname}", code="store_unopened", advice=advice) from error


def lock_folder(folder: Path) -> int:
    """Lock a data folder for one process; returns the open lock's file descriptor.

    Raises:
        UnsafeStore: when another process holds it, or it cannot be written to.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise unwritable(folder, error) from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise UnsafeStore(
            f"opening {folder}: another process works on it",
            code="folder_locked",
            advice="Use the running server's commands, or stop it first.",
        ) from None
    return handle
