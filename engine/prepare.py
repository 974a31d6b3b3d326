"""prepare: the attempt that a claim will seal, from the live wiring, or from the output stored before.

Invariant: a resend in doubt sends the stored output byte for byte; rights are checked again before every claim.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from engine.errors import Held
from engine.ids import time_of
from engine.model import Attempt, Converted, Delivery, DeliveryState, Finding
from engine.ports import Ports, Running
from engine.transform import transform
from engine.wiring import DestinationSpec

LARGE_BYTES = 256 * 1024
"""A message above this is converted in a thread, so that nobody waits behind it."""


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
    if len(raw) > LARGE_BYTES:
        converted = await asyncio.to_thread(transform, raw, running, spec, ports.tables, ports.apply_maps, received_at)
    else:
        converted = transform(raw, running, spec, ports.tables, ports.apply_maps, received_at)
    if channel.source.validate and spec is channel.destinations[0]:
        findings = await ports.check(raw)
        converted = replace(converted, findings=(*converted.findings, *map(_nonconformant, findings)))
    return _attempt(delivery, converted, channel.revision, ports)


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
