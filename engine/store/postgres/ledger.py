"""What several processes share in a commit: numbers under row locks, and lanes that one of them at a time owns.

Invariant: a delivery is claimed only by the process that owns its lane, under the membership in which it came to own
it. A commit whose end nobody saw is looked up before anything else happens: it is never taken for what it was not.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from engine.errors import StoreUnavailable
from engine.model import Delivery, DeliveryState
from engine.ports import Clock
from engine.store import sql
from engine.store.connection import Many
from engine.store.ledger import Ledger, Number, Step, Transaction
from engine.store.operations import Act, Claim, Keep, PutAside, Release, Settle
from engine.store.postgres import membership
from engine.store.postgres.connection import PostgresConnection, PostgresUnavailable, TryAgain
from engine.store.postgres.membership import NOW, DatabaseClock

SHARED = 0
"""The writer of numbers that all processes give out together."""
TRIES = 5

LOCK_NUMBERS = Many(
    "text text",
    "SELECT c.channel, c.destination, c.last FROM ({rows}) AS new JOIN counter c ON c.channel = new.column1"
    f" AND c.destination = new.column2 AND c.writer = {SHARED} ORDER BY c.channel, c.destination FOR UPDATE OF c",
)
FIRST_NUMBERS = Many(
    "text text",
    f"INSERT INTO counter (channel, destination, writer, last) SELECT column1, column2, {SHARED}, 0"
    " FROM ({rows}) AS new ON CONFLICT (channel, destination, writer) DO UPDATE SET last = counter.last"
    " RETURNING channel, destination, last",
)
#: Rows are (organization, channel, destination, lane, last, owner or NULL). A lane that nobody owns and that has
#: nothing open becomes the feeder's, if it wants it. One with something open in it does not: it must be read first.
FEED = Many(
    "text text text bytea bigint bigint",
    "INSERT INTO lane AS l (organization, channel, destination, lane, last, known, due, owner, turn)"
    " SELECT column1, column2, column3, column4, column5, CASE WHEN column6 IS NULL THEN 0 ELSE column5 END,"
    f" {NOW}, column6, nextval('epoch') FROM ({{rows}}) AS new"
    " ON CONFLICT (channel, destination, lane) DO UPDATE SET last = excluded.last,"
    " known = CASE WHEN excluded.owner IS NOT NULL AND l.known = l.last"
    " AND ((l.owner IS NULL AND l.due IS NULL) OR l.owner = excluded.owner) THEN excluded.last ELSE l.known END,"
    " turn = CASE WHEN l.owner IS NULL AND l.due IS NULL AND l.known = l.last AND excluded.owner IS NOT NULL"
    " THEN excluded.turn ELSE l.turn END,"
    " owner = CASE WHEN l.owner IS NULL AND l.due IS NULL AND l.known = l.last THEN excluded.owner ELSE l.owner END,"
    " due = CASE WHEN l.owner IS NULL AND l.due IS NOT NULL THEN least(l.due, excluded.due) ELSE excluded.due END"
    " RETURNING channel, destination, lane, owner, known, last, turn",
)
#: Rows are (channel, destination, lane, turn, highest number known, due or NULL, whether nothing of it is open).
RELEASE = Many(
    "text text bytea bigint bigint bigint boolean",
    "UPDATE lane SET owner = NULL, stale = false, known = CASE WHEN new.column7 THEN new.column5 ELSE 0 END,"
    f" due = CASE WHEN last > new.column5 OR stale THEN {NOW} ELSE new.column6 END FROM ({{rows}}) AS new"
    " WHERE channel = new.column1 AND destination = new.column2 AND lane.lane = new.column3 AND turn = new.column4"
    " AND owner IS NOT NULL RETURNING channel, due",
)
TOUCH = (
    f"UPDATE lane SET stale = owner IS NOT NULL, due = CASE WHEN owner IS NULL THEN {NOW} ELSE due END"
    " WHERE channel = ? AND destination = ? AND lane IN (?, ?)"
)
LOCK_DELIVERY = "SELECT 1 FROM delivery WHERE id = ? FOR UPDATE"
ADD_ORGANIZATION = f"INSERT INTO organization (name, created_at) VALUES (?, {NOW}) ON CONFLICT DO NOTHING"
ADMIT = "SELECT set_config('app.organizations', current_setting('app.organizations') || ',' || ?, true)"


class Expelled(PostgresUnavailable):
    """The others have taken over what this process had: it was not heard of for too long."""

    code = "expelled"


class SharedLedger(Ledger):
    """The ledger of one of several processes."""

    connection: PostgresConnection
    shared = True

    def __init__(
        self, connection: PostgresConnection, database_clock: DatabaseClock, clock: Clock, role: str,
        steps: Sequence[tuple[type, Step]],
    ) -> None:  # fmt: skip
        self.on_expelled: Callable[[], None] = lambda: None
        self._role = role
        self._database_clock = database_clock
        self._reserved: dict[Number, int] = {}
        self._commit = 0  # the number of the commit under way
        self._doubtful = False  # nobody saw whether it was the last that was kept
        self._expelled = False
        self.carries = role in ("all", "worker")
        epoch, writer = membership.join(connection, role)
        super().__init__(connection, clock, writer, epoch, steps)
        self.counted_by = SHARED

    def apply(self, operations: Sequence[Any]) -> list[Any]:
        """Commit all operations; when others were in the way, again."""
        for _ in range(TRIES - 1):
            try:
                return super().apply(operations)
            except TryAgain:
                continue
            except Expelled:
                self._expelled = True
                self._rejoin()
                raise
        return super().apply(operations)

    def _rejoin(self) -> None:
        """Become a member anew after the others took over: nothing that was owned before is."""
        membership.forget(self.epoch)
        self.epoch, self.writer = membership.join(self.connection, self._role)
        self.recall()
        self._expelled = self._doubtful = False
        self.on_expelled()

    def recall(self) -> None:
        """Read the heads of this writer's chains; numbers are read under their locks."""
        with self.connection.transaction():
            super().recall()
        self.numbers = {}

    # the transaction

    def begin(self, operations: Sequence[Any]) -> None:
        """Begin a transaction for the operations' organizations, and renew the lease in it."""
        if self._expelled:
            self._rejoin()
        self._resolve()
        named = _organizations(operations) or self.connection.organizations()
        row = self.connection.begin_with(membership.RENEW, (",".join(named), self.epoch)).fetchone()
        if row is None:
            self.connection.roll_back()
            raise Expelled("committing: the other processes took over what this one had")
        self._database_clock.told(row[0])
        self._commit = row[1]
        self._reserved = {}

    def commit(self) -> None:
        """Commit; when the connection breaks meanwhile, find out what became of it."""
        self._doubtful = True
        try:
            self.connection.commit()
        except StoreUnavailable:
            refused = self.connection.connected  # PostgreSQL itself said no
            self.connection.roll_back()
            if refused or not self._committed():
                self._doubtful = False
                raise
        self._doubtful = False

    def _resolve(self) -> None:
        """A commit whose end nobody saw may have claimed deliveries that nobody sends: then begin anew."""
        if self._doubtful and self._committed():
            raise Expelled("committing: an earlier commit was not seen to end, and it did")
        self._doubtful = False

    def _committed(self) -> bool:
        """Whether the commit whose end nobody saw was kept.

        Raises:
            StoreUnavailable: nobody can say yet.
            Expelled: the others took over meanwhile.
        """
        row = self.connection.execute(membership.COMMITS, (self.epoch,)).fetchone()
        if row is None:
            raise Expelled("committing: the other processes took over what this one had")
        return bool(row[0] >= self._commit)

    def reserve(self, t: Transaction, numbers: Collection[Number]) -> None:
        """Lock the numbers' rows, always in the same order."""
        wanted = sorted(set(numbers) - self._reserved.keys())
        found = {(channel, name): last for channel, name, last in self.connection.ask(LOCK_NUMBERS, wanted)}
        missing = [number for number in wanted if number not in found]
        found.update({(c, name): last for c, name, last in self.connection.ask(FIRST_NUMBERS, missing)})
        self._reserved.update(found)

    def last_number(self, t: Transaction, number: Number) -> int:
        """The latest number given out, locked until the commit."""
        self.reserve(t, (number,))
        return self._reserved[number]

    # lanes

    def feed(self, t: Transaction, deliveries: Sequence[Delivery]) -> None:
        """Say that lanes have work; of what this process then owns and knows in full it may carry everything."""
        last: dict[tuple[str, str, str, bytes], int] = {}
        merged: set[tuple[str, str, str, bytes]] = set()
        for d in deliveries:
            if d.state is not DeliveryState.QUEUED:
                continue
            for key in d.lanes:
                lane = (d.organization, d.channel, d.destination, key)
                last[lane] = max(d.seq, last.get(lane, 0))
                if d.barrier:
                    merged.add(lane)
        owner = self.epoch if self.carries else None
        rows = [(*lane, last[lane], None if lane in merged else owner) for lane in sorted(last)]
        mine = {
            (channel, destination, lane): turn
            for channel, destination, lane, is_owner, known, newest, turn in self.connection.ask(FEED, rows)
            if owner is not None and is_owner == owner and known == newest
        }
        for d in deliveries:
            d.turn = 0 if d.barrier else mine.get((d.channel, d.destination, d.lane), 0)

    def owns(self, delivery: Delivery) -> bool:
        """True when the lane came to this process under its present membership: turns count on from epochs."""
        return delivery.turn > self.epoch

    def name_all(self) -> None:
        """This transaction is for every organization there is, also those that this process never met."""
        self.connection.execute(membership.NAME_ALL)
        self._recall_heads()

    def lock(self, delivery: int) -> None:
        """From here to the commit only this transaction changes the delivery."""
        self.connection.execute(LOCK_DELIVERY, (delivery,))

    def touched(self, t: Transaction, delivery: Delivery) -> None:
        """Let whoever owns the lane read it again, or somebody take it."""
        other = delivery.barrier or delivery.lane
        self.connection.execute(TOUCH, (delivery.channel, delivery.destination, delivery.lane, other))

    def admit(self, organization: str) -> None:
        """This transaction is for one more organization, whose chain this writer may have written to before."""
        self.connection.execute(ADD_ORGANIZATION, (organization,))
        self.connection.execute(ADMIT, (organization,))
        self._recall_heads()

    def _recall_heads(self) -> None:
        """Of chains that could not be seen before; they stand as they were committed."""
        for name, seq, head in self.connection.execute(sql.HEADS, (self.writer,)):
            self.heads.setdefault(name, (seq, head))


def release(t: Transaction, operations: list[Release]) -> list[list[str]]:
    """Let go of lanes; for each operation the channels that somebody should look at again."""
    rows = [row for operation in operations for row in operation.lanes]
    rows.sort(key=_lane)
    again = {channel for channel, due in t.connection.ask(RELEASE, rows) if due is not None}
    return [sorted(again)] * len(operations)


def _lane(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Channel, destination, key and turn: lanes are locked in their order; what stands behind may be None."""
    return row[:4]


def _organizations(operations: Sequence[Any]) -> set[str] | None:
    """The organizations of a batch; None where a command in it may be for any."""
    named: set[str] = set()
    for operation in operations:
        if isinstance(operation, Act):
            return None
        if isinstance(operation, Keep):
            named.add(operation.receipt.organization)
        elif isinstance(operation, Claim | Settle):
            named.add(operation.attempt.delivery.organization)
        elif isinstance(operation, PutAside):
            named.add(operation.delivery.organization)
        elif isinstance(operation, Release):
            named.add(operation.organization)
    return named
