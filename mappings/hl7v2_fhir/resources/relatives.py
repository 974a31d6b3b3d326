"""NK1 as RelatedPerson and as contact of the Patient; employers, insurers and the like are contacts only."""

from __future__ import annotations

from mappings.hl7v2_fhir.reading import Reading
from mappings.hl7v2_fhir.standing import make, map_named, put_notes
from mappings.hl7v2_fhir.structure import Noted
from mappings.hl7v2_fhir.vocabulary import Json

_CONTACTS_ONLY = frozenset({"E", "EMR", "F", "I", "S"})
"""Relationships that the official map takes for no person: employers, federal and state agencies, insurers."""

_DETAILS = frozenset({"name", "telecom", "address", "organization"})
"""What a contact must have one of (pat-1)."""


def next_of_kin(reading: Reading, nk1: Noted) -> None:
    """Write the RelatedPerson and add the contact."""
    if reading.part(nk1.row[3]) not in _CONTACTS_ONLY and (reading.part(nk1.row[2]) or reading.part(nk1.row[30])):
        related = make(reading, nk1, map_named(reading, "NK1", "NK1-RelatedPerson"))
        if related and nk1.notes:
            put_notes(reading, related, nk1.take_notes())
    subject = reading.around.get("patient")
    if subject is None:
        return
    found: Json = {}
    map_named(reading, "NK1", "NK1-Patient+").fill(reading, nk1.row, found, nk1.where)
    contact = found.get("contact", [{}])[0]
    if contact.keys() & _DETAILS:
        reading.resources[subject["reference"]].setdefault("contact", []).append(contact)
