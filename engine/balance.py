"""The law of the balance: nothing that was received, and nothing that was accepted, is ever unaccounted for.

    per channel       received = refused + duplicate + filtered + held + ended + accepted
    per destination   accepted = filtered + queued + claimed + in doubt + held + dead + ended + delivered

Invariant: the left sides come from counters that the commits advance, the right sides from rows, and from the sums of
those that were retired: a row that vanishes from any of these tables otherwise opens the balance. All is read in one
transaction, on a live store as on a closed one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from engine.model import DeliveryState, MessageState
from engine.store import counts
from engine.store.connection import Connection

_Sums = Mapping[tuple[str, str], tuple[int, int, Mapping[str, int]]]


@dataclass(frozen=True, slots=True)
class OfChannel:
    """A channel's side of the law. `unaccounted` is what the receipts say was received and no row shows.

    Of `states`, `retired` are sums only: their rows were removed with finished months.
    """

    channel: str
    received: int
    states: Mapping[MessageState, int]
    retired: int = 0

    @property
    def unaccounted(self) -> int:
        """Zero when every receipt has its row; negative when rows have no receipt."""
        return self.received - sum(self.states.values())


@dataclass(frozen=True, slots=True)
class OfDestination:
    """A destination's side of the law. `unaccounted` is what its delivery numbers say was accepted and no row shows.

    Of `states`, `retired` are sums only: their rows were removed with finished months.
    """

    channel: str
    destination: str
    accepted: int
    states: Mapping[DeliveryState, int]
    retired: int = 0

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
                {"channel": c.channel, "received": c.received, **c.states, "retired": c.retired,
                 "unaccounted": c.unaccounted}
                for c in self.channels
            ],
            "destinations": [
                {"channel": d.channel, "destination": d.destination, "accepted": d.accepted, **d.states,
                 "retired": d.retired, "unaccounted": d.unaccounted}
                for d in self.destinations
            ],
            "chain": list(self.chain),
            "faults": list(self.faults),
        }  # fmt: skip


def balance(connection: Connection) -> Balance:
    """Take the whole account: counts, rows that belong together, and the chains of events. Reads every row once."""
    with connection.snapshot():
        counted = _count(connection)
        missing = tuple(counts.missing(connection))
        chain = tuple(counts.broken_links(connection))
    channels, destinations, faults = counted
    return Balance(channels, destinations, chain, (*faults, *missing, *chain))


def quick_balance(connection: Connection) -> Balance:
    """Only the counts: for a page or a probe that asks often."""
    with connection.snapshot():
        channels, destinations, faults = _count(connection)
    return Balance(channels, destinations, (), faults)


def _count(connection: Connection) -> tuple[tuple[OfChannel, ...], tuple[OfDestination, ...], tuple[str, ...]]:
    retired = counts.retired(connection)
    channels, gaps = _channels(connection, retired)
    destinations, holes = _destinations(connection, retired)
    return channels, destinations, (*_unaccounted(channels, destinations), *gaps, *holes)


def _channels(connection: Connection, retired: _Sums) -> tuple[tuple[OfChannel, ...], tuple[str, ...]]:
    received = counts.received(connection)
    rows = counts.messages(connection)
    gone = {channel: sums for (channel, destination), sums in retired.items() if not destination}
    channels, gaps = [], []
    for name in sorted(received.keys() | rows.keys() | gone.keys()):
        last, wanted = received.get(name, (0, 0))
        count, total, states = rows.get(name, (0, 0, dict.fromkeys(MessageState, 0)))
        gone_count, gone_total, gone_states = gone.get(name, (0, 0, {}))
        states = {state: number + gone_states.get(state, 0) for state, number in states.items()}
        channels.append(OfChannel(name, last, states, gone_count))
        if count + gone_count == last and total + gone_total != wanted:
            gaps.append(f"channel {name}: its receipt numbers have a gap")
        if count + gone_count != sum(states.values()):
            gaps.append(f"channel {name}: {count + gone_count - sum(states.values())} messages are in no known state")
    return tuple(channels), tuple(gaps)


def _destinations(connection: Connection, retired: _Sums) -> tuple[tuple[OfDestination, ...], tuple[str, ...]]:
    accepted = counts.accepted(connection)
    rows = counts.deliveries(connection)
    gone = {place: sums for place, sums in retired.items() if place[1]}
    destinations, gaps = [], []
    for channel, name in sorted(accepted.keys() | rows.keys() | gone.keys()):
        last, wanted = accepted.get((channel, name), (0, 0))
        count, total, states = rows.get((channel, name), (0, 0, dict.fromkeys(DeliveryState, 0)))
        gone_count, gone_total, gone_states = gone.get((channel, name), (0, 0, {}))
        states = {state: number + gone_states.get(state, 0) for state, number in states.items()}
        destinations.append(OfDestination(channel, name, last, states, gone_count))
        if count + gone_count == last and total + gone_total != wanted:
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
