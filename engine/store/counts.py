"""What the rows of a store add up to: counts for the law of the balance, and the marks of rows that are missing.

Invariant: each query reads each table once at the most, in the order of an index where there is one; together, inside
one read transaction, they describe one committed state.
"""

from __future__ import annotations

from collections.abc import Iterator

from engine.model import DeliveryState, MessageState
from engine.store.connection import Connection
from engine.store.ledger import chain_hash

_MESSAGE_SUMS = ", ".join(f"count(*) FILTER (WHERE state = '{state.value}')" for state in MessageState)
_DELIVERY_SUMS = ", ".join(f"count(*) FILTER (WHERE state = '{state.value}')" for state in DeliveryState)

_LAST = "CAST(sum(last) AS bigint), CAST(sum(last * (last + 1) / 2) AS bigint) FROM counter"
RECEIVED = f"SELECT channel, {_LAST} WHERE destination = '' GROUP BY channel"
MESSAGES = f"SELECT channel, count(*), CAST(sum(receipt) AS bigint), {_MESSAGE_SUMS} FROM message GROUP BY channel"
ACCEPTED = f"SELECT channel, destination, {_LAST} WHERE destination <> '' GROUP BY channel, destination"
DELIVERIES = (
    f"SELECT channel, destination, count(*), CAST(sum(seq) AS bigint), {_DELIVERY_SUMS} FROM delivery"
    " GROUP BY channel, destination"
)

#: What was removed of finished months: a message has no destination.
RETIRED = (
    "SELECT channel, destination, state, CAST(sum(count) AS bigint), CAST(sum(numbers) AS bigint) FROM retired"
    " GROUP BY channel, destination, state"
)

#: What no row may lack: (what is wrong, how many rows show it). A duplicate keeps its bytes where they differ.
MISSING: tuple[tuple[str, str], ...] = (
    (
        "messages without their bytes",
        "SELECT count(*) FROM message m WHERE state IN ('accepted', 'filtered', 'held', 'ended')"
        " AND size > 0 AND NOT EXISTS (SELECT 1 FROM payload WHERE id = m.id)",
    ),
    (
        "duplicates without their own bytes",
        "SELECT count(*) FROM message m WHERE state = 'duplicate'"
        " AND NOT EXISTS (SELECT 1 FROM payload WHERE id = m.id)"
        " AND digest IS DISTINCT FROM (SELECT digest FROM message WHERE id = m.original)",
    ),
    (
        "accepted messages without a delivery",
        "SELECT count(*) FROM message m WHERE state = 'accepted'"
        " AND NOT EXISTS (SELECT 1 FROM delivery WHERE message = m.id)",
    ),
    (
        "deliveries without their message",
        "SELECT count(*) FROM delivery d WHERE NOT EXISTS (SELECT 1 FROM message WHERE id = d.message)",
    ),
    (
        "deliveries without their attempt",
        "SELECT count(*) FROM delivery d WHERE (attempt <> 0 OR state IN ('claimed', 'delivered'))"
        " AND NOT EXISTS (SELECT 1 FROM attempt WHERE id = d.attempt AND delivery = d.id)",
    ),
    (
        "deliveries with an attempt missing",
        "SELECT count(*) FROM (SELECT 1 FROM attempt GROUP BY delivery HAVING count(*) <> max(number)) AS incomplete",
    ),
    (
        "attempts without their output",
        "SELECT count(*) FROM attempt a WHERE NOT EXISTS (SELECT 1 FROM payload WHERE id = a.output)",
    ),
)

LINKS = "SELECT organization, writer, seq, body, hash FROM event ORDER BY organization, writer, seq"
HEADS = "SELECT organization, writer, last, hash FROM chain"


def received(connection: Connection) -> dict[str, tuple[int, int]]:
    """By channel: how many receipts were given out, and what their numbers add up to."""
    return {channel: (last, total) for channel, last, total in connection.execute(RECEIVED)}


def messages(connection: Connection) -> dict[str, tuple[int, int, dict[MessageState, int]]]:
    """By channel: rows, the sum of their receipt numbers, and rows by state."""
    return {
        row[0]: (row[1], row[2], dict(zip(MessageState, row[3:], strict=True))) for row in connection.execute(MESSAGES)
    }


def accepted(connection: Connection) -> dict[tuple[str, str], tuple[int, int]]:
    """By channel and destination: how many delivery numbers were given out, and what they add up to."""
    return {(channel, name): (last, total) for channel, name, last, total in connection.execute(ACCEPTED)}


def deliveries(connection: Connection) -> dict[tuple[str, str], tuple[int, int, dict[DeliveryState, int]]]:
    """By channel and destination: rows, the sum of their delivery numbers, and rows by state."""
    return {
        (row[0], row[1]): (row[2], row[3], dict(zip(DeliveryState, row[4:], strict=True)))
        for row in connection.execute(DELIVERIES)
    }


def retired(connection: Connection) -> dict[tuple[str, str], tuple[int, int, dict[str, int]]]:
    """By channel and destination, '' for messages: rows that were removed, the sum of their numbers, rows by state."""
    found: dict[tuple[str, str], tuple[int, int, dict[str, int]]] = {}
    for channel, destination, state, count, numbers in connection.execute(RETIRED):
        rows, total, states = found.get((channel, destination), (0, 0, {}))
        found[channel, destination] = (rows + count, total + numbers, {**states, state: count})
    return found


def missing(connection: Connection) -> Iterator[str]:
    """A line for each kind of row that should be there and is not."""
    for what, query in MISSING:
        (count,) = connection.execute(query).fetchone()
        if count:
            yield f"{count} {what}"


def broken_links(connection: Connection) -> Iterator[str]:
    """A line for each chain of events that does not verify: the place of its first fault."""
    heads = {(organization, writer): (last, head) for organization, writer, last, head in connection.execute(HEADS)}
    ends: dict[tuple[str, int], tuple[int, bytes]] = {}
    broken: set[tuple[str, int]] = set()
    for organization, writer, seq, body, link in connection.execute(LINKS):
        chain = (organization, writer)
        last, previous = ends.get(chain, (0, b""))
        ends[chain] = (seq, link)
        if chain in broken:
            continue
        said = body.encode() if isinstance(body, str) else body  # a hand may have put a text there
        if seq != last + 1 or chain_hash(previous, organization, writer, seq, said) != link:
            broken.add(chain)
            yield f"the chain of events of {organization} (writer {writer}) is broken at link {last + 1}"
    for chain in sorted(heads.keys() | ends.keys()):
        if chain not in broken and heads.get(chain) != ends.get(chain):
            yield f"the chain of events of {chain[0]} (writer {chain[1]}) does not end at its head"
