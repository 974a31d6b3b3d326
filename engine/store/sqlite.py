"""The embedded store: SQLite in the data folder, one writer thread, WAL with synchronous=FULL.

Invariant: a future that `keep`, `claim` or `settle` gives has its result only after the fsync that covers it.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import orjson

from engine.errors import NotFound, StoreUnavailable, UnsafeStore
from engine.failpoints import failpoint
from engine.ids import Ids
from engine.large import LARGE_BYTES, beside
from engine.lineage import Standing
from engine.model import MICROSECONDS, Attempt, Delivery, DeliveryState, Finding, Kept, Receipt, Settlement
from engine.ports import Clock
from engine.secret_files import unwritable
from engine.store import backlog, migrate, sealing
from engine.store.batch import Ledger
from engine.store.keyring import patient_key, read_keys, receipt_key
from engine.store.operations import Act, Claim, ItemRow, Keep, Payload, PutAside, Settle
from engine.store.sealing import place
from engine.store.writer import GroupCommit

DATABASE = "interlock.db"
KEY_FILE = "interlock.key"
STATEMENTS = 1024
"""Prepared statements kept: each of the path's comes in as many sizes as a batch has rows."""
REUSED_TEXT = "the sender uses control ids again for other content; its messages are delivered"
ANSWER_BYTES = 64 * 1024
"""Of a destination's answer at most this much is kept."""
KNOWN_BEFORE = "SELECT 1 FROM event WHERE organization = ? LIMIT 1"

T = TypeVar("T")


