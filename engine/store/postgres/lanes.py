"""Lanes between processes: taken with what they have to carry, freed when the process that had them is gone.

Invariant: whoever takes a lane sees everything it was ever fed: its row is locked before its deliveries are read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import suppress

from engine.errors import UnsafeStore
from engine.model import Delivery, DeliveryState
from engine.ports import Taken
from engine.store import acts, backlog
from engine.store.connection import Many
from engine.store.keyring import Keyring
from engine.store.ledger import Transaction
from engine.store.postgres import membership
from engine.store.postgres.ledger import TOUCH
from engine.store.postgres.membership import NOW
from engine.store.sealing import place

FIRST = 100
"""Deliveries of a lane that are read when it is taken; what stands behind them is read when its turn comes."""
LARGE_BYTES = 65536
"""A larger message is not brought along: it is read when its turn comes."""

_FREE = (
    f"SELECT channel, destination, lane FROM lane WHERE channel = ? AND owner IS NULL AND due <= (SELECT {NOW})"
    " ORDER BY due LIMIT ? FOR UPDATE SKIP LOCKED"
)
_ONE = (
    "SELECT channel, destination, lane FROM lane WHERE channel = ? AND destination = ? AND lane = ? AND owner IS NULL"
    " FOR UPDATE SKIP LOCKED"
)
_TAKE = (
    "UPDATE lane SET owner = ?, turn = nextval('epoch'), known = lane.last, stale = false FROM ({free}) AS free"
    " WHERE lane.channel = free.channel AND lane.destination = free.destination AND lane.lane = free.lane"
    " RETURNING lane.organization, lane.channel, lane.destination, lane.lane, lane.turn, lane.last"
)
TAKE, TAKE_ONE = _TAKE.format(free=_FREE), _TAKE.format(free=_ONE)
_OPEN = (
    f"SELECT new.column3, open.*, p.sealed FROM ({{rows}}) AS new CROSS JOIN LATERAL (SELECT {backlog.COLUMNS}"
    " FROM delivery d WHERE d.open > 0 AND {under} ORDER BY d.seq"
    f" LIMIT {FIRST}) AS open LEFT JOIN payload p ON p.id = open.message AND octet_length(p.sealed) <= {LARGE_BYTES}"
)
OPEN = Many(
    "text text bytea",
    _OPEN.replace("{under}", "d.channel = new.column1 AND d.destination = new.column2 AND d.lane = new.column3"),
)
OPEN_MERGES = Many("text text bytea", _OPEN.replace("{under}", "d.barrier IS NOT NULL AND d.barrier = new.column3"))

FREE_OF = f"UPDATE lane SET owner = NULL, due = {NOW} WHERE owner = ? RETURNING channel"
CLAIMED_UNDER = "SELECT id FROM delivery WHERE state = 'claimed' AND epoch = ?"


def take(t: Transaction, keyring: Keyring, channel: str, most: int, holding: Collection[str]) -> list[Taken]:
    """Own lanes that are due and that nobody owns; `holding` names destinations that hold what is in doubt."""
    return _taken(t, keyring, holding, t.connection.execute(TAKE, (t.ledger.epoch, channel, most)))


def take_one(
    t: Transaction, keyring: Keyring, channel: str, destination: str, lane: bytes, holding: Collection[str]
) -> Taken | None:
    """Own a lane whether it is due or not; where another process owns it, let it be due once that one releases it."""
    values = (t.ledger.epoch, channel, destination, lane)
    taken = _taken(t, keyring, holding, t.connection.execute(TAKE_ONE, values))
    if not taken:
        t.connection.execute(TOUCH, (channel, destination, lane, lane))
    return taken[0] if taken else None


def _taken(
    t: Transaction, keyring: Keyring, holding: Collection[str], rows: Iterable[tuple[str, str, str, bytes, int, int]]
) -> list[Taken]:
    lanes: list[tuple[str, str, str, bytes, int, int, list[Delivery]]] = [(*row, []) for row in rows]
    found: dict[bytes, list[Delivery]] = {lane: deliveries for _, _, _, lane, _, _, deliveries in lanes}
    turns = {lane: turn for _, _, _, lane, turn, _, _ in lanes}
    wanted = [lane[1:4] for lane in lanes]
    for query in (OPEN, OPEN_MERGES):
        for lane, *columns, sealed in t.connection.ask(query, wanted):
            delivery = backlog.read_delivery(columns)
            delivery.turn = turns[lane]
            if sealed is not None and delivery.state is DeliveryState.QUEUED:
                with suppress(KeyError, UnsafeStore):  # whoever carries it finds out, and stops no other lane
                    keys = keyring[delivery.organization]
                    delivery.raw = keys.open(sealed, place(delivery.organization, delivery.message, "raw"))
            found[lane].append(delivery)
    _hold_doubtful(t, [d for lane in found.values() for d in lane if d.destination in holding])
    return [
        Taken(owner, channel, destination, lane, turn, last, tuple(_in_order(deliveries)), len(deliveries) < FIRST)
        for owner, channel, destination, lane, turn, last, deliveries in lanes
    ]


def _hold_doubtful(t: Transaction, deliveries: list[Delivery]) -> None:
    """By the policy `hold` a person decides what a process that is gone left in doubt; before anybody can carry it."""
    held = acts.hold_doubtful(t, [d.id for d in deliveries if d.state is DeliveryState.IN_DOUBT])
    for delivery in deliveries:
        if delivery.id in held:
            delivery.state = DeliveryState.HELD


def _in_order(deliveries: list[Delivery]) -> list[Delivery]:
    """The first of a lane, merges among them: as many as are certain to have no gap between them."""
    return sorted(deliveries, key=lambda one: one.seq)[:FIRST]


def bury(t: Transaction) -> list[str]:
    """Take over from processes whose lease has ended; the channels whose lanes have become free."""
    freed: set[str] = set()
    t.ledger.name_all()
    for epoch in membership.bury(t.connection, t.ledger.epoch):
        claimed = [number for (number,) in t.connection.execute(CLAIMED_UNDER, (epoch,))]
        acts.doubt(t, claimed)
        freed.update(channel for (channel,) in t.connection.execute(FREE_OF, (epoch,)))
    return sorted(freed)


def leave(t: Transaction) -> None:
    """End this process's membership: the others find every lane free at once, and in doubt what it had not settled."""
    acts.doubt(t, [number for (number,) in t.connection.execute(CLAIMED_UNDER, (t.ledger.epoch,))])
    t.connection.execute(FREE_OF, (t.ledger.epoch,))
    t.connection.execute(membership.LEAVE, (t.ledger.epoch,))
