"""Segments that stand for themselves: each with a map makes a resource, or adds to the latest one of its type.

A new segment is a table in maps/ and a golden pair; what a table cannot say is a builder in `BUILDERS` of messages.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from mappings.hl7v2_fhir.datatypes.notes import annotated
from mappings.hl7v2_fhir.ids import JOIN, stable
from mappings.hl7v2_fhir.reading import Reading, Row
from mappings.hl7v2_fhir.segment_maps import SegmentMap, taken
from mappings.hl7v2_fhir.structure import Noted
from mappings.hl7v2_fhir.vocabulary import STANDARD, Json

WITH_NOTE = frozenset({
    "AllergyIntolerance", "CarePlan", "ChargeItem", "Condition", "Device", "FamilyMemberHistory", "Goal",
    "Immunization",
    "MedicationAdministration", "MedicationDispense", "MedicationRequest", "MedicationStatement", "Observation",
    "Procedure", "ServiceRequest", "Specimen", "Task",
})  # fmt: skip
"""The resources of R4 that have an element `note`; the others get the extension of that name."""

Builder = Callable[[Reading, Noted], None]
"""Makes of a segment what a map cannot say."""


def stand(
    reading: Reading,
    details: Sequence[Noted],
    maps: Mapping[str, Sequence[SegmentMap]],
    builders: Mapping[str, Builder],
) -> list[Row]:
    """Make what the segments say, in their order; the notes of those that make nothing."""
    left: list[Row] = []
    for detail in details:
        if build := builders.get(detail.name):
            build(reading, detail)
            left += detail.notes
            if reading.more:
                add_more(reading, detail)
        elif not _mapped(reading, detail, maps.get(detail.name, ())):
            left += detail.notes
    return left


def _mapped(reading: Reading, detail: Noted, maps: Sequence[SegmentMap]) -> bool:
    """True when a map made something of the segment; its notes stay with the first thing."""
    made = [found for one in maps if (found := make(reading, detail, one)) is not None]
    if made and detail.notes:
        put_notes(reading, made[0], detail.notes)
    return bool(made)


def add_more(reading: Reading, detail: Noted) -> None:
    """What a channel's own maps add where a builder has made what the segment says."""
    for one in reading.more.get(detail.name, ()):
        make(reading, detail, one)


def make(reading: Reading, detail: Noted, one: SegmentMap) -> Json | None:
    """The resource that a map makes of a segment or adds to; None when the segment says nothing that it maps."""
    row = detail.row
    if one.documents or not any(row[field] and row[field] != '""' for field in one.fields):
        return None
    if one.adds:
        resource = reading.latest.get(one.resource)
        if resource is not None:
            one.fill(reading, row, resource, detail.where)
        return resource
    resource = {"resourceType": one.resource, "id": identity(reading, one, row)}
    one.fill(reading, row, resource, detail.where)
    reading.put(resource)
    return resource


def map_named(reading: Reading, segment: str, name: str) -> SegmentMap:
    """One map of this conversion by its name: what a builder leaves to a table."""
    found: SegmentMap = next(one for one in reading.maps[segment] if one.name == name)
    return found


def identity(reading: Reading, one: SegmentMap, row: Row) -> str:
    """The id: of the patient and the map's key fields, else of all that the segment says."""
    for fields in one.keys:
        key = [reading.text(taken(reading, row, *field)) for field in fields]
        if any(key):
            break
    else:
        key = [reading.text(row[field]) for field in sorted(one.fields)]
    whose = reading.around.get("patient", {}).get("reference") or reading.own_name
    return stable(one.resource, reading.numbered(JOIN.join((one.name, reading.sender, whose, *key))))


def put_notes(reading: Reading, resource: Json, rows: Sequence[Row]) -> None:
    """Add notes to a resource, in its element or, where it has none, in the extension."""
    notes = annotated(reading, rows)
    if not notes:
        return
    if resource["resourceType"] in WITH_NOTE:
        resource.setdefault("note", []).extend(notes)
    else:
        extensions = resource.setdefault("extension", [])
        extensions += ({"url": STANDARD + "note", "valueAnnotation": note} for note in notes)
