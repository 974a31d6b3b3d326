"""Where a transaction comes from: MessageHeader, Provenance of all that is written, and the message as it came.

Written only where the destination's `conversion` asks for it (`provenance`, `original`). What was sent is kept as the
bytes that arrived, before the channel's maps.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

from engine.formats.hl7v2 import Message
from mappings.hl7v2_fhir.datatypes.tables import suggested
from mappings.hl7v2_fhir.datatypes.times import instant, put_time
from mappings.hl7v2_fhir.ids import stable
from mappings.hl7v2_fhir.reading import PADDING, Reading, Row
from mappings.hl7v2_fhir.resources.header import message_header
from mappings.hl7v2_fhir.resources.location import location
from mappings.hl7v2_fhir.resources.people import organization, practitioners, written_organization
from mappings.hl7v2_fhir.vocabulary import TERMINOLOGY, Json, absent_extension

CONTENT_TYPE = "x-application/hl7-v2+er7"
_URI = "urn:ietf:rfc:3986"
_MICROSECONDS = 1_000_000


def origin(reading: Reading, message: Message, options: Mapping[str, Any]) -> None:
    """Write what the destination asks for; nothing as a rule."""
    kept = _original(reading, message, str(options["original"])) if options.get("original") else None
    if not options.get("provenance"):
        return
    targets = [{"reference": url} for url in reading.resources if not url.startswith(("Binary/", "Provenance/"))]
    sender = _facility(reading, reading.header[4])
    header = _header(reading, sender)
    _source(reading, [*targets, header], sender, kept)
    for name, row in zip(message.names, message.rows, strict=True):
        if name == "EVN":
            _event(reading, row + PADDING, header, sender)


def _original(reading: Reading, message: Message, kind: str) -> Json:
    """The message as it came, as Binary or inside a DocumentReference; a reference to it."""
    data = base64.b64encode(message.raw).decode()
    key = stable(kind, *_named(reading), blake2b(message.raw, digest_size=16).hexdigest())
    if kind == "Binary":
        return reading.put({"resourceType": "Binary", "id": key, "contentType": CONTENT_TYPE, "data": data})
    found: Json = {"resourceType": "DocumentReference", "id": key, "status": "current"}
    subjects = [url for url in reading.resources if url.startswith("Patient/")]
    if len(subjects) == 1:
        found["subject"] = {"reference": subjects[0]}
    attachment: Json = {"contentType": CONTENT_TYPE, "data": data, "title": "HL7 v2 message"}
    if sent := instant(reading, reading.header[7]):
        found["date"] = sent
        attachment["creation"] = sent
    found["content"] = [{"attachment": attachment}]
    return reading.put_beside(found)


def _named(reading: Reading) -> tuple[str, str]:
    return reading.sender, reading.own_name


def _header(reading: Reading, sender: Json | None) -> Json:
    """The MessageHeader with the organizations at both ends."""
    made = message_header(reading)
    found = reading.resources[made["reference"]]
    header = reading.header
    if sender:
        found["sender"] = sender
    if responsible := organization(reading, header[22]):
        found["responsible"] = responsible
    if receiver := _facility(reading, header[6]) or organization(reading, header[23]):
        ends = found.setdefault("destination", [{"_endpoint": {"extension": [absent_extension("unknown")]}}])
        ends[0]["receiver"] = receiver
    return made


def _facility(reading: Reading, raw: str) -> Json | None:
    """A facility (HD) as Organization."""
    name, universal, kind = reading.texts(raw.split(reading.repetition, 1)[0], 3)[:3]
    number = {"system": _URI, "value": reading.dialect.authority("", universal, kind)} if universal else None
    return written_organization(reading, name, number, [])


def _source(reading: Reading, targets: list[Json], sender: Json | None, kept: Json | None) -> None:
    """Who sent it, when, and what it was made of."""
    found: Json = {"resourceType": "Provenance", "id": stable("Provenance", "MSH", *_named(reading)), "target": targets}
    _recorded(reading, found, reading.header[7])
    kind = "^".join(part for part in reading.texts(reading.header[9], 3)[:3] if part)
    found["activity"] = {"text": f"message - {kind}"}
    found["agent"] = [_agent("author", "Author", sender)]
    if kept:
        found["entity"] = [{"role": "source", "what": kept}]
    reading.put_beside(found)


def _event(reading: Reading, evn: Row, header: Json, sender: Json | None) -> None:
    """EVN: what happened, when, why, by whom and where."""
    found: Json = {
        "resourceType": "Provenance",
        "id": stable("Provenance", "EVN", *_named(reading)),
        "target": [header],
    }
    _recorded(reading, found, evn[2])
    put_time(reading, found, "occurredDateTime", evn[6], "EVN-6")
    if reasons := suggested(reading, evn[4], "0062"):
        found["reason"] = reasons
    found["activity"] = {"text": "event - " + "^".join(reading.texts(reading.header[9], 2)[:2])}
    operators = practitioners(reading, evn[5])
    found["agent"] = [_agent("enterer", "Enterer", who) for who in operators] or [_agent("enterer", "Enterer", sender)]
    if evn[7] and (place := location(reading, evn[7])):
        found["location"] = {"reference": place["reference"]}
    reading.put_beside(found)


def _recorded(reading: Reading, found: Json, raw: str) -> None:
    """The time that was sent where it is an instant, else when the message was received."""
    found["recorded"] = instant(reading, raw) or instant(reading, reading.header[7]) or _received(reading)


def _received(reading: Reading) -> str:
    at = datetime.fromtimestamp(reading.context.received_at // _MICROSECONDS, UTC)
    return at.isoformat()


def _agent(code: str, display: str, who: Json | None) -> Json:
    kind = {"system": TERMINOLOGY + "provenance-participant-type", "code": code, "display": display}
    return {"type": {"coding": [kind]}, "who": who or {"extension": [absent_extension("unknown")]}}
