"""NTE as Annotation: the lines of one comment as one text, in their order, none left out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter

from mappings.hl7v2_fhir.datatypes.codes import concept
from mappings.hl7v2_fhir.reading import Reading, Row
from mappings.hl7v2_fhir.vocabulary import STANDARD, Json

_SOURCE_AND_TYPE = itemgetter(2, 4)


def annotated(reading: Reading, notes: Sequence[Row]) -> list[Json]:
    """The notes of one segment. Lines of one source and type (NTE-2, NTE-4) that follow each other are one comment."""
    found: list[Json] = []
    if not notes:
        return found
    for (_, kind), rows in groupby(notes, key=_SOURCE_AND_TYPE):
        text = "\n".join(note_text(reading, row[3]) for row in rows)
        if not text.strip():
            continue
        note: Json = {"text": text.rstrip()}
        if said := concept(reading, kind):
            note = {"extension": [{"url": STANDARD + "annotationType", "valueCodeableConcept": said}], **note}
        found.append(note)
    return found


def note_text(reading: Reading, raw: str) -> str:
    """One comment field: its repetitions as lines."""
    if not raw or raw == '""':
        return ""
    return "\n".join(reading.exact(part) for part in raw.split(reading.repetition))
