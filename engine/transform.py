"""transform: a message's maps and conversion, by the channel, tables and package that are live at the claim.

Invariant: the same message under the same revisions gives the same output, and nothing outside is touched.
"""

from __future__ import annotations

from engine.model import Converted
from engine.ports import ApplyMaps, Conversion, Running, Tables
from engine.wiring import DestinationSpec

CONTENT_TYPES = {"hl7v2": "x-application/hl7-v2+er7", "fhir": "application/fhir+json"}


def transform(
    raw: bytes, running: Running, spec: DestinationSpec, tables: Tables, apply_maps: ApplyMaps, received_at: int
) -> Converted:
    """The bytes to send. A message that no map changed and no conversion names leaves byte for byte as it came.

    Raises:
        Held: the conversion must not go on by itself.
    """
    channel = running.channel
    convert = running.converters.get(spec.name)
    if not channel.maps and convert is None:
        return Converted(raw, CONTENT_TYPES.get(running.format.kind, "application/octet-stream"))
    parsed = running.format.read(raw)
    parsed, findings, revisions = apply_maps(parsed, channel.maps, tables, received_at)
    if convert is None:
        return Converted(parsed.write(), CONTENT_TYPES[running.format.kind], findings, revisions)
    sender = channel.owner if channel.owner != "site" else channel.name
    context = Conversion(
        channel.name, spec.name, channel.source.timezone, sender, received_at, spec.conversion, channel.own_maps
    )
    converted = convert(parsed, tables, context)
    if not findings and not revisions:
        return converted
    return Converted(
        converted.payload,
        converted.content_type,
        (*findings, *converted.findings),
        {**revisions, **converted.tables},
        converted.resources,
    )