class SqliteStore:
    """The store of one process. `open_store` makes one; `close` ends it."""

    def __init__(
        self, folder: Path, connection: sqlite3.Connection, clock: Clock, master: bytes, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.folder = folder
        self._connection = connection
        self._master = master
        self._loop = loop
        self._clock = clock
        self._keys = read_keys(connection, master)
        self.writer = 0
        self.epoch = self._take_over()
        self.ids = Ids(clock, self.writer, self._largest_id())
        self._commits = GroupCommit(Ledger(connection, clock, self.writer, self.epoch).apply, loop)
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="interlock-reader")
        self._reading: sqlite3.Connection | None = None

    def now(self) -> int:
        """The clock of leases; on SQLite the process's own, for one process owns the store."""
        return self._clock.now()

    # the three durable facts

    async def keep(self, receipt: Receipt) -> Kept:
        """Keep a message. Raises `StoreUnavailable` when nothing of it is durable."""
        content, digest = await beside(receipt.size, self._hashes, receipt)
        operation = self._keep_operation(receipt, content, digest)
        if receipt.size > LARGE_BYTES and operation.payload is not None:
            await asyncio.to_thread(operation.payload.sealed)
        self._commits.submit(operation)
        return await operation.future

    async def claim(self, attempt: Attempt) -> bool:
        """Seal an attempt's output and take its delivery; False when the delivery changed hands meanwhile."""
        operation = self._claim_operation(attempt)
        if len(attempt.output) > LARGE_BYTES and operation.payload is not None:
            await asyncio.to_thread(operation.payload.sealed)
        self._commits.submit(operation)
        return await operation.future

    def settle(self, attempt: Attempt, settlement: Settlement) -> asyncio.Future[bool]:
        """Record an outcome: in the next commit, together with whatever is claimed before this loop turn ends."""
        answer = settlement.outcome.answer[:ANSWER_BYTES]
        payload = self._payload(attempt.delivery.organization, answer, attempt.id, "answer") if answer else None
        operation = Settle(self._loop.create_future(), attempt, settlement, payload)
        self._commits.submit(operation)
        return operation.future

    def put_aside(
        self, delivery: Delivery, state: DeliveryState, reason: str, findings: Iterable[Finding] = ()
    ) -> asyncio.Future[bool]:
        """Hold a delivery, or let it die, before a claim: its conversion must not or cannot go on."""
        at = self._clock.now()
        items = self._items(delivery, tuple(findings), at)
        operation = PutAside(self._loop.create_future(), delivery, state.value, reason, at, items)
        self._commits.submit(operation)
        return operation.future

    async def delivery_of(self, message: int, destination: str) -> tuple[Delivery, str] | None:
        """The latest delivery of a message to a destination and the reason of its state, or None.

        Asked behind what is to be committed, not beside it: an outcome that was settled before is seen.
        """
        return await self.act(lambda transaction: backlog.delivery_of(transaction.connection, message, destination))

    async def open_of_lane(self, channel: str, destination: str, lane: bytes, after: int, most: int) -> list[Delivery]:
        """Open deliveries of a lane with a higher number, in order: what the worker's memory did not hold."""
        return await self.read(lambda c: backlog.open_of_lane(c, channel, destination, lane, after, most))

    async def act(self, run: Callable[[Any], T]) -> T:
        """Run a rare command inside the next commit, alone undone when it raises."""
        operation = Act(self._loop.create_future(), run)
        self._commits.submit(operation)
        result: T = await operation.future
        return result

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run a query on a read-only connection in the reader thread: it never waits for the writer.

        Raises:
            StoreUnavailable: the disk cannot be read now.
        """
        return await self._loop.run_in_executor(self._reader, self._read, query)

    # keys and sealed values

    async def know(self, organization: str) -> None:
        """Make an organization's keys on its first use."""
        if organization in self._keys:
            return
        material = sealing.new_material()
        wrapped = sealing.wrap(self._master, material, organization)
        at = self._clock.now()

        def add(transaction: Any) -> int:
            if transaction.connection.execute(KNOWN_BEFORE, (organization,)).fetchone():
                raise UnsafeStore(
                    f"making keys for {organization}: it has stored messages, and its keys are gone",
                    code="keys_missing",
                    advice="Restore a backup that has them: with other keys nothing stored before would open.",
                )
            row = transaction.connection.execute(
                "INSERT INTO key (organization, wrapped, created_at) VALUES (?, ?, ?) RETURNING id",
                (organization, wrapped, at),
            ).fetchone()
            transaction.event(organization, "key_made", row[0], rare=False)
            return int(row[0])

        self._keys[organization] = sealing.OrganizationKeys(await self.act(add), material)

    def keys(self, organization: str) -> sealing.OrganizationKeys:
        """The keys of an organization this store knows."""
        return self._keys[organization]

    def organizations(self) -> tuple[str, ...]:
        """Every organization that has keys here."""
        return tuple(self._keys)

    async def load(self, organization: str, owner: int, field: str = "raw") -> bytes:
        """Read and open a stored payload: a message's bytes ("raw") or an attempt's output ("output")."""
        keys = self._keys[organization]

        def opened(connection: sqlite3.Connection) -> bytes:  # in the reader thread: it may be large
            sealed = connection.execute("SELECT sealed FROM payload WHERE id = ?", (owner,)).fetchone()
            if sealed is None:
                raise NotFound("reading a payload: it is not stored", code="payload_missing")
            return keys.open(sealed[0], place(organization, owner, field))

        return await self.read(opened)

    async def sent(self, delivery: Delivery) -> tuple[int, str, str]:
        """Of a delivery's latest attempt: the id of its stored output, its content type and its table revisions."""
        query = "SELECT output, content_type, tables FROM attempt WHERE id = ?"
        row = await self.read(lambda c: c.execute(query, (delivery.attempt,)).fetchone())
        return int(row[0]), str(row[1]), str(row[2])

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

    # preparing rows

    def _hashes(self, receipt: Receipt) -> tuple[bytes, bytes]:
        """The keyed hash of what a message says, and the plain one of its bytes."""
        content = self._keys[receipt.organization].digest(receipt.canonical)
        return content, hashlib.sha256(receipt.raw).digest() if receipt.raw else content

    def _keep_operation(self, receipt: Receipt, content: bytes, digest: bytes) -> Keep:
        keys = self._keys[receipt.organization]
        identity = receipt.identity
        named = identity is not None and identity.control_id
        sent_as = receipt_key(keys, receipt, content) if named or receipt.window else None
        patient = patient_key(keys, identity.patients[0].value) if identity and identity.patients else None
        payload = self._payload(receipt.organization, receipt.raw, receipt.id, "raw") if receipt.raw else None
        deliveries = tuple(self._delivery(receipt, index, keys) for index in range(len(receipt.routes)))
        rules = tuple(route.rule for route in receipt.routes)
        reused = partial(self._reused, receipt, self.ids.next()) if named and receipt.window else None
        return Keep(
            self._loop.create_future(), receipt, sent_as, content, patient, digest, payload, deliveries, rules, reused
        )  # fmt: skip

    def _reused(self, receipt: Receipt, number: int) -> ItemRow:
        """An item for a sender that used a control id again, one a day (UTC); the id itself is not told."""
        sender = " ".join(receipt.identity.sender) if receipt.identity else ""
        sender = sender.encode("utf-8", "replace").decode()  # it may hold bytes of no character set
        day = datetime.fromtimestamp(receipt.at // MICROSECONDS, UTC).date().isoformat()
        detail = {"where": "MSH-10", "text": REUSED_TEXT, "subject": f"{sender} {day}", "table": ""}
        return ItemRow(
            number,
            receipt.organization,
            receipt.channel,
            Standing.REUSED.value,
            self._keys[receipt.organization].index(f"item\n\n{sender}\n{day}"),
            self._payload(receipt.organization, orjson.dumps(detail), number, "item"),
            receipt.at,
            receipt.id,
            0,
        )

    def _payload(self, organization: str, data: bytes, owner: int, field: str) -> Payload:
        return Payload(self._keys[organization], data, place(organization, owner, field))

    def _delivery(self, receipt: Receipt, index: int, keys: sealing.OrganizationKeys) -> Delivery:
        route = receipt.routes[index]
        scope = f"{receipt.channel}\n{route.destination}\n"
        return Delivery(
            self.ids.next(),
            receipt.id,
            receipt.organization,
            receipt.channel,
            route.destination,
            keys.index(scope + route.lane),
            0,
            keys.index("order\n" + route.order) if route.order else b"",
            keys.index(scope + route.barrier) if route.barrier else b"",
            route.state,
            raw=receipt.raw,
        )

    def _claim_operation(self, attempt: Attempt) -> Claim:
        organization = attempt.delivery.organization
        payload = None
        if not attempt.repeats:
            payload = self._payload(organization, attempt.output, attempt.id, "output")
        items = self._items(attempt.delivery, attempt.findings, attempt.at) if attempt.findings else []
        return Claim(self._loop.create_future(), attempt, payload, items)

    def _items(self, delivery: Delivery, findings: tuple[Finding, ...], at: int) -> list[ItemRow]:
        """One item for each thing found, however often the message has it."""
        counted = Counter((finding.code, finding.table, finding.subject) for finding in findings)
        firsts = {(f.code, f.table, f.subject): f for f in reversed(findings)}
        return [self._item(delivery, firsts[key], at, count) for key, count in counted.items()]

    def _item(self, delivery: Delivery, finding: Finding, at: int, count: int) -> ItemRow:
        keys = self._keys[delivery.organization]
        number = self.ids.next()
        detail = {"where": finding.where, "text": finding.text, "subject": finding.subject, "table": finding.table}
        return ItemRow(
            number,
            delivery.organization,
            delivery.channel,
            finding.code,
            keys.index(f"item\n{finding.table}\n{finding.subject}"),
            self._payload(delivery.organization, orjson.dumps(detail), number, "item"),
            at,
            delivery.message,
            delivery.id,
            count,
        )

    # opening

    def _take_over(self) -> int:
        """Begin a new epoch: what an earlier process claimed and did not settle is in doubt from now on."""
        row = self._connection.execute("SELECT value FROM site WHERE name = 'epoch'").fetchone()
        epoch = int(row[0]) + 1 if row else 1
        failpoint("epoch.commit.before")
        self._connection.execute("INSERT OR REPLACE INTO site VALUES ('epoch', ?)", (str(epoch),))
        failpoint("epoch.commit.after")
        return epoch

    def _largest_id(self) -> int:
        query = "SELECT max(coalesce((SELECT max(id) FROM {0}), 0)) FROM (SELECT 1)"
        tables = ("message", "delivery", "attempt", "item")
        return max(int(self._connection.execute(query.format(table)).fetchone()[0]) for table in tables)

    def _read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return query(self._read_connection())
        except sqlite3.ProgrammingError:
            raise
        except sqlite3.DatabaseError as error:  # a connection that met a failing disk may not recover: the next is new
            if self._reading is not None:
                self._reading.close()
                self._reading = None
            raise StoreUnavailable(f"reading: {error.sqlite_errorname}", code="store_unreadable") from error

    def _read_connection(self) -> sqlite3.Connection:
        if self._reading is None:
            self._reading = connect(self.folder / DATABASE, read_only=True)
        return self._reading


def connect(file: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """Open the database with every setting the promises rest on.

    Raises:
        UnsafeStore: when SQLite does not take them, e.g. on a network file system without shared memory.
    """
    mode = "ro" if read_only else "rwc"
    connection = sqlite3.connect(
        f"file:{file}?mode={mode}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=30,
        cached_statements=STATEMENTS,
    )
    connection.execute("PRAGMA foreign_keys = ON")
    if read_only:
        return connection
    journal = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA wal_autocheckpoint = 4000")
    connection.execute("PRAGMA cache_size = -32000")
    if journal != "wal" or connection.execute("PRAGMA synchronous").fetchone()[0] != 2:
        raise UnsafeStore(
            f"opening {file}: it cannot be written with a durable log (journal mode {journal})",
            code="unsafe_journal",
            advice="Put the data folder on a local disk; network file systems cannot hold it.",
        )
    return connection


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
        return SqliteStore(folder, connection, clock, master, loop)


@contextmanager
def _opening(file: Path) -> Iterator[sqlite3.Connection]:
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
