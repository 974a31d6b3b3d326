"""What every store does the same way: operations into the next commit, reads beside it, keys by organization.

Invariant: a future that `keep`, `claim` or `settle` gives has its result only after the commit that covers it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import TypeVar

from engine.errors import NotFound, UnsafeStore
from engine.large import LARGE_BYTES, beside
from engine.model import Attempt, Delivery, DeliveryState, Finding, Kept, Receipt, Settlement
from engine.ports import Clock, NewIds, Taken
from engine.store import backlog, sealing
from engine.store.carrying import claim, put_aside, settle
from engine.store.connection import Connection
from engine.store.keep import keep
from engine.store.keyring import ADD_KEY, KEY_OF, KNOWN_BEFORE, Keyring
from engine.store.ledger import Ledger, Step, Transaction, act
from engine.store.operations import Act, Claim, Keep, Payload, PutAside, Settle
from engine.store.preparing import Preparing
from engine.store.sealing import place
from engine.store.writer import GroupCommit

STEPS: tuple[tuple[type, Step], ...] = (
    (Settle, settle),
    (Claim, claim),
    (Keep, keep),
    (PutAside, put_aside),
    (Act, act),
)
"""What a commit runs, in this order: what has ended first, then what begins."""

T = TypeVar("T")


class CommittingStore:
    """A store over a ledger that a thread of its own commits, and a connection that another thread reads."""

    def __init__(
        self, ledger: Ledger, clock: Clock, ids: NewIds, master: bytes, keyring: Keyring,
        loop: asyncio.AbstractEventLoop,
    ) -> None:  # fmt: skip
        self._loop = loop
        self._clock = clock
        self._master = master
        self._keyring = keyring
        self._ledger = ledger
        self.ids = ids
        self.on_expelled: Callable[[], None] = lambda: None  # other processes have taken over what this one had
        self._preparing = Preparing(keyring, ids, loop)
        self._commits = GroupCommit(ledger.apply, loop)
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="interlock-reader")

    shared = False
    """True when other processes work on the store, too."""

    @property
    def epoch(self) -> int:
        """This process among all that ever worked on the store: what it claims bears its number."""
        return self._ledger.epoch

    def now(self) -> int:
        """The clock of leases."""
        return self._clock.now()

    # the three durable facts

    async def keep(self, receipt: Receipt) -> Kept:
        """Keep a message. Raises `StoreUnavailable` when nothing of it is durable."""
        content, digest = await beside(receipt.size, self._preparing.hashes, receipt)
        operation = self._preparing.keep(receipt, content, digest)
        if receipt.size > LARGE_BYTES:
            await _seal_beside(operation.payload)
        self._commits.submit(operation)
        return await operation.future

    async def claim(self, attempt: Attempt) -> bool:
        """Seal an attempt's output and take its delivery; False when the delivery changed hands meanwhile."""
        operation = self._preparing.claim(attempt)
        if len(attempt.output) > LARGE_BYTES:
            await _seal_beside(operation.payload)
        self._commits.submit(operation)
        return await operation.future

    def settle(self, attempt: Attempt, settlement: Settlement) -> asyncio.Future[bool]:
        """Record an outcome: in the next commit, together with whatever is claimed before this loop turn ends."""
        operation = self._preparing.settle(attempt, settlement)
        self._commits.submit(operation)
        return operation.future

    def put_aside(
        self, delivery: Delivery, state: DeliveryState, reason: str, findings: Iterable[Finding] = ()
    ) -> asyncio.Future[bool]:
        """Hold a delivery, or let it die, before a claim: its conversion must not or cannot go on."""
        operation = self._preparing.put_aside(delivery, state.value, reason, tuple(findings), self._clock.now())
        self._commits.submit(operation)
        return operation.future

    async def act(self, run: Callable[[Transaction], T]) -> T:
        """Run a rare command inside the next commit, alone undone when it raises."""
        operation = Act(self._loop.create_future(), run)
        self._commits.submit(operation)
        result: T = await operation.future
        return result

    # reading

    async def read(self, query: Callable[[Connection], T]) -> T:
        """Run a query on a read-only connection in the reader thread: it never waits for the writer.

        Raises:
            StoreUnavailable: the store cannot be read now.
        """
        return await self._loop.run_in_executor(self._reader, self._read, query)

    async def delivery_of(self, message: int, destination: str) -> tuple[Delivery, str] | None:
        """The latest delivery of a message to a destination and the reason of its state, or None.

        Asked behind what is to be committed, not beside it: an outcome that was settled before is seen.
        """
        return await self.act(lambda transaction: backlog.delivery_of(transaction.connection, message, destination))

    async def open_of_lane(self, channel: str, destination: str, lane: bytes, after: int, most: int) -> list[Delivery]:
        """Open deliveries of a lane with a higher number, in order: what the worker's memory did not hold."""
        return await self.read(lambda c: backlog.open_of_lane(c, channel, destination, lane, after, most))

    async def load(self, organization: str, owner: int, field: str = "raw") -> bytes:
        """Read and open a stored payload: a message's bytes ("raw") or an attempt's output ("output")."""
        keys = self._keyring[organization]

        def opened(connection: Connection) -> bytes:  # in the reader thread: it may be large
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

    # lanes, which here are all this process's own

    async def take(self, channel: str, most: int, holding: Collection[str]) -> list[Taken]:
        """Own lanes of a channel that are due and that nobody owns."""
        return []

    async def attend(self) -> list[str]:
        """Show that this process lives, and take over from those that do not: there are no others."""
        return []

    async def take_lane(self, channel: str, destination: str, lane: bytes, holding: Collection[str]) -> Taken | None:
        """Own this lane; None while another process does."""
        return None

    async def owned(self) -> set[tuple[str, str, str, bytes, int]]:
        """The lanes that this process owns, where others could."""
        return set()

    def release(
        self,
        organization: str,
        channel: str,
        destination: str,
        lane: bytes,
        turn: int,
        seen: int,
        due: int | None,
        empty: bool,
    ) -> asyncio.Future[list[str]]:
        """Let go of a lane."""
        done: asyncio.Future[list[str]] = self._loop.create_future()
        done.set_result([])
        return done

    # keys

    async def know(self, organization: str) -> None:
        """Make an organization's keys on its first use."""
        if organization not in self._keyring:
            new = sealing.wrap(self._master, sealing.new_material(), organization)
            number, wrapped = await self.act(lambda t: _key_of(t, organization, new))
            material = sealing.unwrap(self._master, wrapped, organization)
            self._keyring[organization] = sealing.OrganizationKeys(number, material)

    def keys(self, organization: str) -> sealing.OrganizationKeys:
        """The keys of an organization this store knows."""
        return self._keyring[organization]

    def organizations(self) -> tuple[str, ...]:
        """Every organization that has keys here."""
        return tuple(self._keyring)

    def counting(self) -> AbstractContextManager[Connection]:
        """A connection of one's own for a long read, to be used in a thread of one's own."""
        raise NotImplementedError

    def close(self) -> None:
        """Commit what is waiting, and let go of everything."""
        raise NotImplementedError

    def _read(self, query: Callable[[Connection], T]) -> T:
        raise NotImplementedError


async def _seal_beside(payload: Payload | None) -> None:
    """A large payload is sealed in a thread of its own: the writer has others to commit."""
    if payload is not None:
        await asyncio.to_thread(payload.sealed)


def _key_of(t: Transaction, organization: str, new: bytes) -> tuple[int, bytes]:
    """An organization's key, wrapped: the one that another process made, or the new one."""
    t.ledger.admit(organization)
    there = t.connection.execute(KEY_OF, (organization,)).fetchone()
    if there:
        return int(there[0]), there[1]
    if t.connection.execute(KNOWN_BEFORE, (organization,)).fetchone():
        raise UnsafeStore(
            f"making keys for {organization}: it has stored messages, and its keys are gone",
            code="keys_missing",
            advice="Restore a backup that has them: with other keys nothing stored before would open.",
        )
    number = int(t.connection.execute(ADD_KEY, (organization, new, t.ledger.clock.now())).fetchone()[0])
    t.event(organization, "key_made", number, rare=False)
    return number, new
