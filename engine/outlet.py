"""An outlet: one destination of one channel at work, its lanes in parallel, each of them in order.

    offer -> wake -> pump -> carry some of a lane: read on -> carry -> take note -> rest: go on, wait, or release it

Invariant: one delivery of a lane is outstanding; a lane that waits, fails or is blocked holds up no other lane. Where
several processes share a store a lane is carried only while this one owns it, and is released when it has to wait.
"""

from __future__ import annotations

import asyncio
from collections import deque
from enum import Enum
from functools import partial
from typing import Protocol

from engine import observe
from engine.breaker import Breaker
from engine.errors import StoreUnavailable
from engine.lane import Lane, Memory, stands_still
from engine.model import MICROSECONDS, Delivery, DeliveryState
from engine.owned import Owned
from engine.pipeline import Carried, carry
from engine.ports import Destination, Ports, Running
from engine.wiring import DestinationSpec

STORE_PAUSE_SECONDS = 1.0
"""How long a lane waits when the store could not take its claim or its outcome."""
DELIVERIES_AT_ONCE = 32
"""After so many a lane gives its place to the next one."""
IN_FLIGHT_FACTOR = 2
"""Lanes at work for each connection: while one sends, another converts or commits."""
KEPT_WAITING_SECONDS = 5.0
"""A lane that waits longer for its next attempt is released: whoever owns none of it then may carry it."""


class Unclaimed(Enum):
    """Why a delivery was not claimed."""

    GONE = "it changed hands"
    LATER = "the store was not there"


class Host(Protocol):
    """What an outlet asks of the worker that it belongs to."""

    ports: Ports
    memory: Memory

    async def recorded(self, carried: Carried | None) -> None:
        """Wait until an outcome is durable."""

    def settled(self, outlet: Outlet, carried: Carried) -> None:
        """Tell whoever waits for this delivery's outcome."""

    def release(self, outlet: Outlet, lane: Lane, due: int | None, ended: bool) -> None:
        """Have the store know that a lane is released."""


