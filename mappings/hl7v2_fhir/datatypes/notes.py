"""NTE as Annotation: the lines of one comment as one text, in their order, none left out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter

from mappings.hl7v2_fhir.datatypes.codes import concept
from mappings.hl7v2_fhir.datatypes.times import put_time
from mappings.hl7v2_fhir.reading import Reading, Row
from mappings.hl7v2_fhir.resources.people import practitioners
from mappings.hl7v2_fhir.vocabulary import OWN, STANDARD, Json, own_text

_SAID_ALIKE = itemgetter(2, 4, 5, 6)
_REST = itemgetter(7, 8, 9)


def annotated(reading: Reading, notes: Sequence[Row]) -> list[Json]:
    """The notes of one segment. Lines of one source, type, author and time that follow each other are one comment."""
    found: list[Json] = []
    if not notes:
        return found
    for (_, kind, author, time), group in groupby(notes, key=_SAID_ALIKE):
        rows = list(group)
        text = "\n".join(note_text(reading, row[3]) for row in rows)
        note: Json = {"text": text.rstrip()} if text.strip() else {}
        if any(_REST(rows[0])):
            _rest(reading, note, rows[0])
        if "text" not in note:
            continue
        if said := concept(reading, kind):
            kinds = {"url": STANDARD + "annotationType", "valueCodeableConcept": said}
            note = {"extension": [kinds, *note.pop("extension", ())], **note}
        if author and (people := practitioners(reading, author)):
            note["authorReference"] = people[0]
        if time:
            put_time(reading, note, "time", time, "NTE-6")
        found.append(note)
    return found


def note_text(reading: Reading, raw: str) -> str:
    """One comment field: its repetitions as lines."""
    if not raw or raw == '""':
        return ""
    return "\n".join(reading.exact(part) for part in raw.split(reading.repetition))


def _rest(reading: Reading, note: Json, row: Row) -> None:
    """NTE-7 and 8, from when to when a comment holds, and NTE-9, its code, which is the text where there is none."""
    said = []
    if coded := concept(reading, row[9]):
        note.setdefault("text", coded.get("text") or coded["coding"][0]["code"])
        said.append({"url": OWN + "v2-coded-comment", "valueCodeableConcept": coded})
    if period := " - ".join(reading.text(raw) for raw in row[7:9] if raw):
        said.append(own_text("v2-comment-period", period))
    if said:
        note["extension"] = said
