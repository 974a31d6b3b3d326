"""OM1 and OM2, a laboratory's catalogue, as ObservationDefinition: what a test is called, and what its results may be.

A catalogue says what can be found out, so it is a definition of observations; who orders from it finds the code there.
"""

from __future__ import annotations

from mappings.hl7v2_fhir.datatypes.codes import coded
from mappings.hl7v2_fhir.datatypes.quantities import number
from mappings.hl7v2_fhir.ids import stable
from mappings.hl7v2_fhir.reading import Reading, Row
from mappings.hl7v2_fhir.resources.master_file import definition_code, has_ended
from mappings.hl7v2_fhir.standing import map_named, put_notes
from mappings.hl7v2_fhir.structure import Noted
from mappings.hl7v2_fhir.vocabulary import Json, codes_of, own_text

TYPES = codes_of("definition-type")
_CATEGORIES = ((6, "reference"), (7, "critical"), (8, "absolute"))
"""By field of OM2: the kind of interval."""


def definition(reading: Reading, detail: Noted) -> None:
    """OM1."""
    row = detail.row
    code = coded(reading, row[2])
    if code.missing:
        reading.find("code_missing", detail.where + "-2")
    found: Json = {
        "resourceType": "ObservationDefinition",
        "id": stable("ObservationDefinition", reading.sender, code.code, code.system),
        "code": definition_code(reading, row[2]),
    }
    if has_ended(reading):
        found["extension"] = [own_text("v2-entry-ended", "Y")]
    map_named(reading, "OM1", "OM1-ObservationDefinition").fill(reading, row, found, detail.where)
    kinds = [TYPES[kind] for raw in reading.repetitions(row[3]) if (kind := reading.part(raw)) in TYPES]
    if kinds:
        found["permittedDataType"] = list(dict.fromkeys(kinds))
    reading.put(found)
    if detail.notes:
        put_notes(reading, found, detail.take_notes())


def numeric_definition(reading: Reading, detail: Noted) -> None:
    """OM2: unit, precision and intervals of the OM1 before it."""
    found = reading.latest.get("ObservationDefinition")
    if found is None:
        return
    map_named(reading, "OM2", "OM2-ObservationDefinition+").fill(reading, detail.row, found, detail.where)
    intervals = [made for field, kind in _CATEGORIES for made in _intervals(reading, detail.row, field, kind)]
    if intervals:
        found.setdefault("qualifiedInterval", []).extend(intervals)
    if detail.notes:
        put_notes(reading, found, detail.take_notes())


def _intervals(reading: Reading, row: Row, field: int, kind: str) -> list[Json]:
    """RFR: the range (NR), sex, age, gestational age, species, race, conditions. OM2-8 is the range (NR) itself."""
    found = []
    for raw in reading.repetitions(row[field]):
        parts = reading.parts(raw, 7)
        if field == 8:
            bounds, parts = parts[:2], [""] * 7
        else:
            bounds = [*parts[0].split(reading.subcomponent), ""][:2]
        limits = _range(reading, bounds)
        if not limits:
            continue
        made: Json = {"category": kind, "range": limits}
        if sex := {"M": "male", "F": "female"}.get(reading.text(parts[1])):
            made["gender"] = sex
        if age := _range(reading, [*parts[2].split(reading.subcomponent), ""][:2]):
            made["age"] = age
        if weeks := _range(reading, [*parts[3].split(reading.subcomponent), ""][:2]):
            made["gestationalAge"] = weeks
        if condition := " ".join(text for part in parts[4:7] if (text := reading.text(part))):
            made["condition"] = condition
        found.append(made)
    return found


def _range(reading: Reading, bounds: list[str]) -> Json:
    values = [number(reading.text(bound)) for bound in bounds]
    return {name: {"value": value} for name, value in zip(("low", "high"), values, strict=True) if value is not None}
