"""Who made a document, who signed it, who keeps it; what DocumentReference has no element for is its Provenance."""

from __future__ import annotations

from mappings.hl7v2_fhir.datatypes.times import instant, put_time
from mappings.hl7v2_fhir.ids import stable
from mappings.hl7v2_fhir.reading import Reading, Row, compact
from mappings.hl7v2_fhir.resources.people import organization, practitioners
from mappings.hl7v2_fhir.vocabulary import TERMINOLOGY, Json, absent_extension, own_text

_SIGNED = 14  # PPN.15, when the document was signed

_ROLES = (
    (11, "provenance-participant-type", "enterer", "Enterer"),
    (22, "provenance-participant-type", "verifier", "Verifier"),
    (23, "v3-ParticipationType", "IRCP", "information recipient"),
)
"""By field of TXA: the role of its people in the Provenance."""


def authors(reading: Reading, row: Row) -> list[Json]:
    """TXA-9 the originators, then TXA-5 who did what the document is about."""
    found: list[Json] = []
    for person in (*practitioners(reading, row[9]), *practitioners(reading, row[5])):
        if person not in found:
            found.append(person)
    return found


def authenticator(reading: Reading, row: Row) -> Json | None:
    """Who signed (TXA-22, with when), else who is to sign (TXA-10)."""
    signed = next(iter(practitioners(reading, row[22])), None)
    if signed is None:
        return next(iter(practitioners(reading, row[10])), None)
    parts = reading.parts(row[22].split(reading.repetition, 1)[0], _SIGNED + 1)
    at: Json = {}
    put_time(reading, at, "time", parts[_SIGNED].replace(reading.subcomponent, ""), "TXA-22")
    time = at.get("time") or reading.text(parts[_SIGNED])
    return {**signed, "extension": [own_text("v2-authentication-time", time)]} if time else signed


def custodian(reading: Reading, raw: str) -> Json | None:
    """TXA-27, the facility (HD) as an organization."""
    parts = raw.split(reading.repetition, 1)[0].split(reading.component)
    return organization(reading, next((part for part in parts if part), "")) if raw != '""' else None


def provenance(reading: Reading, row: Row, document: Json, where: str) -> None:
    """TXA-11, 22, 23 and why it changed (TXA-21), where one of them says something."""
    agents = [
        {"type": {"coding": [{"system": TERMINOLOGY + system, "code": code, "display": display}]}, "who": person}
        for field, system, code, display in _ROLES
        for person in practitioners(reading, row[field])
    ]
    reason = reading.text(row[21])
    if not agents and not reason:
        return
    made: Json = {"resourceType": "Provenance", "id": stable("Provenance", document["reference"]), "target": [document]}
    last = next(reversed(reading.repetitions(row[8])), "")
    recorded = next((time for raw in (last, row[7], reading.header[7]) if (time := instant(reading, raw))), "")
    made["recorded"] = recorded
    if not recorded:
        made["_recorded"] = {"extension": [absent_extension("unknown")]}
    made["reason"] = [{"text": reason}] if reason else []
    made["agent"] = agents or [{"who": {"extension": [absent_extension("unknown")]}}]
    reading.put(compact(made))
