"""prepare: the attempt that a claim will seal, from the live wiring, or from the output stored before.

Invariant: a resend in doubt sends the stored output byte for byte; rights are checked again before every claim.
"""

from __future__ import annotations

from dataclasses import replace

from engine import observe
from engine.errors import Held
from engine.ids import time_of
from engine.large import beside
from engine.model import Attempt, Converted, Delivery, DeliveryState, Finding, show_id
from engine.ports import Ports, Running
from engine.route import route
from engine.transform import transform
from engine.wiring import DestinationSpec


async def prepare(delivery: Delivery, running: Running, spec: DestinationSpec, ports: Ports) -> Attempt:
    """Convert, or fetch the stored output of an attempt in doubt.

    Raises:
        Held: the agreement was lost, or the conversion must not go on.
    """
    channel = running.channel
    if channel.environment == "production" and not ports.directory.production_allowed(channel.owner):
        raise Held(f"organization {channel.owner} has no active agreement", code="no_agreement")
    if delivery.state is DeliveryState.IN_DOUBT:
        return await _again(delivery, channel.revision, ports)
    raw = delivery.raw
    if raw is None:
        raw = await ports.store.load(delivery.organization, delivery.message)
    received_at = time_of(delivery.message)
    if ports.convert is None:
        converted = await beside(len(raw), transform, raw, running, spec, ports.tables, ports.apply_maps, received_at)
    else:
        converted = await ports.convert(raw, running, spec, received_at)
    if channel.source.validate == "hl7apy" and not delivery.tries:
        converted = replace(converted, findings=(*converted.findings, *await _checked(raw, delivery, running, ports)))
    if spec.validate != "off":
        await _let_pass(converted.payload, spec, ports)
    return _attempt(delivery, converted, channel.revision, ports)


async def _let_pass(payload: bytes, spec: DestinationSpec, ports: Ports) -> None:
    """Hold what a destination must not be sent, and what nobody can check although its channel wants it checked."""
    if ports.check_output is None:
        raise Held("outputs are not checked here", code="output_unchecked")
    await ports.check_output(payload, spec)


async def _checked(raw: bytes, delivery: Delivery, running: Running, ports: Ports) -> list[Finding]:
    """What the check says of a message, told once: with its delivery to the first destination that wants it.

    It only reports: where it fails, that is logged and the message goes on.
    """
    try:
        if _first_wanting(raw, running) != delivery.destination:
            return []
        return [_nonconformant(finding) for finding in await ports.check(raw)]
    except Exception as error:
        observe.event(
            "check_failed",
            channel=delivery.channel,
            destination=delivery.destination,
            delivery=show_id(delivery.id),
            error=type(error).__name__,
        )
        return []


def _first_wanting(raw: bytes, running: Running) -> str:
    """Asked of the wiring that runs now; the check takes so long that asking once more costs nothing beside it."""
    routes = route(running.format.identify(raw), running)
    return next((one.destination for one in routes if one.state is DeliveryState.QUEUED), "")


def _nonconformant(finding: Finding) -> Finding:
    """What the check found, as something for a person to look at: the message goes on all the same."""
    return Finding("nonconformant", finding.where, finding.text, subject=f"{finding.code} {finding.where}")


def _attempt(delivery: Delivery, converted: Converted, revision: str, ports: Ports) -> Attempt:
    tables = " ".join([f"{name}@{revision}" for name, revision in converted.tables.items()])
    return Attempt(
        ports.store.ids.next(),
        delivery,
        delivery.tries + 1,
        ports.store.now(),
        converted.payload,
        converted.content_type,
        revision,
        tables,
        converted.findings,
    )


async def _again(delivery: Delivery, revision: str, ports: Ports) -> Attempt:
    """The stored output of the latest attempt, under the same table revisions."""
    output_id, content_type, tables = await ports.store.sent(delivery)
    output = await ports.store.load(delivery.organization, output_id, "output")
    return Attempt(
        ports.store.ids.next(), delivery, delivery.tries + 1, ports.store.now(), output, content_type, revision,
        tables, repeats=output_id,
    )  # fmt: skip
