"""A store as one end of a move: opened, held against everybody else, read from or written to.

Invariant: while a side is held nobody serves the store, and nobody can begin to.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import orjson

from engine.errors import NotFound
from engine.failpoints import failpoint
from engine.ports import Clock
from engine.store import acts, migrate, sql
from engine.store.connection import Connection
from engine.store.ledger import Ledger, Transaction, act
from engine.store.moving.marks import EPOCH, fact
from engine.store.moving.tables import TABLES, Table
from engine.store.operations import Act
from engine.store.sqlite import DATABASE, lock_folder
from engine.store.sqlite_connection import connect

WRITER = 0
"""Whose chains a move writes to: those of the embedded store, which on PostgreSQL no process ever has."""
AT_ONCE = 500
"""Deliveries put in doubt by one commit."""

HEADS = "SELECT organization, writer, last, hash FROM chain"
CLAIMED = "SELECT id FROM delivery WHERE open > 0 AND state = 'claimed' LIMIT ?"
LARGEST_EPOCH = "SELECT coalesce(max(epoch), 0) FROM {0}"


class Side:
    """What both kinds of store have in common."""

    kind: str
    connection: Connection
    organizations: dict[str, int]
    """Every organization of the site, and since when."""

    def __init__(self, name: str) -> None:
        self.name = name

    def open(self, *, existing: bool) -> None:
        """Connect; `existing`: there must be a store. Raises what the store refuses to be opened for."""
        raise NotImplementedError

    def hold(self, clock: Clock) -> None:
        """Keep everybody else out until `close`. Raises `Conflict` or `UnsafeStore` when somebody works on it."""
        raise NotImplementedError

    def still_held(self) -> None:
        """Raises `StoreUnavailable` when others may have come in meanwhile."""

    def epoch(self) -> int:
        """The latest epoch: it rises with every process that ever began to work on the store."""
        raise NotImplementedError

    def welcome(self, organizations: dict[str, int]) -> None:
        """The rows that come are of these organizations. Inside `writing`."""
        self.organizations = organizations

    def add(self, table: Table, rows: Sequence[Any]) -> None:
        """Add rows, and what this kind of store derives from them. Inside `writing`."""
        self.connection.write(table.insert, rows)

    def go_on_above(self, epoch: int) -> None:
        """Let every number that this store gives out from now on be above what was copied."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of the store."""
        raise NotImplementedError

    @contextmanager
    def writing(self) -> Iterator[None]:
        """One commit of the move."""
        with self.connection.told():
            self.connection.begin()
            try:
                yield
                failpoint("move.commit.before")
                self.connection.commit()
            except BaseException:
                self.connection.roll_back()
                raise
            failpoint("move.commit.after")

    def act(self, clock: Clock, run: Callable[[Transaction], Any]) -> Any:
        """One commit with events in it."""

        def last(t: Transaction) -> Any:
            result = run(t)
            failpoint("move.commit.before")
            return result

        ledger = Ledger(self.connection, clock, WRITER, 0, ((Act, act),))
        result = ledger.apply([Act(cast(Any, None), last)])[0]  # it has no future: nobody waits beside this thread
        if isinstance(result, BaseException):
            raise result
        failpoint("move.commit.after")
        return result

    def doubt_claimed(self, clock: Clock) -> None:
        """What a process claimed that is gone is in doubt before its delivery goes anywhere."""
        while claimed := [number for (number,) in self.connection.execute(CLAIMED, (AT_ONCE,))]:
            self.act(clock, lambda t, numbers=claimed: acts.doubt(t, numbers))  # type: ignore[misc]

    def fingerprint(self) -> str:
        """What is different as soon as anybody has worked on the store again."""
        heads = sorted((o, writer, last, link.hex()) for o, writer, last, link in self.connection.execute(HEADS))
        return hashlib.sha256(orjson.dumps([self.kind, self.epoch(), heads])).hexdigest()

    def counts(self) -> dict[str, int]:
        """How many rows each table has."""
        return {
            table.name: self.connection.execute(f"SELECT count(*) FROM {table.name}").fetchone()[0] for table in TABLES
        }

    def heads(self) -> set[tuple[Any, ...]]:
        """The end of every chain of events."""
        return {tuple(row) for row in self.connection.execute(HEADS)}


class SqliteSide(Side):
    """The embedded store of a data folder."""

    kind = "sqlite"

    def __init__(self, folder: Path) -> None:
        super().__init__(f"sqlite:{folder}")
        self.folder = folder
        self._lock = -1

    def open(self, *, existing: bool) -> None:
        """Lock the folder first: a server may be about to open it."""
        file = self.folder / DATABASE
        if existing and not file.exists():
            raise NotFound(f"opening {file}: there is no store", code="no_store", advice="Name the data folder.")
        self._lock = lock_folder(self.folder)
        new = not file.exists()
        connection = connect(file)
        self.connection = connection
        if new:
            os.chmod(file, 0o600)
        with connection.told():
            migrate.to_head(connection)
            self.organizations = dict(connection.execute(SQLITE_ORGANIZATIONS).fetchall())

    def hold(self, clock: Clock) -> None:
        """The folder's lock is held from the beginning."""

    def epoch(self) -> int:
        """What the last process to open it wrote."""
        return int(fact(self.connection, EPOCH) or 0)

    def go_on_above(self, epoch: int) -> None:
        """Epochs go on above those of the rows; ids do by themselves, for a start asks for the largest."""
        with self.writing():
            found = [self.connection.execute(LARGEST_EPOCH.format(t)).fetchone()[0] for t in ("delivery", "attempt")]
            self.connection.execute(sql.SET_SITE, (EPOCH, str(max(epoch, *found))))

    def close(self) -> None:
        """Fold the log into the database and release the folder."""
        if hasattr(self, "connection"):
            self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self.connection.close()
        if self._lock >= 0:
            os.close(self._lock)


SQLITE_ORGANIZATIONS = (
    "SELECT organization, min(at) FROM (SELECT organization, created_at AS at FROM key"
    " UNION ALL SELECT organization, (SELECT min(at) FROM event e WHERE e.organization = c.organization"
    " AND e.writer = c.writer AND e.seq = 1) FROM chain c) GROUP BY organization"
)
