"""The store on PostgreSQL, as one of several processes sees it: it commits like the others and owns some of the lanes.

Invariant: a lane is taken, carried and released by one process at a time; what a process that is gone had claimed is
in doubt before anybody carries its lane on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from engine.ids import Ids
from engine.ports import Clock, Role, Taken
from engine.store import sealing
from engine.store.committing import STEPS, CommittingStore
from engine.store.connection import Connection
from engine.store.keyring import Keyring
from engine.store.operations import Act, Release
from engine.store.postgres import membership, schema
from engine.store.postgres.connection import PostgresConnection
from engine.store.postgres.lanes import bury, leave, take, take_one
from engine.store.postgres.ledger import SharedLedger, release
from engine.store.postgres.membership import DatabaseClock
from engine.store.postgres.reading import keys_of, organizations
from engine.store.postgres.safety import refuse_unsafe
from engine.wiring import DAY

STEPS_OF_SEVERAL = (*STEPS[:2], (Release, release), *STEPS[2:])
"""A lane is released before it is fed in the same commit: whoever feeds it may then own it again."""
MONTHS_AHEAD = 2
ADD_PARTITIONS = f"SELECT add_partitions({MONTHS_AHEAD})"
OWNED = "SELECT organization, channel, destination, lane, turn FROM lane WHERE owner = ?"
LARGEST = "SELECT max(id) FROM {0}"

T = TypeVar("T")


class PostgresStore(CommittingStore):
    """One process's part of the store. `open_postgres` makes one; `close` ends its membership."""

    _ledger: SharedLedger
    shared = True

    def __init__(
        self, url: str, ledger: SharedLedger, reading: PostgresConnection, clock: Clock, master: bytes,
        keyring: Keyring, loop: asyncio.AbstractEventLoop,
    ) -> None:  # fmt: skip
        self._url = url
        self._partitions_until = 0
        self._connection = ledger.connection
        self._reading = reading
        ids = Ids(clock)
        super().__init__(ledger, clock, ids, master, keyring, loop)
        self._become()
        ledger.on_expelled = self._expelled

    # lanes

    async def take(self, channel: str, most: int, holding: Collection[str]) -> list[Taken]:
        """Own lanes of a channel that are due and that nobody owns, with what they have to carry."""
        return await self.act(lambda t: take(t, self._keyring, channel, most, holding))

    async def take_lane(self, channel: str, destination: str, lane: bytes, holding: Collection[str]) -> Taken | None:
        """Own this lane, or, where another process does, let it be looked at again once that one releases it."""
        return await self.act(lambda t: take_one(t, self._keyring, channel, destination, lane, holding))

    async def owned(self) -> set[tuple[str, str, str, bytes, int]]:
        """The lanes that this process owns: (organization, channel, destination, lane, turn)."""
        epoch = self._ledger.epoch
        return await self.read(lambda c: {tuple(row) for row in c.execute(OWNED, (epoch,))})

    def release(
        self, organization: str, channel: str, destination: str, lane: bytes, turn: int, seen: int, due: int | None,
        empty: bool,
    ) -> asyncio.Future[list[str]]:  # fmt: skip
        """Let go of a lane; the channels in which there is more to carry. `due` says from when on, None: nothing is."""
        rows = [(channel, destination, lane, turn, seen, due, empty)]
        operation = Release(self._loop.create_future(), organization, rows)
        self._commits.submit(operation)
        return operation.future

    async def attend(self) -> list[str]:
        """Show that this process lives, and bury those that do not; the channels whose lanes have become free."""
        if self.now() > self._partitions_until:
            self._partitions_until = self.now() + DAY
            await self.act(lambda t: t.connection.execute(ADD_PARTITIONS).fetchone())
        return await self.act(bury)

    # the rest

    @contextmanager
    def counting(self) -> Iterator[Connection]:
        """A connection of one's own for a long read, to be used in a thread of one's own."""
        connection = PostgresConnection(self._url, self.organizations, read_only=True)
        try:
            yield connection
        finally:
            connection.close()

    def close(self) -> None:
        """Commit what is waiting and leave: the others find every lane free at once."""
        self._commits.submit(Act(self._loop.create_future(), leave))
        self._commits.close()
        membership.forget(self._ledger.epoch)
        for connection in (self._reading, self._connection):  # each has a loop of its own, and one runs here
            self._reader.submit(connection.close)
        self._reader.shutdown()

    def _read(self, query: Callable[[Connection], T]) -> T:
        with self._reading.transaction():
            return query(self._reading)

    def _expelled(self) -> None:
        """In the writer thread: the others have what this process had."""
        self._become()
        self._loop.call_soon_threadsafe(self.on_expelled)

    def _become(self) -> None:
        """Make ids as the writer that the ledger is now, above all there are."""
        with self._connection.transaction():
            tables = ("message", "delivery", "attempt", "item")
            found = [self._connection.execute(LARGEST.format(table)).fetchone()[0] or 0 for table in tables]
        ids: Any = self.ids
        ids.become(self._ledger.writer, max(found))


async def open_postgres(url: str, key: str, key_file: Path, role: Role, clock: Clock | None = None) -> PostgresStore:
    """Open the store at a URL for a process of that role; the key is in INTERLOCK_KEY, or in the file.

    Raises:
        UnsafeStore: on a wrong key, an unsafe setting or role, or a schema of another version.
        StoreUnavailable: PostgreSQL does not answer.
    """
    loop = asyncio.get_running_loop()
    return await asyncio.to_thread(_open, url, key, key_file, role, clock, loop)


def _open(
    url: str, key: str, key_file: Path, role: Role, clock: Clock | None, loop: asyncio.AbstractEventLoop
) -> PostgresStore:
    keyring: Keyring = {}
    connection = PostgresConnection(url, lambda: keyring)
    try:
        schema.check_version(connection)
        refuse_unsafe(connection)
        with connection.transaction():
            connection.execute(ADD_PARTITIONS)
        names = organizations(connection)
        master = sealing.master_key(key, key_file, may_create=not names)
        keyring.update(keys_of(connection, names, master))
        database_clock = DatabaseClock()
        ledger = SharedLedger(connection, database_clock, clock or database_clock, role, STEPS_OF_SEVERAL)
        reading = PostgresConnection(url, lambda: keyring, read_only=True)
        return PostgresStore(url, ledger, reading, clock or database_clock, master, keyring, loop)
    except BaseException:
        connection.close()
        raise
