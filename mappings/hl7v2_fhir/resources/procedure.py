"""PR1 as Procedure: a period where the segment says how many minutes it took."""

from __future__ import annotations

from datetime import datetime, timedelta

from mappings.hl7v2_fhir.reading import Reading
from mappings.hl7v2_fhir.standing import make, map_named, put_notes
from mappings.hl7v2_fhir.structure import Noted
from mappings.hl7v2_fhir.vocabulary import Json

_LONGEST_DIGITS = 5  # of a number of minutes: two months


def procedure(reading: Reading, pr1: Noted) -> None:
    """Write the Procedure. A role that follows is one of its performers."""
    found = make(reading, pr1, map_named(reading, "PR1", "PR1-Procedure"))
    if found is None:
        return
    if text := reading.part(pr1.row[4]):
        found.setdefault("code", {})["text"] = text
    if pr1.notes:
        put_notes(reading, found, pr1.take_notes())
    _period(found, reading.part(pr1.row[7]))
    reading.around["performed"] = {"reference": f"Procedure/{found['id']}"}


def _period(found: Json, minutes: str) -> None:
    """The time of a beginning with a time of day and whole minutes as a period."""
    start = found.get("performedDateTime", "")
    if "T" not in start or "." in start or not (minutes.isascii() and minutes.isdigit()) or int(minutes) == 0:
        return
    if len(minutes) > _LONGEST_DIGITS:
        return
    end = datetime.fromisoformat(start) + timedelta(minutes=int(minutes))
    found["performedPeriod"] = {"start": found.pop("performedDateTime"), "end": end.isoformat()}
    if "_performedDateTime" in found:
        found["performedPeriod"]["_start"] = found.pop("_performedDateTime")
