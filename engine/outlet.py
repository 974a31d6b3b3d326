"""An outlet: one destination of one channel at work, its lanes in parallel, each of them in order.

Invariant: one delivery of a lane is outstanding; a lane that waits, fails or is blocked holds up no other lane. Where
several processes share a store, a lane is carried only while this one owns it, and let go of when it has to wait.
"""

from __future__ import annotations

import asyncio
from collections import deque
from enum import Enum
from typing import Protocol

from engine import observe
from engine.breaker import Breaker
from engine.errors import StoreUnavailable
from engine.lane import Lane, Memory, behind, stands_still
from engine.model import MICROSECONDS, Delivery, DeliveryState, Settlement
from engine.pipeline import Carried, carry
from engine.ports import Destination, Ports, Running, Taken
from engine.wiring import DestinationSpec

STORE_PAUSE_SECONDS = 1.0
"""How long a lane waits when the store could not take its claim or its outcome."""
DELIVERIES_A_TURN = 32
"""After so many a lane gives its place to the next one."""
REFILL = 500
"""Deliveries read at once for a lane of which the store holds more."""
IN_FLIGHT_FACTOR = 2
"""Lanes at work for each connection: while one sends, another converts or commits."""
KEPT_WAITING_SECONDS = 5.0
"""A lane that waits longer for its next attempt is let go of: whoever owns none of it then may carry it."""


NOT_DUE = 0
"""Of a lane that is let go of: nothing in it is to be carried until somebody feeds or changes it."""


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

    def settled(self, delivery: Delivery, settlement: Settlement) -> None:
        """Tell whoever waits for this delivery's outcome."""

    def let_go(self, outlet: Outlet, lane: Lane, due: int | None, empty: bool) -> None:
        """Give a lane back to all processes."""


