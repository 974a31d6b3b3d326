"""PID-18 and MRG-3 as Account: what charges and guarantors belong to. Its state is nothing that a message says."""

from __future__ import annotations

from mappings.hl7v2_fhir.datatypes.identifiers import extended
from mappings.hl7v2_fhir.ids import stable
from mappings.hl7v2_fhir.reading import Reading
from mappings.hl7v2_fhir.vocabulary import Json


def account(
    reading: Reading, raw: str, subject: Json | None, status: str = "unknown", beside: bool = False
) -> Json | None:
    """Write the Account of an account number (CX), `beside` the patient's own; a reference to it."""
    repetition = raw.split(reading.repetition, 1)[0]
    number = extended(reading, repetition, "AN") if repetition else None
    if number is None:
        return None
    key = stable("Account", number["system"], number["value"])
    found: Json = {"resourceType": "Account", "id": key, "identifier": [number], "status": status}
    if subject:
        found["subject"] = [subject]
    return reading.put_beside(found) if beside else reading.put(found)


def account_of(reading: Reading) -> Json | None:
    """The account of the patient of now."""
    found = reading.latest.get("Account")
    subject = reading.around.get("patient")
    return found if found and subject and found.get("subject") == [subject] else None
