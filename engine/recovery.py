"""What a crash, a stop or a changed channel left open, and how it flows again.

Invariant: what an earlier process claimed and did not settle is in doubt before anything else happens to it, and
nothing open is forgotten. Every change is an act of at most `CHUNK` rows: a crash in here is recovered like any other.

Order of a start: `recover` once, after the store is open; then for each channel `restore`, before its source starts,
so that nothing new overtakes what waits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from engine import observe
from engine.model import DeliveryState
from engine.outlet import Outlet
from engine.ports import Store
from engine.store import acts, backlog
from engine.store.committing import CommittingStore
from engine.store.ledger import Transaction
from engine.wiring import Channel, DestinationSpec
from engine.worker import Worker

CHUNK = 500
"""Rows changed by one act, and read at once: a long recovery holds up no commit for long."""
REMOVED = "destination_removed"

RESTORED = "SELECT value FROM site WHERE name = 'restored'"
FORGET_RESTORED = "DELETE FROM site WHERE name = 'restored'"


@dataclass(frozen=True, slots=True)
class Restored:
    """What a channel's start found open: counts."""

    offered: int = 0
    held_in_doubt: int = 0
    held_removed: int = 0
    taken_back: int = 0


async def recover(store: CommittingStore) -> int:
    """Put in doubt what an earlier process claimed; returns how many. Also notes that a backup was restored.

    Where several processes share the store those that are gone are buried instead, here and by the sweeper.
    """
    if store.shared:
        await store.attend()
        await _note_restored(store)
        return 0
    left = await store.read(lambda c: backlog.claimed_before(c, store.epoch))
    count = 0
    for chunk in _chunks(left):
        count += await store.act(partial(acts.doubt, numbers=chunk))
    await _note_restored(store)
    if count:
        observe.event("claims_recovered", count=count)
    return count


async def restore(store: Store, worker: Worker, channel: Channel, destination: str | None = None) -> Restored:
    """Let a channel's open deliveries, or those to one destination, flow again in their order.

    Call it with the channel's outlets in place and its source not yet started. Without `destination` it also holds
    what waits for destinations that the channel no longer has.
    """
    offered = doubtful = back = 0
    for spec in channel.destinations:
        outlet = worker.outlets.get((channel.name, spec.name))
        if outlet is not None and destination in (None, spec.name):
            with _standing_still(outlet):
                back += await _take_back(store, channel.name, spec.name)
                if not store.shared:
                    doubtful += await _hold_in_doubt(store, channel.name, spec)
                    offered += await _offer(store, worker, channel.name, spec.name)
    if store.shared:
        worker.broker.ring(channel.name)  # its lanes are taken like any that have work
    gone = 0 if destination else await hold_removed(store, channel)
    return Restored(offered, doubtful, gone, back)


async def hold_removed(store: Store, channel: Channel) -> int:
    """Hold what waits for destinations that the channel no longer has; it flows again when they return."""
    held = 0
    for name in await store.read(lambda c: backlog.open_destinations(c, channel.name)):
        if channel.destination(name) is None:
            held += await _hold_flowing(store, channel.name, name)
    return held


async def _hold_flowing(store: Store, channel: str, destination: str) -> int:
    """Chunk by chunk from the beginning of the lanes; what is held no longer flows, so every turn finds fewer."""
    held = 0
    while True:
        numbers = await store.read(lambda c: backlog.flowing(c, channel, destination, CHUNK))
        if not numbers:
            return held
        held += len(await store.act(partial(acts.hold, numbers=numbers, reason=REMOVED)))


async def _take_back(store: Store, channel: str, destination: str) -> int:
    held = await store.read(lambda c: backlog.in_state(c, channel, destination, DeliveryState.HELD, REMOVED))
    return await _in_chunks(store, held, acts.take_back)


async def _hold_in_doubt(store: Store, channel: str, spec: DestinationSpec) -> int:
    """By the policy `hold` a person decides what is in doubt; by `resend` and `ask` the worker goes on with it."""
    if spec.in_doubt != "hold":
        return 0
    doubtful = await store.read(lambda c: backlog.in_doubt(c, channel, spec.name))
    return await _in_chunks(store, doubtful, _hold_one_chunk)


def _hold_one_chunk(t: Transaction, numbers: Sequence[int]) -> int:
    return len(acts.hold_doubtful(t, numbers))


async def _offer(store: Store, worker: Worker, channel: str, destination: str) -> int:
    """Stream the open deliveries to the worker, which keeps of each lane what its memory allows."""
    count, after = 0, (b"", 0)
    while True:
        query = partial(backlog.open_of_destination, channel=channel, destination=destination, after=after, most=CHUNK)
        found = await store.read(query)
        for delivery in found:
            worker.restore(delivery)
        count += len(found)
        if len(found) < CHUNK:
            return count
        after = (found[-1].lane, found[-1].seq)


@contextmanager
def _standing_still(outlet: Outlet) -> Iterator[None]:
    """While its lanes are being filled an outlet sends nothing: what comes meanwhile could pass what is not yet there.

    A channel whose wiring was exchanged goes on taking messages, and its new outlet is offered them at once. Where the
    store failed the outlet stands still: it does not have everything, until a restore ends well.
    """
    outlet.hold("restoring")
    yield
    outlet.unhold("restoring")


async def _note_restored(store: CommittingStore) -> None:
    """After a restore from a backup: an event in every organization's chain, once."""
    if await store.read(lambda c: c.execute(RESTORED).fetchone()) is None:
        return
    organizations = store.organizations()

    def note(t: Transaction) -> None:
        (taken_at,) = t.connection.execute(RESTORED).fetchone()
        t.connection.execute(FORGET_RESTORED)
        for organization in organizations:
            t.event(organization, "restored", 0, taken_at, rare=False)

    await store.act(note)
    observe.event("backup_restored")


async def _in_chunks(store: Store, numbers: Sequence[int], act: Callable[..., int]) -> int:
    changed = 0
    for chunk in _chunks(numbers):
        changed += await store.act(partial(act, numbers=chunk))
    return changed


def _chunks(numbers: Sequence[int]) -> Iterator[Sequence[int]]:
    return (numbers[start : start + CHUNK] for start in range(0, len(numbers), CHUNK))
