"""The deliveries that are still open: what the worker reads when its memory did not hold them.

Invariant: they come in the order of their delivery numbers, merges among them; a read is bounded by its limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from engine.model import Delivery, DeliveryState
from engine.store.connection import Connection

#: A whole delivery; `tries` is the number of its latest attempt.
COLUMNS = (
    "d.id, d.message, d.organization, d.channel, d.destination, d.lane, d.seq, d.order_key, d.barrier,"
    " d.state, d.attempts, coalesce((SELECT number FROM attempt WHERE id = d.attempt), 0), d.attempt, d.next_at"
)
DELIVERY = f"SELECT {COLUMNS} FROM delivery d WHERE d.id = ?"
LATEST_OF_MESSAGE = (
    f"SELECT {COLUMNS}, d.reason FROM delivery d WHERE d.message = ? AND d.destination = ? ORDER BY d.id DESC LIMIT 1"
)
OPEN_OF_LANE = (
    f"SELECT {COLUMNS} FROM delivery d"
    " WHERE d.open > 0 AND d.channel = ? AND d.destination = ? AND d.lane = ? AND d.seq > ? ORDER BY d.seq LIMIT ?"
)
OPEN_BEHIND_BARRIER = (
    f"SELECT {COLUMNS} FROM delivery d"
    " WHERE d.barrier IS NOT NULL AND d.open > 0 AND d.barrier = ? AND d.seq > ? ORDER BY d.seq LIMIT ?"
)
OPEN_OF_DESTINATION = (
    f"SELECT {COLUMNS} FROM delivery d"
    " WHERE d.open > 0 AND d.channel = ? AND d.destination = ? AND (d.lane, d.seq) > (?, ?)"
    " ORDER BY d.lane, d.seq LIMIT ?"
)
LOOK = (
    "SELECT channel, destination, lane, seq, id, message, state, next_at FROM delivery"
    " WHERE open > 0 AND (channel, destination, lane, seq) > (?, ?, ?, ?)"
    " ORDER BY channel, destination, lane, seq LIMIT ?"
)
OPEN_DESTINATIONS = "SELECT DISTINCT destination FROM delivery WHERE open > 0 AND channel = ?"
CLAIMED_BEFORE = "SELECT id FROM delivery WHERE open > 0 AND state = 'claimed' AND epoch < ?"
IN_STATE = "SELECT id FROM delivery WHERE open > 0 AND channel = ? AND destination = ? AND state = ? AND reason = ?"
FLOWING = (
    "SELECT id FROM delivery WHERE open > 0 AND channel = ? AND destination = ? AND state IN ('queued', 'in doubt')"
    " ORDER BY lane, seq LIMIT ?"
)
IN_DOUBT = "SELECT id FROM delivery WHERE state = 'in doubt' AND channel = ? AND destination = ?"
HEADS = (
    f"SELECT {COLUMNS} FROM delivery d WHERE d.open > 0 AND d.channel = ? AND d.destination = ?"
    " AND d.seq = (SELECT min(seq) FROM delivery WHERE open > 0 AND channel = d.channel"
    " AND destination = d.destination AND lane = d.lane) LIMIT ?"
)


@dataclass(frozen=True, slots=True)
class Sight:
    """What the sweeper sees of an open delivery as it walks by."""

    channel: str
    destination: str
    lane: bytes
    seq: int
    id: int
    message: int
    state: DeliveryState
    next_at: int

    @property
    def cursor(self) -> tuple[str, str, bytes, int]:
        """Where the walk goes on after it."""
        return self.channel, self.destination, self.lane, self.seq


BEGINNING: tuple[str, str, bytes, int] = ("", "", b"", 0)


def delivery(connection: Connection, number: int) -> Delivery | None:
    """A delivery as the worker knows it, or None."""
    row = connection.execute(DELIVERY, (number,)).fetchone()
    return read_delivery(row) if row else None


def delivery_of(connection: Connection, message: int, destination: str) -> tuple[Delivery, str] | None:
    """The latest delivery of a message to a destination and the reason of its state, or None."""
    row = connection.execute(LATEST_OF_MESSAGE, (message, destination)).fetchone()
    return (read_delivery(row[:-1]), row[-1]) if row else None


def open_of_lane(
    connection: Connection, channel: str, destination: str, lane: bytes, after: int, most: int
) -> list[Delivery]:
    """Open deliveries of a lane with a number above `after`, in order, the merges that wait in it included."""
    own = _deliveries(connection, OPEN_OF_LANE, (channel, destination, lane, after, most))
    merges = _deliveries(connection, OPEN_BEHIND_BARRIER, (lane, after, most))
    if not merges:
        return own
    return sorted(own + merges, key=lambda one: one.seq)[:most]


def open_of_destination(
    connection: Connection, channel: str, destination: str, after: tuple[bytes, int], most: int
) -> list[Delivery]:
    """Open deliveries of a destination in the order of their lanes, after a place in one of them."""
    return _deliveries(connection, OPEN_OF_DESTINATION, (channel, destination, *after, most))


def open_destinations(connection: Connection, channel: str) -> list[str]:
    """Every destination of a channel that has open deliveries, of this revision or an earlier one."""
    return [name for (name,) in connection.execute(OPEN_DESTINATIONS, (channel,))]


def claimed_before(connection: Connection, epoch: int) -> list[int]:
    """Deliveries that an earlier process claimed and did not settle: as many as it had lanes at work."""
    return [number for (number,) in connection.execute(CLAIMED_BEFORE, (epoch,))]


def in_state(connection: Connection, channel: str, destination: str, state: DeliveryState, reason: str) -> list[int]:
    """Ids of a destination's open deliveries in a state for a reason."""
    return [number for (number,) in connection.execute(IN_STATE, (channel, destination, state.value, reason))]


def flowing(connection: Connection, channel: str, destination: str, most: int) -> list[int]:
    """Ids of a destination's deliveries that wait to be sent."""
    return [number for (number,) in connection.execute(FLOWING, (channel, destination, most))]


def in_doubt(connection: Connection, channel: str, destination: str) -> list[int]:
    """Ids of a destination's deliveries in doubt."""
    return [number for (number,) in connection.execute(IN_DOUBT, (channel, destination))]


def look(connection: Connection, after: tuple[str, str, bytes, int], most: int) -> list[Sight]:
    """The next open deliveries of a walk over all of them."""
    return [
        Sight(channel, destination, lane, seq, number, message, DeliveryState(state), next_at)
        for channel, destination, lane, seq, number, message, state, next_at in connection.execute(LOOK, (*after, most))
    ]


def heads(connection: Connection, channel: str, destination: str, most: int) -> list[Delivery]:
    """The first open delivery of each lane of a destination: what a person may skip."""
    return [read_delivery(row) for row in connection.execute(HEADS, (channel, destination, most))]


def _deliveries(connection: Connection, query: str, values: Sequence[Any]) -> list[Delivery]:
    return [read_delivery(row) for row in connection.execute(query, values)]


def read_delivery(row: Sequence[Any]) -> Delivery:
    """A delivery from the values of `COLUMNS`."""
    found = Delivery(*row)
    found.state = DeliveryState(found.state)
    found.barrier = found.barrier or b""
    return found
