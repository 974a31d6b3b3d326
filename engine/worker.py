"""The worker: every outlet of the process, and what they share: memory, outcomes, and the lanes that come and go.

Invariant: memory is bounded, for what does not fit is read from the store when its turn comes; where several processes
share the store this one takes no more lanes than it can carry soon, so that the others find work, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from engine import observe
from engine.errors import StoreUnavailable
from engine.lane import Lane, Memory, stands_still
from engine.model import MICROSECONDS, Delivery, DeliveryState, Settlement
from engine.outlet import STORE_PAUSE_SECONDS, Outlet
from engine.pipeline import Carried
from engine.ports import Broker, Ports, Taken

MOST_QUEUED = 200_000
"""Deliveries queued in memory over all lanes; what is beyond is read from the store when its lane gets there."""
LANES_AT_ONCE = 64
"""Lanes that are taken together from a store that several processes share."""
LANES_HELD = 2 * LANES_AT_ONCE
"""With so many lanes of a channel a process takes no more."""
NOT_HERE_SECONDS = 5
"""A lane whose destination does not run here is left to others for so long."""


class Worker:
    """Every outlet of the process, and what they share."""

    def __init__(self, ports: Ports, broker: Broker, memory_bytes: int) -> None:
        self.ports = ports
        self.broker = broker
        self.outlets: dict[tuple[str, str], Outlet] = {}
        self.on_settled: Callable[[Delivery, Settlement], None] = lambda delivery, settlement: None
        self.ending = False
        self.memory = Memory(MOST_QUEUED, memory_bytes)
        self._taking: dict[str, bool] = {}  # channels whose lanes are being taken; True: and once more after that
        self._lost: set[tuple[str, str, str, bytes, int]] = set()  # owned lanes that were in nobody's memory
        self._more: set[str] = set()  # channels that have more lanes than were taken

    def offer(self, delivery: Delivery) -> None:
        """Queue a delivery at its outlet. Where its channel does not run the store has it: a start offers it again."""
        if not delivery.turn:
            self.broker.ring(delivery.channel)
            return
        outlet = self.outlets.get((delivery.channel, delivery.destination))
        if outlet is not None:
            outlet.offer(delivery)
        elif self.ports.store.shared:
            self._give_back(delivery.organization, delivery.channel, delivery.destination, delivery.lane, delivery.turn)

    # outcomes

    def settled(self, delivery: Delivery, settlement: Settlement) -> None:
        """Tell whoever waits for this delivery's outcome."""
        self.on_settled(delivery, settlement)

    async def recorded(self, carried: Carried | None) -> None:
        """Wait until an outcome is durable; while the store cannot take it, try again: it must not be lost."""
        durable = carried.durable if carried else None
        while carried is not None and durable is not None:
            try:
                if not await durable:
                    observe.event("outcome_came_late")
                return
            except StoreUnavailable as error:
                observe.failed("outcome_not_recorded", error)
                if self.ending or error.code == "row_refused":
                    return
                await asyncio.sleep(STORE_PAUSE_SECONDS)
                durable = self._record(carried)

    def _record(self, carried: Carried) -> asyncio.Future[bool]:
        """Try once more to make an outcome durable."""
        store, settlement = self.ports.store, carried.settlement
        if carried.attempt is not None:
            return store.settle(carried.attempt, settlement)
        return store.put_aside(carried.delivery, settlement.state, settlement.reason)

    # what was changed beside the path

    def release(self, delivery: Delivery) -> None:
        """A person replayed, skipped or ended a delivery that blocked its lane: let the lane go on."""
        outlet = self.outlets.get((delivery.channel, delivery.destination))
        if self.ports.store.shared:
            self._reconsider(outlet, delivery)
            return
        if outlet is None:
            return
        for key in delivery.lanes:
            lane = outlet.lane(key)
            lane.release(delivery.id)
            lane.leave(delivery.id)
            if delivery.state in (DeliveryState.QUEUED, DeliveryState.IN_DOUBT):
                lane.add(delivery)
            outlet.wake(lane)

    def restore(self, delivery: Delivery) -> None:
        """Take over a delivery that the store held when its outlet started: queued in its place, or as what blocks."""
        outlet = self.outlets.get((delivery.channel, delivery.destination))
        if outlet is None:
            return
        if stands_still(delivery.state):
            for key in delivery.lanes:
                outlet.lane(key).block(delivery)
        else:
            self.offer(delivery)

    def remind(self, channel: str, destination: str, lane: bytes, seq: int) -> None:
        """The store has an open delivery in a lane that is not in memory: let the lane read what it has."""
        outlet = self.outlets.get((channel, destination))
        if outlet is not None and lane not in outlet.lanes:
            forgotten = outlet.lane(lane)
            forgotten.later = seq
            outlet.wake(forgotten)

    def put_aside(self, delivery: Delivery) -> None:
        """The sweeper or a policy held a waiting delivery or let it die: it leaves its queue and blocks its lane."""
        outlet = self.outlets.get((delivery.channel, delivery.destination))
        if self.ports.store.shared:
            self._reconsider(outlet, delivery)
            return
        if outlet is None:
            return
        for key in delivery.lanes:
            lane = outlet.lane(key)
            lane.leave(delivery.id)
            lane.block(delivery)
            outlet.wake(lane)

    def _reconsider(self, outlet: Outlet | None, delivery: Delivery) -> None:
        if outlet is not None:
            outlet.reconsider(delivery)
        self.broker.ring(delivery.channel)

    # lanes of a store that several processes share

    async def take(self, channel: str) -> None:
        """Take lanes of a channel that nobody carries, as long as this process can carry more."""
        if channel in self._taking:
            self._taking[channel] = True
            return
        self._taking[channel] = True
        try:
            while self._taking[channel] and not self.ending:
                self._taking[channel] = False
                await self._take(channel)
        except StoreUnavailable as error:  # the sweeper comes by
            observe.failed("lanes_not_taken", error, channel=channel)
        finally:
            del self._taking[channel]

    async def _take(self, channel: str) -> None:
        while self._has_room(channel) and not self.ending:
            taken = await self.ports.store.take(channel, LANES_AT_ONCE, self._holding(channel))
            for one in taken:
                self._take_up(one)
            if len(taken) < LANES_AT_ONCE:
                self._more.discard(channel)
                return
        self._more.add(channel)

    def _holding(self, channel: str) -> frozenset[str]:
        """The channel's destinations at which a person decides what is in doubt."""
        outlets = self.outlets.items()
        return frozenset(name for (one, name), outlet in outlets if one == channel and outlet.spec.in_doubt == "hold")

    def _has_room(self, channel: str) -> bool:
        outlets = [outlet for (name, _), outlet in self.outlets.items() if name == channel]
        held = sum(len(outlet.lanes) for outlet in outlets)
        return bool(outlets) and held < LANES_HELD and self.memory.places_left > 0

    def _take_up(self, taken: Taken) -> None:
        outlet = self.outlets.get((taken.channel, taken.destination))
        if outlet is not None:
            outlet.take_up(taken)
        else:
            self._give_back(
                taken.organization, taken.channel, taken.destination, taken.lane, taken.turn, NOT_HERE_SECONDS
            )

    def let_go(self, outlet: Outlet, lane: Lane, due: int | None, empty: bool) -> None:
        """Give a lane back to all processes; when that fails, again until it does not."""
        channel = outlet.running.channel
        values = (channel.owner, channel.name, outlet.spec.name, lane.key, lane.turn, lane.known, due, empty)
        future = self.ports.store.release(*values)
        future.add_done_callback(partial(self._let_go_done, outlet, lane, due, empty))
        if due is not None and not self.ending:
            wait = max(0.0, (due - self.ports.store.now()) / MICROSECONDS)
            asyncio.get_running_loop().call_later(wait, self.broker.ring, channel.name)

    def _let_go_done(
        self, outlet: Outlet, lane: Lane, due: int | None, empty: bool, released: asyncio.Future[list[str]]
    ) -> None:
        if released.cancelled():
            return
        error = released.exception()
        if error is not None:
            observe.event("lane_not_released", channel=outlet.running.channel.name, error=type(error).__name__)
            if not self.ending:
                asyncio.get_running_loop().call_later(STORE_PAUSE_SECONDS, self.let_go, outlet, lane, due, empty)
            return
        if outlet.letting_go.get(lane.key) == lane.turn:
            del outlet.letting_go[lane.key]
        for channel in released.result():
            self.broker.ring(channel)
        name = outlet.running.channel.name
        if name in self._more and len(outlet.lanes) < LANES_AT_ONCE:
            self._more.discard(name)
            self.broker.ring(name)

    def _give_back(
        self, organization: str, channel: str, destination: str, lane: bytes, turn: int, seconds: int = 0
    ) -> None:
        due = self.ports.store.now() + seconds * MICROSECONDS
        future = self.ports.store.release(organization, channel, destination, lane, turn, 0, due, False)
        future.add_done_callback(lambda done: done.cancelled() or done.exception())  # `reclaim` finds it again

    async def reclaim(self) -> None:
        """The safety net of owned lanes: each is in memory and has a reason to be there, or is given back.

        What is found twice in a row is no lane that is just coming or going.
        """
        for outlet in self.outlets.values():
            outlet.let_go_of_idle()
        here = {
            (outlet.running.channel.owner, channel, destination, key, turn)
            for (channel, destination), outlet in self.outlets.items()
            for key, turn in outlet.known_turns()
        }
        lost = await self.ports.store.owned() - here
        for lane in lost & self._lost:
            self._give_back(*lane)
        self._lost = lost

    def lose_all(self) -> None:
        """Other processes have taken over every lane of this one: begin with none, and take what is free."""
        observe.event("lanes_lost")
        for outlet in self.outlets.values():
            outlet.lose_all()
        for channel in {name for name, _ in self.outlets}:
            self.broker.ring(channel)

    async def drain(self) -> None:
        """Stop every outlet and wait for what is under way."""
        self.ending = True
        await asyncio.gather(*(outlet.drain() for outlet in self.outlets.values()))