class Outlet:
    """One destination of one channel at work: the lanes it owns, its breaker, its connector."""

    def __init__(self, running: Running, spec: DestinationSpec, destination: Destination, host: Host) -> None:
        self.running = running
        self.spec = spec
        self.destination = destination
        self.breaker = Breaker()
        self.owned = Owned(running.channel, spec, host, self.wake, partial(host.release, self))
        self._holds: set[str] = set()
        self._host = host
        self._ready: deque[Lane] = deque()
        self._at_work = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._most = spec.connections * IN_FLIGHT_FACTOR

    @property
    def paused(self) -> bool:
        """True while anybody holds it: then no lane starts."""
        return bool(self._holds)

    def hold(self, who: str) -> None:
        """Start no lane until `who` ends the hold: a person, a restore, the end of the process."""
        self._holds.add(who)

    def unhold(self, who: str) -> None:
        """End a hold; the outlet goes on when nobody else holds it."""
        self._holds.discard(who)
        self.pump()

    def offer(self, delivery: Delivery) -> None:
        """Queue a delivery in its lane (a merge: in both) and let the lane go on when it can."""
        self.owned.feed(delivery)

    def release_all(self) -> None:
        """Release every lane: the store has what is queued."""
        self.owned.release_all()
        self._ready.clear()

    def lose_all(self) -> None:
        """Other processes have taken over every lane of this one."""
        self.owned.lose_all()
        self._ready.clear()

    # lanes at work

    def wake(self, lane: Lane) -> None:
        """Let a lane go on, now or when it has a place; one in which nothing is left is not kept."""
        if lane.running or lane.timer or (not lane.queue and lane.later <= lane.seen):
            if lane.empty:
                self.owned.release(lane)  # while it is in memory the sweeper takes it for one that is cared for
            return
        self._line_up(lane)
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

    def _line_up(self, lane: Lane) -> None:
        lane.running = True
        self._ready.append(lane)

    async def _work(self, lane: Lane) -> None:
        """Carry some of a lane; whatever it raises, the others go on and it tries again."""
        try:
            await self._carry_some(lane)
        except Exception as error:
            observe.lane_failed(self.running.channel.name, self.spec.name, error)
            self._pause(lane, STORE_PAUSE_SECONDS)
        finally:
            self._at_work -= 1
            lane.running = False
            self._rest(lane)
            self.pump()

    async def _carry_some(self, lane: Lane) -> None:
        """Carry a lane's deliveries, so many at most; what was settled is recorded whatever happens."""
        previous: Carried | None = None
        try:
            for _ in range(DELIVERIES_AT_ONCE):
                if self.paused or not self.breaker.lets_pass():
                    break
                delivery = await self._next(lane)
                if delivery is None:
                    break
                carried = await self._carry(delivery)
                await self._host.recorded(previous)  # its commit was not later than this claim's
                previous = carried if isinstance(carried, Carried) else None
                if not self._take_note(lane, delivery, carried):
                    break
        finally:
            await self._host.recorded(previous)

    def _rest(self, lane: Lane) -> None:
        """A lane has stopped: queue it again when it can go on, else release it."""
        if not self.owned.has(lane):
            return
        head = lane.next()
        if lane.empty:
            self.owned.release(lane)
        elif lane.release_due is not None:
            self.owned.release(lane, lane.release_due or None)
        elif head is not None and head.barrier and not lane.timer and not self.owned.has_both(lane, head):
            self._line_up(lane)  # it stopped before it came to the merge, and the other lane has not been asked for
        elif head is not None and head.barrier and lane.key != head.lane:
            self.owned.wait_for_other(lane, head)
        elif lane.timer:
            if self.owned.shared and lane.pause > KEPT_WAITING_SECONDS:
                self.owned.release(lane, self._host.ports.store.now() + int(lane.pause * MICROSECONDS))
        elif lane.reads_on if head is None else self.owned.may_go(lane, head):
            self._line_up(lane)
        elif head is not None and head.barrier:
            self.owned.wait_for_other(lane, head)
        elif self.owned.shared and head is None:
            self.owned.release(lane)

    # one delivery

    async def _next(self, lane: Lane) -> Delivery | None:
        """The delivery of a lane that may go now, or None; what only the store holds is read."""
        try:
            delivery = lane.next() or await self.owned.read_on(lane)
            if delivery is None or (delivery.barrier and not await self.owned.own_both(lane, delivery)):
                return None
        except StoreUnavailable as error:
            observe.failed("backlog_not_read", error, channel=self.running.channel.name, destination=self.spec.name)
            self._pause(lane, STORE_PAUSE_SECONDS)
            return None
        may_go = self.owned.may_go(lane, delivery) and not self._too_early(lane, delivery)
        return delivery if may_go else None

    async def _carry(self, delivery: Delivery) -> Carried | Unclaimed:
        try:
            with self.owned.sending(delivery):
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
        self._host.settled(self, carried)
        if settlement.state in (DeliveryState.QUEUED, DeliveryState.IN_DOUBT):
            delivery.next_at = settlement.next_at
            self._sleep(lane, delivery, settlement.next_at - settlement.at)
            return False
        self.owned.close(delivery, stands_still(settlement.state))
        return True

    def _not_claimed(self, lane: Lane, delivery: Delivery, why: Unclaimed) -> bool:
        """Try again when the store is back; what changed hands is nobody's business here."""
        if why is Unclaimed.LATER:
            self._pause(lane, STORE_PAUSE_SECONDS)
            return False
        if self.owned.shared:
            lane.release_due = self._host.ports.store.now() + int(STORE_PAUSE_SECONDS * MICROSECONDS)
            return False
        self.owned.close(delivery, blocks=False)
        return True

    # waiting

    def _sleep(self, lane: Lane, delivery: Delivery, wait: int) -> None:
        """Let the lane wait so many microseconds; a clock that is set back meanwhile changes nothing."""
        if wait > 0:
            self._pause(lane, wait / MICROSECONDS, delivery)
        else:
            delivery.next_at = 0

    def _pause(self, lane: Lane, seconds: float, delivery: Delivery | None = None) -> None:
        lane.timer, lane.pause = True, seconds
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
        if self.owned.has(lane):
            self.wake(lane)

    # the breaker

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
