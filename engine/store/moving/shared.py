"""PostgreSQL as one end of a move: rows go in under row security, lanes are made for what is open.

Invariant: as long as it is held the table of processes is locked by a transaction of its own, so that nobody can join.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from engine.errors import Conflict, StoreUnavailable
from engine.model import DeliveryState
from engine.ports import Clock
from engine.store.connection import Many
from engine.store.moving.sides import Side
from engine.store.moving.tables import Table
from engine.store.postgres import lanes, schema
from engine.store.postgres.connection import SCHEMA, PostgresConnection, TryAgain
from engine.store.postgres.membership import LEASE_SECONDS, NOW
from engine.store.postgres.safety import refuse_unsafe
from engine.store.postgres.store import ADD_PARTITIONS

ALIVE = f"SELECT 1 FROM process WHERE until >= {NOW} LIMIT 1"
ANYBODY = "SELECT 1 FROM process LIMIT 1"
LOCK = "SET LOCAL lock_timeout = '5s'; LOCK TABLE process IN SHARE ROW EXCLUSIVE MODE"
WHO = "SELECT pg_backend_pid()"
ORGANIZATIONS = "SELECT name, created_at FROM organization"
ADD_ORGANIZATIONS = Many(
    "text bigint", "INSERT INTO organization (name, created_at) {rows} ON CONFLICT (name) DO NOTHING"
)
LAST_VALUE = f"SELECT coalesce(last_value, 0) FROM pg_sequences WHERE schemaname = '{SCHEMA}' AND sequencename = ?"
ADVANCE = "SELECT max(nextval('{0}')) FROM generate_series(1, ?)"
STEP = 1_000_000
"""Numbers of a sequence used up by one statement: the application role may not set it."""
NUMBERED = (("key_id_seq", "key"), ("token_id_seq", "token"))

#: Rows are (organization, channel, destination, lane, highest delivery number, whether anything flows).
ADD_LANES = Many(
    "text text text bytea bigint boolean",
    "INSERT INTO lane AS l (organization, channel, destination, lane, last, known, due, owner, turn)"
    f" SELECT column1, column2, column3, column4, column5, 0, CASE WHEN column6 THEN {NOW} END, NULL,"
    " nextval('epoch') FROM ({rows}) AS new ON CONFLICT (channel, destination, lane)"
    " DO UPDATE SET last = greatest(l.last, excluded.last), due = coalesce(l.due, excluded.due)",
)


class PostgresSide(Side):
    """A store of several processes, seen as the application role."""

    kind = "postgresql"
    connection: PostgresConnection

    def __init__(self, url: str) -> None:
        at = urlsplit(url)
        super().__init__(f"postgresql://{at.hostname or ''}{at.path}")  # neither user nor password
        self.organizations = {}
        self.connection = PostgresConnection(url, lambda: self.organizations)
        self._guard = PostgresConnection(url, lambda: ())
        self._guard_is = 0

    def open(self, *, existing: bool) -> None:
        """A target must be safe to serve from; a source is only left."""
        schema.check_version(self.connection)
        if not existing:
            refuse_unsafe(self.connection)
            self.connection.execute(ADD_PARTITIONS)
        self.organizations = dict(self.connection.execute(ORGANIZATIONS).fetchall())

    def hold(self, clock: Clock) -> None:
        """Bury who is gone, then lock the table in which whoever joins must write."""
        if self.connection.execute(ALIVE).fetchone():
            raise self._in_use()
        self.act(clock, lanes.bury)
        self._guard.begin()
        try:
            self._guard.script(LOCK)
        except TryAgain:
            raise self._in_use() from None
        if self._guard.execute(ANYBODY).fetchone():
            raise self._in_use()
        self._guard_is = self._guard.execute(WHO).fetchone()[0]

    def _in_use(self) -> Conflict:
        return Conflict(
            f"moving: processes work on {self.name}",
            code="store_in_use",
            advice=f"Stop every process of the site; one that was killed is forgotten after {LEASE_SECONDS} s.",
        )

    def still_held(self) -> None:
        """A guard that was connected anew no longer has its lock."""
        if self._guard.execute(WHO).fetchone()[0] != self._guard_is:
            raise StoreUnavailable(
                f"moving: the lock on {self.name} was lost", advice="Run the same command again: it goes on."
            )

    def epoch(self) -> int:
        """How many members and turns there have been."""
        return self._last_value("epoch")

    def welcome(self, organizations: dict[str, int]) -> None:
        """Row security asks for every organization by name."""
        super().welcome(organizations)
        self.connection.write(ADD_ORGANIZATIONS, list(organizations.items()))

    def add(self, table: Table, rows: Sequence[Any]) -> None:
        """With deliveries come the lanes that carry them."""
        super().add(table, rows)
        if table.name == "delivery":
            self.connection.write(ADD_LANES, lanes_of(table, rows))

    def go_on_above(self, epoch: int) -> None:
        """Sequences go on above what was copied."""
        self._advance("epoch", epoch)
        for sequence, table in NUMBERED:
            self._advance(sequence, self.connection.execute(f"SELECT max(id) FROM {table}").fetchone()[0] or 0)

    def _advance(self, sequence: str, wanted: int) -> None:
        while (missing := wanted - self._last_value(sequence)) > 0:
            self.connection.execute(ADVANCE.format(sequence), (min(missing, STEP),))

    def _last_value(self, sequence: str) -> int:
        return int(self.connection.execute(LAST_VALUE, (sequence,)).fetchone()[0])

    def close(self) -> None:
        """Let go of the lock and the database."""
        self._guard.roll_back()
        self._guard.close()
        self.connection.close()


def lanes_of(table: Table, rows: Sequence[Any]) -> list[tuple[Any, ...]]:
    """The lanes that these deliveries stand in, the second one of a merge included.

    One that was filtered never stood in a lane. A lane in which all has ended is a lane: what is sent again joins it.
    """
    found: dict[tuple[Any, ...], tuple[int, bool]] = {}
    for row in rows:
        d = dict(zip(table.columns, row, strict=True))
        if d["state"] == DeliveryState.FILTERED:
            continue
        for lane in filter(None, (d["lane"], d["barrier"])):
            key = (d["organization"], d["channel"], d["destination"], lane)
            last, flows = found.get(key, (0, False))
            found[key] = max(last, d["seq"]), flows or d["open"] == 1
    return [(*key, last, flows) for key, (last, flows) in sorted(found.items())]
