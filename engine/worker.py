"""The worker: every outlet of the process, and what they share: memory, outcomes, what is changed beside the path.

Invariant: memory is bounded, for what does not fit is read from the store when its turn comes; and no outcome is lost
while the store cannot take it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from engine import observe
from engine.errors import StoreUnavailable
from engine.lane import Lane, Memory, stands_still
from engine.model import Delivery, DeliveryState, Settlement, show_id
from engine.outlet import STORE_PAUSE_SECONDS, Outlet
from engine.pipeline import Carried
from engine.ports import Broker, Ports
from engine.sharing import Sharing

MOST_QUEUED = 200_000
"""Deliveries queued in memory over all lanes; what is beyond is read from the store when its lane gets there."""
FLOWING = (DeliveryState.QUEUED, DeliveryState.IN_DOUBT)
"""The states in which a delivery goes on by itself."""


class Worker:
    """Every outlet of the process, and what they share."""

    def __init__(self, ports: Ports, broker: Broker, memory_bytes: int) -> None:
        self.ports = ports
        self.broker = broker
        self.outlets: dict[tuple[str, str], Outlet] = {}
        self.on_settled: Callable[[Delivery, Settlement], None] = lambda delivery, settlement: None
        self.ending = False
        self.memory = Memory(MOST_QUEUED, memory_bytes)
        self.sharing = Sharing(ports, broker, self.outlets, self.memory)

    def offer(self, delivery: Delivery) -> None:
        """Queue a delivery at its outlet. Where its channel does not run the store has it: a start offers it again."""
        if not delivery.turn:
            self.broker.ring(delivery.channel)
            return
        outlet = self.outlets.get((delivery.channel, delivery.destination))
        if outlet is not None:
            outlet.offer(delivery)
        elif self.ports.store.shared:
            self.sharing.release_unowned(
                delivery.organization, delivery.channel, delivery.destination, delivery.lane, delivery.turn
            )

    def release(self, outlet: Outlet, lane: Lane, due: int | None, ended: bool) -> None:
        """Have the store know that an outlet has released a lane."""
        self.sharing.release(outlet, lane, due, ended)

    # outcomes

    def settled(self, outlet: Outlet, carried: Carried) -> None:
        """Tell whoever waits for this delivery's outcome: here at once, in other processes when they can read it."""
        self.on_settled(carried.delivery, carried.settlement)
        waited_for = outlet.spec.answers and outlet.running.channel.source.answer == "application"
        if waited_for and self.ports.store.shared and carried.settlement.state not in FLOWING:
            carried.durable.add_done_callback(partial(self._tell_others, show_id(carried.delivery.message)))

    def _tell_others(self, message: str, durable: asyncio.Future[bool]) -> None:
        """What could not be recorded, or is evidence only, is no answer."""
        if not durable.cancelled() and durable.exception() is None and durable.result():
            self.broker.answered(message)

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

    def unblock(self, delivery: Delivery) -> None:
        """A person replayed, skipped or ended a delivery that blocked its lane: let the lane go on."""
        outlet = self.outlets.get((delivery.channel, delivery.destination))
        if self.ports.store.shared:
            self._release_changed(outlet, delivery)
            return
        if outlet is None:
            return
        for key in delivery.lanes:
            lane = outlet.owned.lane(key)
            lane.unblock(delivery.id)
            lane.remove(delivery.id)
            if delivery.state in FLOWING:
                lane.add(delivery)
            outlet.wake(lane)

    def restore(self, delivery: Delivery) -> None:
        """Take over a delivery that the store held when its outlet started: queued in its place, or as what blocks."""
        outlet = self.outlets.get((delivery.channel, delivery.destination))
        if outlet is None:
            return
        if stands_still(delivery.state):
            for key in delivery.lanes:
                outlet.owned.lane(key).block(delivery)
        else:
            self.offer(delivery)

    def remind(self, channel: str, destination: str, lane: bytes, seq: int) -> None:
        """The store has an open delivery in a lane that is not in memory: let the lane read what it has."""
        outlet = self.outlets.get((channel, destination))
        if outlet is not None and lane not in outlet.owned.lanes:
            forgotten = outlet.owned.lane(lane)
            forgotten.later = seq
            outlet.wake(forgotten)

    def put_aside(self, delivery: Delivery) -> None:
        """The sweeper or a policy held a waiting delivery or let it die: it leaves its queue and blocks its lane."""
        outlet = self.outlets.get((delivery.channel, delivery.destination))
        if self.ports.store.shared:
            self._release_changed(outlet, delivery)
            return
        if outlet is None:
            return
        for key in delivery.lanes:
            lane = outlet.owned.lane(key)
            lane.remove(delivery.id)
            lane.block(delivery)
            outlet.wake(lane)

    def _release_changed(self, outlet: Outlet | None, delivery: Delivery) -> None:
        if outlet is not None:
            outlet.owned.release_changed(delivery)
        self.broker.ring(delivery.channel)

    async def drain(self) -> None:
        """Stop every outlet and wait for what is under way."""
        self.ending = self.sharing.ending = True
        await asyncio.gather(*(outlet.drain() for outlet in self.outlets.values()))
