"""The entries of a master file: staff (STF, PRA) and places (LOC). MFE says whether an entry is still in use."""

from __future__ import annotations

from mappings.hl7v2_fhir.datatypes.codes import concept
from mappings.hl7v2_fhir.datatypes.identifiers import extended
from mappings.hl7v2_fhir.datatypes.names import addresses, telecoms
from mappings.hl7v2_fhir.ids import stable
from mappings.hl7v2_fhir.reading import Reading, Row
from mappings.hl7v2_fhir.resources.location import location
from mappings.hl7v2_fhir.resources.people import organization
from mappings.hl7v2_fhir.standing import map_named, put_notes
from mappings.hl7v2_fhir.structure import Noted
from mappings.hl7v2_fhir.vocabulary import Json, absent_extension

_ACTION = "entry"
"""Where the reading keeps MFE-1 for the segments of the entry."""
_ENDED = frozenset({"MDL", "MDC"})  # deleted, deactivated


def entry(reading: Reading, detail: Noted) -> None:
    """MFE: what the sender did with the entry whose segments follow."""
    reading.around[_ACTION] = {"action": reading.part(detail.row[1])}


def has_ended(reading: Reading) -> bool:
    """True for an entry that the sender deleted or deactivated."""
    return reading.around.get(_ACTION, {}).get("action", "") in _ENDED


def staff(reading: Reading, detail: Noted) -> None:
    """STF: the Practitioner, under the id that other messages have for the first number, and the role."""
    row = detail.row
    numbers = [made for raw in reading.repetitions(row[2]) if (made := extended(reading, raw))]
    own = extended(reading, row[1].split(reading.component, 1)[0])
    if own and own["value"] not in {number["value"] for number in numbers}:
        numbers.append(own)
    if not numbers:
        reading.find("code_missing", detail.where + "-1")
        return
    found: Json = {
        "resourceType": "Practitioner",
        "id": stable("Practitioner", numbers[0]["system"], numbers[0]["value"]),
        "identifier": numbers,
    }
    _active(reading, found, row[7])
    map_named(reading, "STF", "STF-Practitioner").fill(reading, row, found, detail.where)
    person = reading.put(found)
    if detail.notes:
        put_notes(reading, found, detail.take_notes())
    _role(reading, detail, person, found.get("active"))


def _active(reading: Reading, found: Json, raw: str) -> None:
    said = {"A": True, "I": False}.get(reading.part(raw))
    if has_ended(reading):
        found["active"] = False
    elif said is not None:
        found["active"] = said


def _role(reading: Reading, detail: Noted, person: Json, active: bool | None) -> None:
    """What the person is at the sender: one role, which PRA goes on with."""
    found: Json = {
        "resourceType": "PractitionerRole",
        "id": stable("PractitionerRole", reading.sender, "STF", person["reference"]),
        "practitioner": person,
    }
    if active is not None:
        found["active"] = active
    map_named(reading, "STF", "STF-PractitionerRole").fill(reading, detail.row, found, detail.where)
    reading.put(found)


def place(reading: Reading, detail: Noted) -> None:
    """LOC: the Location that other messages know by the same name, with what only the master file says."""
    row = detail.row
    made = location(reading, row[1])
    if made is None:
        return
    found = reading.resources[made["reference"]]
    found["status"] = "inactive" if has_ended(reading) else "active"
    if text := reading.text(row[2]):
        found["description"] = text
    kinds = [kind for raw in reading.repetitions(row[3]) if (kind := concept(reading, raw))]
    if kinds:
        found["type"] = kinds
    if where := addresses(reading, row[5])[:1]:
        found["address"] = where[0]
    if phones := telecoms(reading, row[6], "work"):
        found["telecom"] = phones
    if owner := organization(reading, row[4]):
        found["managingOrganization"] = owner
    if detail.notes:
        put_notes(reading, found, detail.take_notes())


def qualification(reading: Reading, detail: Noted) -> None:
    """PRA: numbers and specialties of the person of the STF before it; without one it says nothing of anybody."""
    person, role = reading.latest.get("Practitioner"), reading.latest.get("PractitionerRole")
    if person is None or role is None:
        return
    for name, resource in (("PRA-Practitioner+", person), ("PRA-PractitionerRole+", role)):
        map_named(reading, "PRA", name).fill(reading, detail.row, resource, detail.where)
    known = {number["value"] for number in person["identifier"]}
    person["identifier"] += (number for number in _numbers(reading, detail.row) if number["value"] not in known)
    if detail.notes:
        put_notes(reading, person, detail.take_notes())


def _numbers(reading: Reading, row: Row) -> list[Json]:
    """PRA-6 (PLN): number, type, state."""
    found = []
    for raw in reading.repetitions(row[6]):
        value, kind, state = reading.texts(raw, 3)[:3]
        if value:
            number: Json = {"system": reading.dialect.authority(state or kind, "", ""), "value": value}
            found.append({"type": {"text": kind}, **number} if kind else number)
    return found


def definition_code(reading: Reading, raw: str) -> Json:
    """OM1-2, which an ObservationDefinition requires."""
    return concept(reading, raw.split(reading.repetition, 1)[0]) or {"extension": [absent_extension("unknown")]}
