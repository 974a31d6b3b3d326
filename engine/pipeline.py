"""THE PATH: `accept` takes a message in, `carry` takes it out. Everything else is one step of these two.

    bytes -> accept: admit -> identify -> authorize -> route -> keep = ONE COMMIT -> the answer leaves
    wake  -> carry:  transform -> claim = ONE COMMIT -> deliver -> settle = ONE COMMIT

Invariant: nothing is answered positively before it is durable, and nothing that was is ever unaccounted for.
"""

from __future__ import annotations

from asyncio import Future
from random import random

from engine import observe
from engine.admit import admit
from engine.authorize import authorize
from engine.deliver import deliver
from engine.errors import Held, InterlockError, Refused, RowRefused, StoreUnavailable, Unreadable, Unroutable, Weight
from engine.identify import identify
from engine.large import beside
from engine.model import (
    Answer,
    Arrival,
    Attempt,
    Delivery,
    DeliveryState,
    Finding,
    Identity,
    MessageState,
    Outcome,
    Receipt,
    Settlement,
)
from engine.ports import Destination, Ports, Running
from engine.prepare import prepare
from engine.receipts import answer, held, refused, routed, unkept
from engine.route import route
from engine.settle import settle
from engine.values import value
from engine.wiring import DestinationSpec


async def accept(raw: bytes, arrival: Arrival, running: Running, ports: Ports) -> Answer:
    """Receive half: pure steps, one commit, then the answer. Whatever goes wrong is an answer, too."""
    identity = None
    number = ports.store.ids.next()
    try:
        identity, receipt = await beside(len(raw) * running.effort, receive, raw, arrival, number, running, ports)
        kept = await ports.store.keep(receipt)  # bytes, keys, answer, deliveries, events: decides duplicates
    except InterlockError as error:
        return answer(unkept(error, arrival), identity, raw, running)
    observe.received(arrival.channel, kept.state, receipt.size)
    for delivery in kept.deliveries:
        if delivery.state is DeliveryState.QUEUED:
            ports.lanes.offer(delivery)  # a hint: the sweeper finds them anyway
    verdict = kept.verdict
    if kept.state in _ROUTED and running.channel.source.answer == "application":
        verdict = await ports.applications.verdict(kept, running)
    return answer(verdict, identity, raw, running)


def receive(
    raw: bytes, arrival: Arrival, number: int, running: Running, ports: Ports
) -> tuple[Identity | None, Receipt]:
    """The pure steps: what a message says of itself, and what is to be kept of it.

    Raises:
        StoreUnavailable: there is no room: nothing can be kept, so nothing is.
    """
    identity = None
    try:
        admit(len(raw), running, ports.directory, ports.room)
        identity = identify(raw, running)
        authorize(identity, running)
        return identity, routed(raw, arrival, number, identity, route(identity, running), running)
    except Refused as error:
        return identity, refused(raw, arrival, number, error, running)
    except (Unreadable, Unroutable) as error:
        return identity, held(raw, arrival, number, identity, error, running)


_ROUTED = frozenset({MessageState.ACCEPTED, MessageState.DUPLICATE})


@value
class Carried:
    """What became of a delivery, and the commit that makes it durable."""

    delivery: Delivery
    settlement: Settlement
    durable: Future[bool]
    attempt: Attempt | None = None  # None: it was put aside before anything was sent


async def carry(
    delivery: Delivery, running: Running, spec: DestinationSpec, destination: Destination, ports: Ports
) -> Carried | None:
    """Send half: the output is sealed with the claim before the first byte leaves; `settle` is pure.

    None when the delivery changed hands before it was claimed. Raises `StoreUnavailable`: nothing was sent.
    """
    try:
        attempt = await prepare(delivery, running, spec, ports)  # transform; in doubt: the stored output again
    except StoreUnavailable:  # what was stored cannot be read now: later
        raise
    except Held as error:
        return _put_aside(delivery, DeliveryState.HELD, error.code, ports, error.findings)
    except Exception as error:  # a converter may raise anything: its type is told, its values never
        observe.converter_failed(delivery, error)
        return _put_aside(delivery, DeliveryState.DEAD, "converter_failed", ports)
    try:
        if not await ports.store.claim(attempt):
            return None
    except RowRefused as error:  # this output can never be stored, so it is never sent
        return _put_aside(delivery, DeliveryState.DEAD, error.code, ports)
    try:
        outcome = await deliver(attempt, destination, spec)
    except Exception as error:  # a connector may raise anything, too, and bytes may have left
        observe.connector_failed(delivery, error)
        outcome = Outcome("connector_failed", Weight.AMBIGUOUS)
    settlement = settle(outcome, delivery, spec, ports.store.now(), random())
    observe.settled(delivery, settlement)
    durable = ports.store.settle(attempt, settlement)  # commits with the lane's next claim
    return Carried(delivery, settlement, durable, attempt)


def _put_aside(
    delivery: Delivery, state: DeliveryState, code: str, ports: Ports, findings: tuple[Finding, ...] = ()
) -> Carried:
    settlement = Settlement(state, code, Outcome(code), ports.store.now(), delivery.attempts)
    observe.settled(delivery, settlement)
    return Carried(delivery, settlement, ports.store.put_aside(delivery, state, code, findings))