class Outlet:
    """One destination of one channel at work: its lanes, its breaker, its connector."""

    def __init__(self, running: Running, spec: DestinationSpec, destination: Destination, host: Host) -> None:
        self.running = running
        self.spec = spec
        self.destination = destination
        self.breaker = Breaker()
        self.lanes: dict[bytes, Lane] = {}
        self.letting_go: dict[bytes, int] = {}  # lanes on their way back to all processes, and their turns
        self._waited: set[bytes] = set()  # lanes that stood at a merge at the sweeper's last turn
        self._merging: dict[bytes, bytes] = {}  # lanes that stand at a merge, and the other lane that each waits for
        self._holds: set[str] = set()
        self._host = host
        self._shared = host.ports.store.shared
        self._ready: deque[Lane] = deque()
        self._at_work = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._most = spec.connections * IN_FLIGHT_FACTOR
        self._rule = behind(running.channel.kind, spec)
        self._holding = frozenset({spec.name}) if spec.in_doubt == "hold" else frozenset[str]()

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

    # lanes come and go

    def offer(self, delivery: Delivery) -> None:
        """Queue a delivery in its lane (a merge: in both) and let the lane go on when it can."""
        if self.letting_go.get(delivery.lane) == delivery.turn:
            return  # whoever takes the lane next finds it there
        for key in delivery.lanes:
            lane = self.lane(key)
            if self._shared:
                lane.turn, lane.known = delivery.turn, max(lane.known, delivery.seq)
            lane.add(delivery)
            self.wake(lane)

    def take_up(self, taken: Taken) -> None:
        """Carry a lane that this process has come to own."""
        lane = self.lanes[taken.lane] = Lane(taken.lane, self._rule, self._host.memory, taken.turn)
        lane.known = taken.last
        for delivery in taken.deliveries:
            if stands_still(delivery.state):
                lane.block(delivery)
            else:
                lane.append(delivery)
        if taken.whole:
            lane.seen = max(lane.seen, taken.last)
        else:
            lane.seen, lane.later = taken.deliveries[-1].seq, taken.last
        self.wake(lane)
        if not lane.running:
            self._let_go(lane)

    def lane(self, key: bytes) -> Lane:
        """The lane of that key; it exists while something of it needs memory."""
        lane = self.lanes.get(key)
        if lane is None:
            lane = self.lanes[key] = Lane(key, self._rule, self._host.memory, 0 if self._shared else 1)
        return lane

    def reconsider(self, delivery: Delivery) -> None:
        """Somebody changed a delivery in the store: its lanes are let go of and read again, by whoever takes them."""
        for key in delivery.lanes:
            lane = self.lanes.get(key)
            if lane is not None:
                lane.parting = self._host.ports.store.now()
                if not lane.running:
                    self._let_go(lane, lane.parting)

    def known_turns(self) -> list[tuple[bytes, int]]:
        """Every lane that this process knows to own, those on their way back, too."""
        return [*((lane.key, lane.turn) for lane in self.lanes.values()), *self.letting_go.items()]

    def let_go_of_idle(self) -> None:
        """No owned lane rests without a reason: a timer, a turn to come, a merge whose other lane is on its way.

        Two lanes at a merge that wait for each other for a whole turn of the sweeper are let go of, too.
        """
        if not self._shared:
            return
        for lane in tuple(self.lanes.values()):
            waits = lane.key in self._merging and lane.key not in self._waited
            if not (lane.running or lane.timer or waits) and lane.turn:
                self._let_go(lane, self._host.ports.store.now())
        self._waited = set(self._merging)

    def forget_all(self) -> None:
        """Let go of everything queued: the store has it."""
        now = self._host.ports.store.now()
        for lane in tuple(self.lanes.values()):
            self._let_go(lane, now)
        self._ready.clear()

    def lose_all(self) -> None:
        """Other processes have taken over every lane of this one."""
        for lane in self.lanes.values():
            lane.clear()
        self.lanes.clear()
        self._ready.clear()
        self.letting_go.clear()
        self._merging.clear()

    def _let_go(self, lane: Lane, due: int | None = None) -> None:
        empty = not lane.queue and not lane.blocked and lane.later <= lane.seen and lane.parting is None
        self.lanes.pop(lane.key, None)
        lane.clear()
        if self._shared and lane.turn:
            self.letting_go[lane.key] = lane.turn
            self._host.let_go(self, lane, due, empty)
            self._let_go_of_partners(lane.key)

    def _let_go_of_partners(self, key: bytes) -> None:
        """What waits here for a lane to come to a merge waits for nothing: whoever takes that lane takes both."""
        self._merging.pop(key, None)
        for waiting in [one for one, other in self._merging.items() if other == key]:
            lane = self.lanes.get(waiting)
            if lane is None:
                self._merging.pop(waiting, None)
            elif not lane.running and not lane.timer:
                lane.parting = NOT_DUE
                self._let_go(lane)

    def _owned(self, key: bytes) -> bool:
        lane = self.lanes.get(key)
        return lane is not None and lane.turn > 0

    # turns

    def wake(self, lane: Lane) -> None:
        """Let a lane go on, now or when its turn comes."""
        if lane.running or lane.timer or (not lane.queue and lane.later <= lane.seen):
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
            self.pump()

    async def _turn(self, lane: Lane) -> None:
        """Carry a lane's deliveries, at most a turn's worth; what was settled is recorded whatever happens."""
        previous: Carried | None = None
        try:
            for _ in range(DELIVERIES_A_TURN):
                if self.paused or not self.breaker.lets_pass():
                    break
                delivery = lane.next() or await self._refill(lane)
                if delivery is None or not await self._may_go(lane, delivery):
                    break
                carried = await self._carry(delivery)
                await self._host.recorded(previous)  # its commit was not later than this claim's
                previous = carried if isinstance(carried, Carried) else None
                if not self._take_note(lane, delivery, carried):
                    break
        finally:
            await self._host.recorded(previous)

    async def _may_go(self, lane: Lane, delivery: Delivery) -> bool:
        if delivery.barrier and self._shared and not await self._own_both(lane, delivery):
            return False
        return self._alone(lane, delivery) and not self._too_early(lane, delivery)

    def _rest(self, lane: Lane) -> None:
        """A lane has stopped: queue it again when it can go on, else let go of it."""
        if self.lanes.get(lane.key) is not lane:
            return  # it was taken over meanwhile
        head = lane.next()
        if lane.empty:
            self._let_go(lane)
        elif lane.parting is not None:
            self._let_go(lane, lane.parting or None)
        elif head is not None and head.barrier and lane.key != head.lane:
            self._merging[lane.key] = head.lane
            self.wake(self.lane(head.lane))
        elif lane.timer:
            if self._shared and lane.pause > KEPT_WAITING_SECONDS:
                self._let_go(lane, self._host.ports.store.now() + int(lane.pause * MICROSECONDS))
        elif lane.reads_on if head is None else self._alone(lane, head):
            self._line_up(lane)
        elif head is not None and head.barrier:
            self._merging[lane.key] = head.barrier
        elif self._shared and head is None:
            self._let_go(lane)

    # one delivery

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
        if self._shared:
            lane.parting = self._host.ports.store.now() + int(STORE_PAUSE_SECONDS * MICROSECONDS)
            return False
        self._leave(delivery, blocks=False)
        return True

    def _leave(self, delivery: Delivery, blocks: bool) -> None:
        lanes = [self.lane(key) for key in delivery.lanes]
        for lane in lanes:
            lane.leave(delivery.id)
            self._merging.pop(lane.key, None)
        for lane in lanes:
            if blocks:
                lane.block(delivery)
            self.wake(lane)
            if self._shared and not lane.running and not lane.timer:
                self._let_go(lane)

    # merges

    def _alone(self, lane: Lane, delivery: Delivery) -> bool:
        """A merge goes out from its first lane, when it heads both and the other has nothing under way."""
        if not delivery.barrier:
            return True
        if lane.key != delivery.lane:
            return False
        other = self.lane(delivery.barrier)
        head = other.next()
        return head is not None and head.id == delivery.id and not other.running

    async def _own_both(self, lane: Lane, merge: Delivery) -> bool:
        """A merge needs both its lanes here: take the other; where another process has it, leave both to be taken."""
        other = merge.barrier if lane.key == merge.lane else merge.lane
        if self._owned(other):
            return True
        channel, destination = self.running.channel.name, self.spec.name
        try:
            taken = await self._host.ports.store.take_lane(channel, destination, other, self._holding)
        except StoreUnavailable as error:
            observe.failed("backlog_not_read", error, channel=channel, destination=destination)
            self._pause(lane, STORE_PAUSE_SECONDS)
            return False
        if taken is not None:
            self.take_up(taken)
        if self._owned(other):  # or a take of this very process, at the same time, has brought it
            return True
        lane.parting = NOT_DUE  # its owner lets go of it when it comes to the merge; whoever takes it then takes both
        return False

    # what only the store holds

    async def _refill(self, lane: Lane) -> Delivery | None:
        """Read what the store alone holds of a lane."""
        if not lane.reads_on:
            return None
        until = lane.later  # what is offered while we read stands behind it
        channel, destination = self.running.channel.name, self.spec.name
        try:
            store = self._host.ports.store
            found = await store.open_of_lane(channel, destination, lane.key, lane.seen, REFILL)
        except StoreUnavailable as error:
            observe.failed("backlog_not_read", error, channel=channel, destination=destination)
            self._pause(lane, STORE_PAUSE_SECONDS)
            return None
        for delivery in found:
            delivery.turn = lane.turn
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
        key = merge.barrier if lane.key == merge.lane else merge.lane
        if self._shared and not self._owned(key):
            return  # whoever takes that lane finds the merge in it
        other = self.lane(key)
        if merge.seq > other.seen:
            other.later = max(other.later, merge.seq)
        self.wake(other)

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
        if self.lanes.get(lane.key) is lane:
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
