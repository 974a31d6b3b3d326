"""DG1 as Condition and as diagnosis of the Encounter. One Condition is one code, in one use, at one visit."""

from __future__ import annotations

from mappings.hl7v2_fhir.datatypes.quantities import whole
from mappings.hl7v2_fhir.datatypes.tables import suggested
from mappings.hl7v2_fhir.ids import JOIN, stable
from mappings.hl7v2_fhir.reading import Reading, Row
from mappings.hl7v2_fhir.standing import map_named, put_notes
from mappings.hl7v2_fhir.structure import Noted
from mappings.hl7v2_fhir.vocabulary import DIAGNOSIS_ROLE, Json


def diagnosis(reading: Reading, dg1: Noted) -> None:
    """Write the Condition and add it to the Encounter, from which a deleted diagnosis is gone."""
    row = dg1.row
    condition: Json = {"resourceType": "Condition", "id": _identity(reading, row)}
    map_named(reading, "DG1", "DG1-Condition").fill(reading, row, condition, dg1.where)
    if text := reading.part(row[4]):
        condition.setdefault("code", {})["text"] = text
    if "code" not in condition and "identifier" not in condition:
        reading.find("code_missing", dg1.where + "-3")
        return
    if reading.part(row[21]) == "D":
        condition["category"] = condition["category"][:1]
    _coding_method(reading, row, condition)
    if dg1.notes:
        put_notes(reading, condition, dg1.take_notes())
    made = reading.put(condition)
    seen = reading.around.get("encounter")
    if seen is not None and reading.part(row[21]) != "D":
        reading.resources[seen["reference"]].setdefault("diagnosis", []).append(_use(reading, row, made))


def _identity(reading: Reading, row: Row) -> str:
    whose = reading.around.get("patient", {}).get("reference") or reading.own_name
    if number := reading.part(row[20]):
        return stable("Condition", reading.numbered(JOIN.join(("DG1", reading.sender, whose, number))))
    visit = reading.around.get("encounter", {}).get("reference", "")
    code = reading.texts(row[3], 3)
    said = (code[0] or code[1] or reading.text(row[4]), code[2] or reading.part(row[2]), reading.part(row[6]))
    return stable("Condition", reading.numbered(JOIN.join(("DG1", reading.sender, whose, visit, *said))))


def _coding_method(reading: Reading, row: Row, condition: Json) -> None:
    """DG1-2, the coding system of a code that names none; withdrawn in 2.3, and still sent."""
    method = reading.part(row[2])
    coding = condition.get("code", {}).get("coding", [{"system": ""}])[0]
    if method and "system" not in coding:
        condition["code"]["coding"][0] = {"system": reading.dialect.code_system(method), **coding}


def _use(reading: Reading, row: Row, condition: Json) -> Json:
    found: Json = {"condition": condition}
    if said := suggested(reading, row[6], "0052"):
        known = DIAGNOSIS_ROLE.get(reading.part(row[6]))
        found["use"] = {**said[0], "coding": [known, *said[0].get("coding", ())]} if known else said[0]
    rank = reading.part(row[15])
    if number := whole(rank, 1):
        found["rank"] = number
    return found
