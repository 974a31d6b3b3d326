"""Answers that wait for a destination: on channels with answer = "application" the sender hears what it said.

Invariant: the sender waits at most `answer_within`; after that it hears an error and the delivery goes on. Whoever
asks listens before the store is read, so that no outcome falls between the two. What another process carried, that
one tells over the broker; when it is not heard, a look into the store finds it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol, TypeVar

from engine.errors import Reply, StoreUnavailable
from engine.lane import stands_still
from engine.model import MICROSECONDS, Delivery, DeliveryState, Kept, Outcome, Settlement, Verdict, read_id
from engine.ports import Running
from engine.store import backlog

LOOK_SECONDS = 5.0
"""The longest between two looks at a delivery that another process carries, and of whose answer nothing was heard."""
UNTOLD_LOOK_SECONDS = 0.1
"""The same where no broker is between the processes, and nobody can tell."""
T = TypeVar("T")

LATE = "the destination has not answered in time; the message is kept and delivery goes on"


class Deliveries(Protocol):
    """What is asked of the store: the delivery of a message that was received before."""

    shared: bool

    async def read(self, query: Callable[[Any], T]) -> T:
        """Run a query beside what is being committed."""
        ...

    async def delivery_of(self, message: int, destination: str) -> tuple[Delivery, str] | None:
        """The latest delivery of a message to a destination and the reason of its state, or None."""
        ...


class Waiting:
    """One sender that waits for what a destination says of its message."""

    def __init__(self, destination: str) -> None:
        self.destination = destination
        self.outcome: asyncio.Future[Settlement] = asyncio.get_running_loop().create_future()
        self.is_told = asyncio.Event()
        """Another process has said that the answer is in the store."""


class Applications:
    """Who waits for which delivery's outcome. `is_told`: other processes can tell this one."""

    def __init__(self, deliveries: Deliveries, is_told: bool = True) -> None:
        self._deliveries = deliveries
        self._look_seconds = LOOK_SECONDS if is_told else UNTOLD_LOOK_SECONDS
        self._waiting: dict[int, set[Waiting]] = {}  # by message

    async def verdict(self, kept: Kept, running: Running) -> Verdict:
        """What the one answering destination said of a message, or an error when it said nothing in time."""
        name = next(spec.name for spec in running.channel.destinations if spec.answers)
        with self._listening(kept.verdict.message, name) as waiting:
            try:
                delivery, reason = await self._delivery(kept, name)
            except StoreUnavailable as error:
                return _error(kept.verdict, error.code, error.text)
            if delivery is None or delivery.state in (DeliveryState.DELIVERED, DeliveryState.FILTERED):
                return kept.verdict
            if stands_still(delivery.state) or delivery.state is DeliveryState.ENDED:
                return _not_taken(reason, kept.verdict)
            within = running.channel.source.answer_within
            if not self._deliveries.shared:
                return await _wait(waiting.outcome, kept.verdict, within)
            every = min(self._look_seconds, within / MICROSECONDS / 2)
            looking = asyncio.get_running_loop().create_task(self._look(kept.verdict.message, waiting, every))
            try:
                return await _wait(waiting.outcome, kept.verdict, within)
            finally:
                looking.cancel()

    def settled(self, delivery: Delivery, settlement: Settlement) -> None:
        """Wake whoever waits, once the outcome is one that will not change by itself."""
        if not self._waiting or not (settlement.state is DeliveryState.DELIVERED or stands_still(settlement.state)):
            return
        for waiting in self._waiting.get(delivery.message, ()):
            if waiting.destination == delivery.destination and not waiting.outcome.done():
                waiting.outcome.set_result(settlement)

    def told(self, message: str) -> None:
        """Another process says that the answer to a message is in the store: its word is a reason to look, no more."""
        with suppress(ValueError):  # somebody else's word
            for waiting in self._waiting.get(read_id(message), ()):
                waiting.is_told.set()

    async def _look(self, message: int, waiting: Waiting, every: float) -> None:
        """Another process may carry the delivery: look when it tells so, and after a while in any case."""
        outcome = waiting.outcome
        while not outcome.done():
            with suppress(TimeoutError):
                await asyncio.wait_for(waiting.is_told.wait(), every)
            waiting.is_told.clear()
            with suppress(StoreUnavailable):
                found = await self._deliveries.read(lambda c: backlog.delivery_of(c, message, waiting.destination))
                if found is not None and not outcome.done():
                    delivery, reason = found
                    if delivery.state is DeliveryState.DELIVERED or stands_still(delivery.state):
                        outcome.set_result(Settlement(delivery.state, reason, Outcome(reason), 0, 0))

    async def _delivery(self, kept: Kept, name: str) -> tuple[Delivery | None, str]:
        """The delivery whose outcome answers, and the reason of its state; a duplicate's is that of its first."""
        for delivery in kept.deliveries:
            if delivery.destination == name:
                return delivery, ""
        return await self._deliveries.delivery_of(kept.verdict.message, name) or (None, "")

    @contextmanager
    def _listening(self, message: int, destination: str) -> Iterator[Waiting]:
        """A future of one's own for the outcome: who gives up leaves the others waiting."""
        mine = Waiting(destination)
        waiting = self._waiting.setdefault(message, set())
        waiting.add(mine)
        try:
            yield mine
        finally:
            waiting.discard(mine)
            if not waiting:
                self._waiting.pop(message, None)


async def _wait(outcome: asyncio.Future[Settlement], verdict: Verdict, within: int) -> Verdict:
    try:
        settlement = await asyncio.wait_for(outcome, within / MICROSECONDS)
    except TimeoutError:
        return _error(verdict, "answer_late", LATE)
    if settlement.state is DeliveryState.DELIVERED:
        return verdict
    return _not_taken(settlement.reason, verdict)


def _not_taken(reason: str, verdict: Verdict) -> Verdict:
    """A negative outcome in the sender's words: what was rejected there is rejected here."""
    reply = Reply.REJECT if reason[:2] in ("AR", "CR") else Reply.ERROR
    text = "the destination did not take the message; it is kept and a person will see it"
    return Verdict(reply, reason, text, message=verdict.message, at=verdict.at)


def _error(verdict: Verdict, code: str, text: str) -> Verdict:
    return Verdict(Reply.ERROR, code, text, transient=True, message=verdict.message, at=verdict.at)
