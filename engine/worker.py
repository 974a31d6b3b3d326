"""The worker: lanes run in parallel, each in order, as many at a time as a destination has connections for.

Invariant: one delivery of a lane is outstanding; a lane that waits, fails or is blocked holds up no other lane; memory
is bounded, for what does not fit is read from the store when its turn comes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Protocol

from engine import observe
from engine.breaker import Breaker
from engine.errors import StoreUnavailable
from engine.lane import Lane, Memory, behind, stands_still
from engine.model import MICROSECONDS, Delivery, DeliveryState, Settlement
from engine.pipeline import Carried, carry
from engine.ports import Destination, Ports, Running
from engine.wiring import DestinationSpec

STORE_PAUSE_SECONDS = 1.0
"""How long a lane waits when the store could not take its claim or its outcome."""
DELIVERIES_A_TURN = 32
"""After so many a lane gives its place to the next one."""
REFILL = 500
"""Deliveries read at once for a lane of which the store holds more."""
MOST_QUEUED = 200_000
"""Deliveries queued in memory over all lanes; what is beyond is read from the store when its lane gets there."""
IN_FLIGHT_FACTOR = 2
"""Lanes at work for each connection: while one sends, another converts or commits."""


class Unclaimed(Enum):
    """Why a delivery was not claimed."""

    GONE = "it changed hands"
    LATER = "the store was not there"


class Backlog(Protocol):
    """What the worker asks of a store beside the path: the deliveries it did not keep in memory."""

    async def open_of_lane(self, channel: str, destination: str, lane: bytes, after: int, most: int) -> list[Delivery]:
        """Open deliveries of a lane with a higher number, in order."""
        ...


class Outlet:
    """One destination of one channel at work: its lanes, its breaker, its connector."""

    def __init__(self, running: Running, spec: DestinationSpec, destination: Destination, host: Worker) -> None:
        self.running = running
        self.spec = spec
        self.destination = destination
        self.breaker = Breaker()
        self.lanes: dict[bytes, Lane] = {}
        self._holds: set[str] = set()
        self._host = host
        self._ready: deque[Lane] = deque()
        self._at_work = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._most = spec.connections * IN_FLIGHT_FACTOR
        self._rule = behind(running.channel.kind, spec)

    @property
    def paused(self) -> bool:
        """True while anybody holds it: then no lane starts."""
        return bool(self._holds)

    def hold(self, who: str) -> None:
        """Start no lane until `who` lets go: a person, a restore, the end of the process."""
        self._holds.add(who)

    def unhold(self, who: str) -> None:
        """Let go; the outlet goes on when nobody else holds it."""
        self._holds.discard(who)
        self.pump()

    def offer(self, delivery: Delivery) -> None:
        """Queue a delivery in its lane (a merge: in both) and let the lane go on when it can."""
        for key in _lanes_of(delivery):
            lane = self.lane(key)
            lane.add(delivery)
            self.wake(lane)

    def lane(self, key: bytes) -> Lane:
        """The lane of that key; it exists while something of it needs memory."""
        lane = self.lanes.get(key)
        if lane is None:
            lane = self.lanes[key] = Lane(key, self._rule, self._host.memory)
        return lane

    def wake(self, lane: Lane) -> None:
        """Let a lane go on, now or when its turn comes."""
        if lane.running or lane.timer or (not lane.queue and lane.later <= lane.seen):
            return
        lane.running = True
        self._ready.append(lane)
        self.pump()

    def pump(self) -> None:
        """Start as many ready lanes as may be at work."""
        most = 1 if self.breaker.open else self._most
        while self._ready and self._at_work < most and not self.paused and self.breaker.lets_pass():
            self._at_work += 1
            task = asyncio.get_running_loop().create_task(self._work(self._ready.popleft()))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def drain(self) -> None:
        """Stop starting lanes and wait for those at work."""
        self.hold("draining")
        if self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def forget_all(self) -> None:
        """Let go of everything queued: the store has it."""
        for lane in self.lanes.values():
            lane.clear()
        self.lanes.clear()
        self._ready.clear()

    async def _work(self, lane: Lane) -> None:
        """Give a lane its turn; whatever it raises, the others go on and it tries again."""
        try:
            await self._turn(lane)
        except Exception as error:
            observe.lane_failed(self.running.channel.name, self.spec.name, error)
            self._pause(lane, STORE_PAUSE_SECONDS)
        finally:
            self._at_work -= 1
            lane.running = False
            self._rest(lane)

    async def _turn(self, lane: Lane) -> None:
        """Carry a lane's deliveries, at most a turn's worth; what was settled is recorded whatever happens."""
        previous: Carried | None = None
        try:
            for _ in range(DELIVERIES_A_TURN):
                if self.paused or not self.breaker.lets_pass():
                    break
                delivery = lane.next() or await self._refill(lane)
                if delivery is None or not self._alone(lane, delivery) or self._too_early(lane, delivery):
                    break
                carried = await self._carry(delivery)
                await self._host.recorded(previous)  # its commit was not later than this claim's
                previous = carried if isinstance(carried, Carried) else None
                if not self._take_note(lane, delivery, carried):
                    break
        finally:
            await self._host.recorded(previous)

    async def _carry(self, delivery: Delivery) -> Carried | Unclaimed:
        try:
            carried = await carry(delivery, self.running, self.spec, self.destination, self._host.ports)
            return carried or Unclaimed.GONE
        except StoreUnavailable as error:
            observe.failed("claim_failed", error, channel=delivery.channel, destination=delivery.destination)
            return Unclaimed.LATER

    def _take_note(self, lane: Lane, delivery: Delivery, carried: Carried | Unclaimed) -> bool:
        """Apply what became of a delivery to its lane; True when the lane may go on at once."""
        if isinstance(carried, Unclaimed):
            return self._not_claimed(lane, delivery, carried)
        settlement = carried.settlement
        if carried.attempt is not None:
            self._judge_reach(settlement.outcome.unreachable)
            delivery.tries, delivery.attempt = carried.attempt.number, carried.attempt.id
        delivery.state, delivery.attempts = settlement.state, settlement.attempts
        self._host.settled(delivery, settlement)
        if settlement.state in (DeliveryState.QUEUED, DeliveryState.IN_DOUBT):
            delivery.next_at = settlement.next_at
            self._sleep(lane, delivery, settlement.next_at - settlement.at)
            return False
        self._leave(delivery, stands_still(settlement.state))
        return True

    def _not_claimed(self, lane: Lane, delivery: Delivery, why: Unclaimed) -> bool:
        """Try again when the store is back; what changed hands is nobody's business here."""
        if why is Unclaimed.LATER:
            self._pause(lane, STORE_PAUSE_SECONDS)
            return False
        self._leave(delivery, blocks=False)
        return True

    def _leave(self, delivery: Delivery, blocks: bool) -> None:
        lanes = [self.lane(key) for key in _lanes_of(delivery)]
        for lane in lanes:
            lane.leave(delivery.id)
        for lane in lanes:
            if blocks:
                lane.block(delivery)
            self.wake(lane)

    def _alone(self, lane: Lane, delivery: Delivery) -> bool:
        """A merge goes out from its first lane, when it heads both and the other has nothing under way."""
        if not delivery.barrier:
            return True
        if lane.key != delivery.lane:
            return False
        other = self.lane(delivery.barrier)
        head = other.next()
        return head is not None and head.id == delivery.id and not other.running

    async def _refill(self, lane: Lane) -> Delivery | None:
        """Read what the store alone holds of a lane."""
        if not lane.reads_on:
            return None
        until = lane.later  # what is offered while we read stands behind it
        channel, destination = self.running.channel.name, self.spec.name
        try:
            found = await self._host.backlog.open_of_lane(channel, destination, lane.key, lane.seen, REFILL)
        except StoreUnavailable as error:
            observe.failed("backlog_not_read", error, channel=channel, destination=destination)
            self._pause(lane, STORE_PAUSE_SECONDS)
            return None
        for delivery in found:
            if stands_still(delivery.state):
                lane.block(delivery)
            else:
                lane.append(delivery)
            if delivery.barrier:
                self._tell_other_lane(lane, delivery)
        lane.seen = found[-1].seq if len(found) == REFILL else max(lane.seen, until)
        return lane.next()

    def _tell_other_lane(self, lane: Lane, merge: Delivery) -> None:
        """A merge that was read from the store waits in its other lane, too, behind what that lane has to read."""
        other = self.lane(merge.barrier if lane.key == merge.lane else merge.lane)
        if merge.seq > other.seen:
            other.later = max(other.later, merge.seq)
        self.wake(other)

    def _sleep(self, lane: Lane, delivery: Delivery, wait: int) -> None:
        """Let the lane wait so many microseconds; a clock that is set back meanwhile changes nothing."""
        if wait > 0:
            self._pause(lane, wait / MICROSECONDS, delivery)
        else:
            delivery.next_at = 0

    def _pause(self, lane: Lane, seconds: float, delivery: Delivery | None = None) -> None:
        lane.timer = True
        asyncio.get_running_loop().call_later(seconds, self._slept, lane, delivery)

    def _too_early(self, lane: Lane, delivery: Delivery) -> bool:
        """After a restart a lane waits for the time that the store has kept, at most the policy's cap."""
        if delivery.next_at:
            left = delivery.next_at - self._host.ports.store.now()
            self._sleep(lane, delivery, min(left, self.spec.retry.cap))
        return lane.timer

    def _slept(self, lane: Lane, delivery: Delivery | None) -> None:
        lane.timer = False
        if delivery is not None:
            delivery.next_at = 0
        self.wake(lane)

    def _rest(self, lane: Lane) -> None:
        """A lane has stopped: queue it again when it can go on, else let go of it; start the next."""
        head = lane.next()
        if lane.empty:
            self.lanes.pop(lane.key, None)
        elif head is not None and head.barrier and lane.key != head.lane:
            self.wake(self.lane(head.lane))
        elif not lane.timer and (lane.reads_on if head is None else self._alone(lane, head)):
            lane.running = True
            self._ready.append(lane)
        self.pump()

    def _judge_reach(self, unreachable: bool) -> None:
        if unreachable:
            self._unreachable()
        elif self.breaker.reached():
            observe.event("destination_reached", channel=self.running.channel.name, destination=self.spec.name)
            self.pump()

    def _unreachable(self) -> None:
        pause = self.breaker.failed(self._host.ports.store.now())
        if pause is None:
            return
        if self.breaker.failures == 1:
            observe.event(
                "destination_unreachable", channel=self.running.channel.name, destination=self.spec.name, seconds=pause
            )
        asyncio.get_running_loop().call_later(pause, self._probe)

    def _probe(self) -> None:
        if self.breaker.open:
            self.breaker.probe()
            self.pump()


