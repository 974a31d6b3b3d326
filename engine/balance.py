"""The law of the balance: nothing that was received, and nothing that was accepted, is ever unaccounted for.

    per channel       received = refused + duplicate + filtered + held + ended + accepted
    per destination   accepted = filtered + queued + claimed + in doubt + held + dead + ended + delivered

Invariant: the left sides come from counters that the commits advance, the right sides from rows: a row that vanishes,
from any of the path's tables, opens the balance. All is read in one transaction, on a live store as on a closed one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from engine.model import DeliveryState, MessageState
from engine.store import counts
from engine.store.connection import Connection


@dataclass(frozen=True, slots=True)
class OfChannel:
    """A channel's side of the law. `unaccounted` is what the receipts say was received and no row shows."""

    channel: str
    received: int
    states: Mapping[MessageState, int]

    @property
    def unaccounted(self) -> int:
        """Zero when every receipt has its row; negative when rows have no receipt."""
        return self.received - sum(self.states.values())


@dataclass(frozen=True, slots=True)
class OfDestination:
    """A destination's side of the law. `unaccounted` is what its delivery numbers say was accepted and no row shows."""

    channel: str
    destination: str
    accepted: int
    states: Mapping[DeliveryState, int]

    @property
    def unaccounted(self) -> int:
        """Zero when every delivery number has its row; negative when rows have no number."""
        return self.accepted - sum(self.states.values())


@dataclass(frozen=True, slots=True)
class Balance:
    """The whole account. `faults` say in words what does not add up; there are none when it closes."""

    channels: tuple[OfChannel, ...]
    destinations: tuple[OfDestination, ...]
    chain: tuple[str, ...]
    faults: tuple[str, ...]

    @property
    def open(self) -> bool:
        """True when anything is unaccounted for."""
        return bool(self.faults)

    def as_dict(self) -> dict[str, object]:
        """For `interlock balance --json`."""
        return {
            "open": self.open,
            "channels": [
                {"channel": c.channel, "received": c.received, **c.states, "unaccounted": c.unaccounted}
                for c in self.channels
            ],
            "destinations": [
                {"channel": d.channel, "destination": d.destination, "accepted": d.accepted, **d.states,
                 "unaccounted": d.unaccounted}
                for d in self.destinations
            ],
            "chain": list(self.chain),
            "faults": list(self.faults),
        }  # fmt: skip


def balance(connection: Connection) -> Balance:
    """Take the whole account: counts, rows that belong together, and the chains of events. Reads every row once."""
    with connection.snapshot():
        channels, gaps = _channels(connection)
        destinations, holes = _destinations(connection)
        missing = tuple(counts.missing(connection))
        chain = tuple(counts.broken_links(connection))
    faults = (*_unaccounted(channels, destinations), *gaps, *holes, *missing, *chain)
    return Balance(channels, destinations, chain, faults)


def quick_balance(connection: Connection) -> Balance:
    """Only the counts: for a page or a probe that asks often."""
    with connection.snapshot():
        channels, gaps = _channels(connection)
        destinations, holes = _destinations(connection)
    return Balance(channels, destinations, (), (*_unaccounted(channels, destinations), *gaps, *holes))


def _channels(connection: Connection) -> tuple[tuple[OfChannel, ...], tuple[str, ...]]:
    received = counts.received(connection)
    rows = counts.messages(connection)
    channels, gaps = [], []
    for name in sorted(received.keys() | rows.keys()):
        last, wanted = received.get(name, (0, 0))
        count, total, states = rows.get(name, (0, 0, dict.fromkeys(MessageState, 0)))
        channels.append(OfChannel(name, last, states))
        if count == last and total != wanted:
            gaps.append(f"channel {name}: its receipt numbers have a gap")
        if count != sum(states.values()):
            gaps.append(f"channel {name}: {count - sum(states.values())} messages are in no known state")
    return tuple(channels), tuple(gaps)


def _destinations(connection: Connection) -> tuple[tuple[OfDestination, ...], tuple[str, ...]]:
    accepted = counts.accepted(connection)
    rows = counts.deliveries(connection)
    destinations, gaps = [], []
    for channel, name in sorted(accepted.keys() | rows.keys()):
        last, wanted = accepted.get((channel, name), (0, 0))
        count, total, states = rows.get((channel, name), (0, 0, dict.fromkeys(DeliveryState, 0)))
        destinations.append(OfDestination(channel, name, last, states))
        if count == last and total != wanted:
            gaps.append(f"destination {name} of {channel}: its delivery numbers have a gap")
    return tuple(destinations), tuple(gaps)


def _unaccounted(channels: tuple[OfChannel, ...], destinations: tuple[OfDestination, ...]) -> list[str]:
    faults = [f"channel {c.channel}: {c.unaccounted} messages unaccounted for" for c in channels if c.unaccounted]
    faults += [
        f"destination {d.destination} of {d.channel}: {d.unaccounted} deliveries unaccounted for"
        for d in destinations
        if d.unaccounted
    ]
    return faults
