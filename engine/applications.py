"""Answers that wait for a destination: on channels with answer = "application" the sender hears what it said.

Invariant: the sender waits at most `answer_within`; after that it hears an error and the delivery goes on.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from engine.errors import Reply, StoreUnavailable
from engine.lane import stands_still
from engine.model import FINAL_DELIVERY_STATES, MICROSECONDS, Delivery, DeliveryState, Kept, Settlement, Verdict
from engine.ports import Running

LATE = "the destination has not answered in time; the message is kept and delivery goes on"


class Deliveries(Protocol):
    """What is asked of the store: the delivery of a message that was received before."""

    async def delivery_of(self, message: int, destination: str) -> tuple[Delivery, str] | None:
        """The latest delivery of a message to a destination and the reason of its state, or None."""
        ...


class Applications:
    """Who waits for which delivery's outcome."""

    def __init__(self, deliveries: Deliveries) -> None:
        self._deliveries = deliveries
        self._waiting: dict[int, asyncio.Future[Settlement]] = {}

    async def verdict(self, kept: Kept, running: Running) -> Verdict:
        """What the one answering destination said of a message, or an error when it said nothing in time."""
        spec = next(spec for spec in running.channel.destinations if spec.answers)
        delivery = next((d for d in kept.deliveries if d.destination == spec.name), None)
        reason = ""
        if delivery is None:  # a duplicate: its first delivery answers
            try:
                delivery, reason = await self._deliveries.delivery_of(kept.verdict.message, spec.name) or (None, "")
            except StoreUnavailable as error:
                return _error(kept.verdict, error.code, error.text)
        if delivery is None or delivery.state in FINAL_DELIVERY_STATES:
            return kept.verdict
        if stands_still(delivery.state):
            return _not_taken(reason, kept.verdict)
        return await self._wait(delivery, kept.verdict, running.channel.source.answer_within)

    def settled(self, delivery: Delivery, settlement: Settlement) -> None:
        """Wake whoever waits, once the outcome is one that will not change by itself."""
        ended = settlement.state is DeliveryState.DELIVERED or stands_still(settlement.state)
        waiting = self._waiting.get(delivery.id) if ended else None
        if waiting is not None and not waiting.done():
            waiting.set_result(settlement)

    async def _wait(self, delivery: Delivery, verdict: Verdict, within: int) -> Verdict:
        waiting = self._waiting.setdefault(delivery.id, asyncio.get_running_loop().create_future())
        try:
            settlement = await asyncio.wait_for(asyncio.shield(waiting), within / MICROSECONDS)
        except TimeoutError:
            return _error(verdict, "answer_late", LATE)
        finally:
            self._waiting.pop(delivery.id, None)
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