class Worker:
    """Every outlet of the process, and what they share: ports, memory, and who waits for an outcome."""

    def __init__(self, ports: Ports, backlog: Backlog, memory_bytes: int) -> None:
        self.ports = ports
        self.backlog = backlog
        self.outlets: dict[tuple[str, str], Outlet] = {}
        self.on_settled: Callable[[Delivery, Settlement], None] = lambda delivery, settlement: None
        self.ending = False
        self.memory = Memory(MOST_QUEUED, memory_bytes)

    def offer(self, delivery: Delivery) -> None:
        """Queue a delivery at its outlet. Where its channel does not run the store has it: a start offers it again."""
        outlet = self.outlets.get((delivery.channel, delivery.destination))
        if outlet is not None:
            outlet.offer(delivery)

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

    def release(self, delivery: Delivery) -> None:
        """A person replayed, skipped or ended a delivery that blocked its lane: let the lane go on."""
        outlet = self.outlets.get((delivery.channel, delivery.destination))
        if outlet is None:
            return
        for key in _lanes_of(delivery):
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
            for key in _lanes_of(delivery):
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
        if outlet is None:
            return
        for key in _lanes_of(delivery):
            lane = outlet.lane(key)
            lane.leave(delivery.id)
            lane.block(delivery)
            outlet.wake(lane)

    async def drain(self) -> None:
        """Stop every outlet and wait for what is under way."""
        self.ending = True
        await asyncio.gather(*(outlet.drain() for outlet in self.outlets.values()))


def _lanes_of(delivery: Delivery) -> tuple[bytes, ...]:
    return (delivery.lane, delivery.barrier) if delivery.barrier else (delivery.lane,)
