"""VAR: a variance as a note of the problem, goal, pathway or order before it."""

from __future__ import annotations

from mappings.hl7v2_fhir.datatypes.times import put_time
from mappings.hl7v2_fhir.reading import Reading
from mappings.hl7v2_fhir.resources.people import practitioners
from mappings.hl7v2_fhir.structure import Noted
from mappings.hl7v2_fhir.vocabulary import Json

_NOTED = frozenset({"CarePlan", "Condition", "Goal", "ServiceRequest"})


def variance(reading: Reading, var: Noted) -> None:
    """Add the note: its text, its author and its time."""
    row = var.row
    about = next((found for found in reversed(reading.resources.values()) if found["resourceType"] in _NOTED), None)
    text = "\n".join(reading.exact(part).strip() for part in reading.repetitions(row[6]))
    if about is None or not text:
        return
    note: Json = {}
    authors = practitioners(reading, row[4])
    if authors and "reference" in authors[0]:
        note["authorReference"] = authors[0]
    elif authors:
        note["authorString"] = authors[0]["display"]
    put_time(reading, note, "time", row[3] or row[2], f"{var.where}-3")
    about.setdefault("note", []).append({**note, "text": text})
