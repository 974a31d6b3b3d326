"""A lane: the deliveries of one order key to one destination, one at a time, in the order they were accepted.

Invariant: what stands behind a held or dead delivery is passed only where the rule of the lane says so.
"""

from __future__ import annotations

from collections import deque
from typing import Literal

from engine.model import Delivery, DeliveryState
from engine.wiring import ClassOfMessage, DestinationSpec

Behind = Literal["wait", "order", "pass"]
"""What a held or dead delivery blocks: its lane, its lane's deliveries of the same order number, nothing."""

MOST_IN_MEMORY = 1000
"""Deliveries of one lane held in memory; what stands behind them is read from the store when its turn comes."""


def behind(kind: ClassOfMessage, spec: DestinationSpec) -> Behind:
    """The rule of a destination: its own, else by class; where no order is promised nothing is blocked."""
    if spec.behind:
        return spec.behind
    if spec.order == "none":
        return "pass"
    return "order" if kind == "result" else "wait"


class Memory:
    """What all lanes of a process hold together: places for deliveries, and bytes of what they carry."""

    __slots__ = ("bytes_left", "places_left")

    def __init__(self, places: int, size: int) -> None:
        self.places_left = places
        self.bytes_left = size

    def reserve(self, delivery: Delivery) -> None:
        """A delivery is queued; without room for its bytes it is read from the store when its turn comes."""
        self.places_left -= 1
        if delivery.raw is not None:
            if self.bytes_left <= 0:
                delivery.raw = None
            else:
                self.bytes_left -= len(delivery.raw)

    def free(self, delivery: Delivery) -> None:
        """A delivery is no longer queued."""
        self.places_left += 1
        if delivery.raw is not None:
            self.bytes_left += len(delivery.raw)


class Lane:
    """One lane in memory. `later` is the highest delivery number that only the store holds."""

    __slots__ = (
        "_memory", "blocked", "key", "known", "later", "pause", "queue", "release_due", "rule", "running", "seen",
        "timer", "turn",
    )  # fmt: skip

    def __init__(self, key: bytes, rule: Behind, memory: Memory, turn: int = 1) -> None:
        self.key = key
        self.turn = turn  # in which this process owns it; 0: another one does
        self.known = 0  # the highest delivery number that this process knows of, where several share the store
        self.release_due: int | None = None  # it is released once it rests, and due again from then on
        self.rule = rule
        self._memory = memory
        self.queue: deque[Delivery] = deque()
        self.blocked: dict[int, Delivery] = {}  # held and dead ones, by id
        self.running = False
        self.timer = False  # waits for its next attempt's time
        self.pause = 0.0  # seconds that it waits
        self.seen = 0  # the highest delivery number ever queued here
        self.later = 0

    def add(self, delivery: Delivery) -> None:
        """Queue a delivery in its place, or leave it to the store when the lane is long or memory is short."""
        if delivery.seq <= self.seen:
            self._insert(delivery)
        elif self.later > self.seen or len(self.queue) >= MOST_IN_MEMORY or self._memory.places_left <= 0:
            self.later = max(self.later, delivery.seq)
        else:
            self.append(delivery)

    def append(self, delivery: Delivery) -> None:
        """Queue a delivery at the end: it comes after everything that was ever queued here."""
        self._reserve(delivery)
        self.queue.append(delivery)
        self.seen = delivery.seq

    def fill(self, delivery: Delivery) -> None:
        """Have a delivery as the store has it: at the end of the queue, or as one that blocks."""
        if stands_still(delivery.state):
            self.block(delivery)
        else:
            self.append(delivery)

    def _insert(self, delivery: Delivery) -> None:
        """Put a replayed delivery back where it stood; one that is there already stays once."""
        position = len(self.queue)
        for at, other in enumerate(self.queue):
            if other.id == delivery.id:
                return
            if other.seq > delivery.seq:
                position = at
                break
        self._reserve(delivery)
        self.queue.insert(position, delivery)

    def _reserve(self, delivery: Delivery) -> None:
        """A merge waits in two lanes and is held in memory once."""
        if delivery.lane == self.key:
            self._memory.reserve(delivery)

    def _free(self, delivery: Delivery) -> None:
        if delivery.lane == self.key:
            self._memory.free(delivery)

    def next(self) -> Delivery | None:
        """The first delivery that nothing blocks, or None."""
        if not self.blocked:
            return self.queue[0] if self.queue else None
        if self.rule == "wait":
            first = min(other.seq for other in self.blocked.values())
            return self.queue[0] if self.queue and self.queue[0].seq < first else None
        for delivery in self.queue:
            if self._passes(delivery):
                return delivery
            if delivery.barrier:  # nothing overtakes a merge that waits
                return None
        return None

    @property
    def reads_on(self) -> bool:
        """True when the store holds more of this lane and something of it could go out."""
        if self.later <= self.seen or len(self.queue) >= MOST_IN_MEMORY:
            return False
        return self.rule != "wait" or not self.blocked or min(o.seq for o in self.blocked.values()) > self.seen

    def _passes(self, delivery: Delivery) -> bool:
        """A barrier waits for everything before it; the rest only for its own order number."""
        if delivery.barrier:
            return all(other.seq > delivery.seq for other in self.blocked.values()) and self.queue[0] is delivery
        return all(
            other.seq > delivery.seq or (other.order_key != delivery.order_key and not other.barrier)
            for other in self.blocked.values()
        )

    def remove(self, delivery: int) -> None:
        """Take a delivery out of the queue: it has ended, was put aside, or changed hands."""
        for at, other in enumerate(self.queue):
            if other.id == delivery:
                self._free(other)
                del self.queue[at]
                return

    def clear(self) -> None:
        """Forget everything queued: the store has it."""
        for delivery in self.queue:
            self._free(delivery)
        self.queue.clear()

    def block(self, delivery: Delivery) -> None:
        """Remember a held or dead delivery, unless this lane lets everything pass."""
        if self.rule != "pass":
            delivery.raw = None
            self.blocked[delivery.id] = delivery

    def unblock(self, delivery: int) -> None:
        """Forget a blocking delivery: a person has ended, skipped or replayed it."""
        self.blocked.pop(delivery, None)

    @property
    def ended(self) -> bool:
        """True when nothing in it is open, as far as this process knows."""
        return not self.queue and not self.blocked and self.later <= self.seen

    @property
    def empty(self) -> bool:
        """True when nothing of this lane needs memory."""
        return self.ended and not self.running and not self.timer


def stands_still(state: DeliveryState) -> bool:
    """True for the states in which a delivery waits for a person."""
    return state in (DeliveryState.HELD, DeliveryState.DEAD)
