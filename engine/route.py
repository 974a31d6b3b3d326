"""route: where does the message go, in which lane, and why?

Invariant: routes are fixed at acceptance; a destination added later never gets old messages.
"""

from __future__ import annotations

from collections.abc import Mapping
from zlib import crc32

from engine.errors import Unroutable
from engine.identify import patient_of
from engine.model import DeliveryState, Identity, Route
from engine.ports import Predicate, Running
from engine.wiring import Channel, DestinationSpec

FREE_LANES = 64
"""Over so many lanes a destination with order = "none" is spread: no order is promised, but lanes stay few."""


def route(identity: Identity, running: Running) -> tuple[Route, ...]:
    """One route for every destination of the channel, wanted or filtered, each with the rule that decided.

    Raises:
        Unroutable: a site's predicate raised.
    """
    channel = running.channel
    order = identity.orders[0] if identity.orders else None
    number = f"{order.value}\n{order.authority}" if order else ""
    return tuple(
        _route(identity, channel, spec, running.predicates.get(spec.name), number) for spec in channel.destinations
    )


def _route(
    identity: Identity, channel: Channel, spec: DestinationSpec, predicate: Predicate | None, number: str
) -> Route:
    wanted, rule = _wants(identity, spec, predicate)
    state = DeliveryState.QUEUED if wanted else DeliveryState.FILTERED
    lane = _lane(identity, channel, spec, number)
    barrier = _barrier(identity, channel) if identity.barrier and spec.order == "patient" else ""
    return Route(spec.name, state, rule, lane, "" if barrier == lane else barrier, number)


def _wants(identity: Identity, spec: DestinationSpec, predicate: Predicate | None) -> tuple[bool, str]:
    if predicate is not None:
        return _asked(identity, spec, predicate), f"when = {spec.when}"
    if not spec.when or isinstance(spec.when, str):
        return True, "no condition"
    return _matches(identity.facts, spec.when)


def _asked(identity: Identity, spec: DestinationSpec, predicate: Predicate) -> bool:
    try:
        return bool(predicate(identity))
    except Exception as error:  # a site's own code may raise anything
        raise Unroutable(
            f"asking the predicate of {spec.name}: it raised {type(error).__name__}", where=f"when = {spec.when}"
        ) from error


def _matches(facts: Mapping[str, tuple[str, ...]], when: Mapping[str, tuple[str, ...]]) -> tuple[bool, str]:
    """Every fact named must have one of its values; the rule names the first that did not."""
    for fact, values in when.items():
        if not any(value in values for value in facts.get(fact, ())):
            return False, f"filtered: {fact} is none of {' '.join(values)}"
    return True, "when " + " and ".join(f"{fact} in {' '.join(values)}" for fact, values in when.items())


def _lane(identity: Identity, channel: Channel, spec: DestinationSpec, number: str) -> str:
    if spec.order == "patient":
        source = channel.source
        return patient_of(identity.patients, source.patient_authority, source.patient_type)
    if spec.order == "order":
        return number
    if spec.order == "channel":
        return ""
    return f"any {crc32(identity.control_id.encode()) % FREE_LANES}"


def _barrier(identity: Identity, channel: Channel) -> str:
    """The lane of the identity that a merge ends: both lanes wait for each other."""
    source = channel.source
    return patient_of(identity.prior_patients, source.patient_authority, source.patient_type)
