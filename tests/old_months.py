"""A site with finished months, made through the store, and months that have partitions on PostgreSQL."""

from __future__ import annotations

from functools import partial
from typing import Any

from engine.model import DeliveryState, Finding
from engine.store import acts
from engine.store.months import Month
from engine.store.postgres.retention import PARTITIONED
from tests import postgres
from tests.stores import StepClock, claim, deliver, keep, keep_one, refused, settle

NOW = Month(2026, 9)
"""The month of `stores.NOON`."""
MARCH, APRIL, MAY = Month(2024, 3), Month(2024, 4), Month(2024, 5)
DAY = 24 * 3600 * 1_000_000


class MonthClock(StepClock):
    """A clock that a test sets to a month."""

    def to(self, month: Month, days: float = 10) -> None:
        self.at = month.begins + int(days * DAY)


async def month(store: Any, clock: MonthClock, of: Month, mark: str) -> None:
    """Finished work of a month: every final state."""
    clock.to(of)
    await deliver(store, await keep_one(store, f"{mark}1", patient=f"{mark}1"))
    await keep(store, f"{mark}1", patient=f"{mark}1")  # a duplicate
    await keep(store, f"{mark}2", wanted=False)
    await store.keep(refused(store, f"{mark}3"))
    ended = await keep_one(store, f"{mark}4", patient=f"{mark}4")
    await store.act(partial(acts.end_delivery, number=ended.id, reason="sent by fax", actor="maria"))
    again = await keep_one(store, f"{mark}5", patient=f"{mark}5")
    await settle(store, await claim(store, again), DeliveryState.QUEUED, reason="refused")
    await deliver(store, again)
    item = await keep_one(store, f"{mark}6", patient=f"{mark}6")
    await settle(store, await claim(store, item, Finding("unmapped", subject=mark)), DeliveryState.DELIVERED)
    number = await store.read(lambda c: c.execute("SELECT max(id) FROM item").fetchone()[0])
    await store.act(partial(acts.close_item, number=number, reason="mapped", actor="maria"))


MESSAGES, DELIVERIES = 7, 5
"""Of such a month; of the deliveries one was filtered."""


async def months(store: Any, clock: MonthClock, night: Any = None) -> None:
    """Three finished months, what a test does in the night to the last of them, and something new."""
    for of, mark in ((MARCH, "a"), (APRIL, "b")):
        await month(store, clock, of, mark)
    if night is not None:
        await night(store, clock)
    await month(store, clock, MAY, "c")
    clock.to(NOW)
    await keep(store, "new")


def add_partitions() -> None:
    """Partitions of the months, in a database that has nothing else."""
    at = postgres.database()
    at.empty()
    at.folder = None
    for of in (MARCH, APRIL, MAY):
        for table in PARTITIONED:
            _add_partition(at, table, of)


def _add_partition(at: postgres.Database, table: str, of: Month) -> None:
    part = f"interlock.{table}_{of.year:04}_{of.number:02}"
    if at.rows(f"SELECT to_regclass('{part}') IS NULL")[0][0]:
        bounds = f"FROM ({of.first_id}) TO ({of.following.first_id})"
        postgres.run(at.owner, f"CREATE TABLE {part} PARTITION OF interlock.{table} FOR VALUES {bounds}")
        for change in ("ENABLE", "FORCE"):
            postgres.run(at.owner, f"ALTER TABLE {part} {change} ROW LEVEL SECURITY")
        postgres.run(at.owner, f"GRANT SELECT, INSERT, UPDATE, DELETE ON {part} TO {postgres.APP_ROLE}")
        policy = "USING (organization = ANY (interlock.organizations()))"
        postgres.run(at.owner, f"CREATE POLICY tenant ON {part} {policy}")
