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


class Lane:
    """One lane in memory. `later` is the highest sequence number that only the store holds."""

    __slots__ = ("blocked", "key", "later", "queue", "rule", "running", "seen", "timer")

    def __init__(self, key: bytes, rule: Behind) -> None:
        self.key = key
        self.rule = rule
        self.queue: deque[Delivery] = deque()
        self.blocked: dict[int, Delivery] = {}  # held and dead ones, by id
        self.running = False
        self.timer = False  # waits for its next attempt's time
        self.seen = 0  # the highest sequence number ever queued here
        self.later = 0

    def add(self, delivery: Delivery, places: int) -> None:
        """Queue a delivery in its place, or leave it to the store when the lane is long or there are no places."""
        place = self._place(delivery)
        if place <= self.seen:
            self._insert(delivery)
        elif self.later > self.seen or len(self.queue) >= MOST_IN_MEMORY or places <= 0:
            self.later = max(self.later, place)
        else:
            self.queue.append(delivery)
            self.seen = place

    def _insert(self, delivery: Delivery) -> None:
        """Put a replayed delivery back where it stood; one that is there already stays once."""
        for position, other in enumerate(self.queue):
            if other.id == delivery.id:
                return
            if self._place(other) > self._place(delivery):
                self.queue.insert(position, delivery)
                return
        self.queue.append(delivery)

    def next(self) -> Delivery | None:
        """The first delivery that nothing blocks, or None."""
        if not self.blocked:
            return self.queue[0] if self.queue else None
        if self.rule == "wait":
            first = min(map(self._place, self.blocked.values()))
            return self.queue[0] if self.queue and self._place(self.queue[0]) < first else None
        return next((delivery for delivery in self.queue if self._passes(delivery)), None)

    def _passes(self, delivery: Delivery) -> bool:
        """A barrier waits for everything before it; the rest only for its own order number."""
        if delivery.barrier:
            mine = self._place(delivery)
            return all(self._place(other) > mine for other in self.blocked.values()) and self.queue[0] is delivery
        return all(
            self._place(other) > self._place(delivery) or (other.order_key != delivery.order_key and not other.barrier)
            for other in self.blocked.values()
        )

    def _place(self, delivery: Delivery) -> int:
        return delivery.place(self.key)

    def leave(self, delivery: Delivery) -> None:
        """Take a delivery out of the queue: it was delivered, put aside, or changed hands."""
        if self.queue and self.queue[0].id == delivery.id:
            self.queue.popleft()
        else:
            self.drop(delivery.id)

    def drop(self, delivery: int) -> None:
        """Take a delivery out of the queue that somebody else has ended or put aside."""
        if any(other.id == delivery for other in self.queue):
            self.queue = deque(other for other in self.queue if other.id != delivery)

    def block(self, delivery: Delivery) -> None:
        """Remember a held or dead delivery, unless this lane lets everything pass."""
        if self.rule != "pass":
            delivery.raw = None
            self.blocked[delivery.id] = delivery

    def release(self, delivery: int) -> None:
        """Forget a blocking delivery: a person has ended, skipped or replayed it."""
        self.blocked.pop(delivery, None)

    @property
    def empty(self) -> bool:
        """True when nothing of this lane needs memory."""
        return not self.queue and not self.blocked and not self.running and not self.timer and self.later <= self.seen


def stands_still(state: DeliveryState) -> bool:
    """True for the states in which a delivery waits for a person."""
    return state in (DeliveryState.HELD, DeliveryState.DEAD)
