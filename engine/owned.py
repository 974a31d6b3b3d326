"""The lanes of one destination that this process owns: taken, read on, brought together for a merge, released.

Invariant: only a lane in `lanes` is carried. One that is released stands in `releasing` until the store has it, so that
an offer that was under way does not begin it anew. On a store that is not shared the one process owns every lane.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from engine.lane import Lane, Memory, behind
from engine.model import Delivery
from engine.ports import Ports, Taken
from engine.wiring import Channel, DestinationSpec

READ_AT_ONCE = 500
"""Deliveries read at once for a lane of which the store holds more."""
NOT_DUE = 0
"""Of a lane to be released: nothing in it is to be carried until somebody feeds or changes it."""

Release = Callable[[Lane, int | None, bool], None]
"""Has the store know that a lane is released: from when on it is due (None: not by itself), whether it has ended."""


class Process(Protocol):
    """What all lanes of this process share."""

    ports: Ports
    memory: Memory


class Owned:
    """The lanes of one destination that this process owns, and which of them wait for another one."""

    def __init__(
        self, channel: Channel, spec: DestinationSpec, process: Process, wake: Callable[[Lane], None], release: Release
    ) -> None:
        self.lanes: dict[bytes, Lane] = {}
        self.releasing: dict[bytes, int] = {}  # lanes that the store still has as this process's, and their turns
        self.shared = process.ports.store.shared
        self._merging: dict[bytes, bytes] = {}  # lanes that stand at a merge, and the other lane that each waits for
        self._waited: set[bytes] = set()  # lanes that stood at a merge when the sweeper came by
        self._under_way: set[bytes] = set()  # second lanes of the merges that are being sent
        self._name = (channel.name, spec.name)
        self._rule = behind(channel.kind, spec)
        self._holding = frozenset({spec.name}) if spec.in_doubt == "hold" else frozenset[str]()
        self._process = process
        self._wake = wake
        self._release = release

    # own

    def lane(self, key: bytes) -> Lane:
        """The lane of that key; it exists while something of it needs memory."""
        lane = self.lanes.get(key)
        if lane is None:
            lane = self.lanes[key] = Lane(key, self._rule, self._process.memory, 0 if self.shared else 1)
        return lane

    def has(self, lane: Lane) -> bool:
        """False when it was released, or lost, meanwhile."""
        return self.lanes.get(lane.key) is lane

    def feed(self, delivery: Delivery) -> None:
        """Queue a delivery in its lane (a merge: in both), and let the lane go on."""
        if self.releasing.get(delivery.lane) == delivery.turn:
            return  # whoever takes the lane next finds it there
        for key in delivery.lanes:
            lane = self.lane(key)
            if self.shared:
                lane.turn, lane.known = delivery.turn, max(lane.known, delivery.seq)
            lane.add(delivery)
            self._wake(lane)

    def own(self, taken: Taken) -> None:
        """Carry a lane that was taken; without anything to carry in it it is released again."""
        lane = self.lanes[taken.lane] = Lane(taken.lane, self._rule, self._process.memory, taken.turn)
        lane.known = taken.last
        for delivery in taken.deliveries:
            lane.fill(delivery)
        if taken.whole:
            lane.seen = max(lane.seen, taken.last)
        else:
            lane.seen, lane.later = taken.deliveries[-1].seq, taken.last
        self._wake(lane)
        if not lane.running:
            self.release(lane)

    def turns(self) -> list[tuple[bytes, int]]:
        """Every lane that this process knows to own, those that are being released, too."""
        return [*((lane.key, lane.turn) for lane in self.lanes.values()), *self.releasing.items()]

    def _owns(self, key: bytes) -> bool:
        lane = self.lanes.get(key)
        return lane is not None and lane.turn > 0

    # what only the store holds

    async def read_on(self, lane: Lane) -> Delivery | None:
        """Read what the store alone holds of a lane; its first delivery that may go. Raises `StoreUnavailable`."""
        if not lane.reads_on:
            return None
        until = lane.later  # what is offered while we read stands behind it
        found = await self._process.ports.store.open_of_lane(*self._name, lane.key, lane.seen, READ_AT_ONCE)
        for delivery in found:
            delivery.turn = lane.turn
            lane.fill(delivery)
            if delivery.barrier:
                self._tell_other_lane(lane, delivery)
        lane.seen = found[-1].seq if len(found) == READ_AT_ONCE else max(lane.seen, until)
        return lane.next()

    def _tell_other_lane(self, lane: Lane, merge: Delivery) -> None:
        """A merge that was read from the store waits in its other lane, too, behind what that lane has to read."""
        key = _other(lane, merge)
        if self.shared and not self._owns(key):
            return  # whoever takes that lane finds the merge in it
        other = self.lane(key)
        if merge.seq > other.seen:
            other.later = max(other.later, merge.seq)
        self._wake(other)

    # merges

    async def own_both(self, lane: Lane, merge: Delivery) -> bool:
        """A merge needs both its lanes here: take the other. Raises `StoreUnavailable`.

        Where another process owns that one, this one is released once it rests, for whoever takes both.
        """
        if self.has_both(lane, merge):
            return True
        other = _other(lane, merge)
        taken = await self._process.ports.store.take_lane(*self._name, other, self._holding)
        if taken is not None:
            self.own(taken)
        if self._owns(other):  # or a take of this very process, at the same time, has brought it
            return True
        lane.release_due = NOT_DUE  # its owner releases it when it comes to the merge; whoever takes it then takes both
        return False

    def has_both(self, lane: Lane, merge: Delivery) -> bool:
        """True when the other lane of a merge is this process's, too."""
        return not self.shared or self._owns(_other(lane, merge))

    def may_go(self, lane: Lane, delivery: Delivery) -> bool:
        """A merge goes out from its first lane, when it heads both and the other has nothing under way."""
        if lane.key in self._under_way:
            return False  # a person put this one back in front of a merge that had passed it
        if not delivery.barrier:
            return True
        if lane.key != delivery.lane:
            return False
        other = self.lane(delivery.barrier)
        head = other.next()
        return head is not None and head.id == delivery.id and not (other.running or other.key in self._under_way)

    @contextmanager
    def sending(self, delivery: Delivery) -> Iterator[None]:
        """While a merge is being sent from its first lane nothing else goes out from its second one."""
        if not delivery.barrier:
            yield
            return
        self._under_way.add(delivery.barrier)
        try:
            yield
        finally:
            self._under_way.discard(delivery.barrier)
            other = self.lanes.get(delivery.barrier)
            head = other.next() if other is not None else None
            if other is not None and (head is None or head.id != delivery.id or other.release_due is not None):
                self._wake(other)

    def wait_for_other(self, lane: Lane, merge: Delivery) -> None:
        """A lane stands at a merge; from its second lane the first one is woken, from which the merge goes out."""
        self._merging[lane.key] = other = _other(lane, merge)
        if lane.key != merge.lane:
            self._wake(self.lane(other))

    def close(self, delivery: Delivery, blocks: bool) -> None:
        """A delivery is over for its lanes, or blocks them from now on: what stands behind it goes on."""
        lanes = [self.lane(key) for key in delivery.lanes]
        for lane in lanes:
            lane.remove(delivery.id)
            self._merging.pop(lane.key, None)
        for lane in lanes:
            if blocks:
                lane.block(delivery)
            self._wake(lane)
            if self.shared and not lane.running and not lane.timer:
                self.release(lane)

    # release

    def release(self, lane: Lane, due: int | None = None) -> None:
        """Give up a lane: whoever owns none may take it when it is due, or when it is fed. The store has it all."""
        if not self.has(lane):
            return  # its partner at a merge was released just now, and this one with it
        ended = lane.ended and lane.release_due is None
        self.lanes.pop(lane.key, None)
        lane.clear()
        if self.shared and lane.turn:
            self.releasing[lane.key] = lane.turn
            self._release(lane, due, ended)
            self._release_partners(lane.key)

    def release_changed(self, delivery: Delivery) -> None:
        """Somebody changed a delivery in the store: whoever takes its lanes reads them again."""
        for key in delivery.lanes:
            lane = self.lanes.get(key)
            if lane is not None:
                lane.release_due = self._process.ports.store.now()
                if not lane.running and key not in self._under_way:
                    self.release(lane, lane.release_due)

    def release_idle(self) -> None:
        """No owned lane rests without a reason: a timer, its place in the queue, a merge whose other lane is coming.

        Two lanes at a merge that wait for each other from one call to the next are released, too.
        """
        if not self.shared:
            return
        for lane in tuple(self.lanes.values()):
            waits = lane.key in self._merging and lane.key not in self._waited
            if not (lane.running or lane.timer or waits) and lane.turn:
                self.release(lane, self._process.ports.store.now())
        self._waited = set(self._merging)

    def release_all(self) -> None:
        """Release every lane: others may carry them from now on."""
        now = self._process.ports.store.now()
        for lane in tuple(self.lanes.values()):
            self.release(lane, now)

    def lose_all(self) -> None:
        """Other processes have taken over every lane of this one."""
        for lane in self.lanes.values():
            lane.clear()
        self.lanes.clear()
        self.releasing.clear()
        self._merging.clear()

    def _release_partners(self, key: bytes) -> None:
        """What waits here for a lane to come to a merge waits for nothing: whoever takes that lane takes both."""
        self._merging.pop(key, None)
        for waiting in [one for one, other in self._merging.items() if other == key]:
            lane = self.lanes.get(waiting)
            if lane is None:
                self._merging.pop(waiting, None)
            elif not lane.running and not lane.timer:
                lane.release_due = NOT_DUE
                self.release(lane)


def _other(lane: Lane, merge: Delivery) -> bytes:
    """Of a merge's two lanes the one that is not this."""
    return merge.barrier if lane.key == merge.lane else merge.lane
