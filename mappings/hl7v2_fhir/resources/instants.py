"""Points in time of resources that FHIR wants as instants: minutes are enough in HL7 v2, FHIR wants seconds."""

from __future__ import annotations

from datetime import datetime, timedelta

from mappings.hl7v2_fhir.datatypes.times import read_time
from mappings.hl7v2_fhir.reading import Reading
from mappings.hl7v2_fhir.vocabulary import Json, own_text


def moment(reading: Reading, target: Json, name: str, raw: str, where: str) -> bool:
    """Write an instant; a time of less precision than a minute is kept beside it. True when it was written."""
    if not raw or raw == '""':
        return False
    value, fault = reading.times.get(raw) or read_time(reading, raw)
    if "T" in value:
        target[name] = value
        target.pop("_" + name, None)
    if fault:
        reading.find(fault, where)
    if (fault or "T" not in value) and (text := reading.part(raw)):
        target["_" + name] = {"extension": [own_text("v2-time", text)]}
    return "T" in value


def later(instant: str, duration: timedelta) -> str:
    """The instant so much later, with the same offset; "" when the calendar ends before it."""
    try:
        return (datetime.fromisoformat(instant) + duration).isoformat()
    except (OverflowError, ValueError):
        return ""
