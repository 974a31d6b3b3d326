"""RXA with its ORC, RXR and OBX as Immunization: what was given or refused, when, by whom, and who says so.

A dose is `completed` only where the message says so or, as the v2 standard has it, says nothing against it; a vaccine
code that says that none was given never is.
"""

from __future__ import annotations

from mappings.hl7v2_fhir.datatypes.codes import concept, concepts, status_extension
from mappings.hl7v2_fhir.datatypes.identifiers import entity, pair
from mappings.hl7v2_fhir.datatypes.names import addresses
from mappings.hl7v2_fhir.datatypes.notes import annotated
from mappings.hl7v2_fhir.datatypes.quantities import number, unit_of
from mappings.hl7v2_fhir.datatypes.times import put_date, put_time
from mappings.hl7v2_fhir.ids import JOIN, stable
from mappings.hl7v2_fhir.microbiology import Family
from mappings.hl7v2_fhir.reading import PADDING, Reading, Row, compact
from mappings.hl7v2_fhir.resources.immunization_results import is_reaction, take_results
from mappings.hl7v2_fhir.resources.location import location
from mappings.hl7v2_fhir.resources.observation import Setting, observations
from mappings.hl7v2_fhir.resources.order import Numbers
from mappings.hl7v2_fhir.resources.people import organization, practitioners, producer, role
from mappings.hl7v2_fhir.resources.provenance import put_provenance
from mappings.hl7v2_fhir.structure import Order, Result
from mappings.hl7v2_fhir.vocabulary import OWN, TERMINOLOGY, Json, absent_extension, codes_of, codings_of, own_text

STATUS = codes_of("immunization-status")
ORIGIN = codings_of("vaccination-source")
_NO_NUMBER = "9999"
"""What registries send as the filler number of what has none (CDC Immunization Guide 2.5.1, ORC-3)."""
_UNKNOWN_AMOUNT = "999"
_NONE_GIVEN = "998"
_PARTIAL: Json = {
    "coding": [
        {
            "system": TERMINOLOGY + "immunization-subpotent-reason",
            "code": "partial",
            "display": "Partial Dose",
        }
    ]
}
_FUNCTIONS = {
    "AP": "Administering Provider",
    "OP": "Ordering Provider",
}
_SOURCE = "NIP001"  # the CDC's codes of who says so
_SEEN_ITSELF = "00"


def immunization(reading: Reading, order: Order, numbers: Numbers, setting: Setting, family: Family) -> Json:
    """One RXA: the Immunization, and the Observations of the OBX that it has no element for."""
    row, where = order.row, order.where
    orc = order.orc.row if order.orc else PADDING
    found: Json = {"resourceType": "Immunization", "id": _identity(reading, row, numbers, setting)}
    tags = [made for raw in reading.repetitions(row[29]) if (made := entity(reading, raw))]
    found["identifier"] = [*numbers.all, *_group(reading, orc), *tags]
    _status(reading, found, row, where)
    found["vaccineCode"] = concept(reading, _first(reading, row[5])) or {"extension": [absent_extension("unknown")]}
    found["patient"] = setting.subject or {"extension": [absent_extension("unknown")]}
    found["encounter"] = setting.shared.get("encounter")
    found["extension"] = []
    _times(reading, found, row, orc, where)
    _dose(reading, found, row, where)
    _source(reading, found, row)
    found["location"] = _place(reading, row)
    found["performer"] = _performers(reading, row, orc)
    found["reasonCode"] = concepts(reading, row[19])
    notes = annotated(reading, order.orc.notes) if order.orc else []
    found["note"] = [*found.get("note", ()), *notes, *annotated(reading, order.notes)]
    others = take_results(reading, found, order.results)
    made = reading.put(compact(found))
    if others:
        _observed(reading, made, others, setting)
    put_provenance(reading, orc, made, [])
    return made


def _first(reading: Reading, raw: str) -> str:
    return raw.split(reading.repetition, 1)[0]


def _identity(reading: Reading, row: Row, numbers: Numbers, setting: Setting) -> str:
    """The order's number and the vaccine; without a number the patient, the vaccine and the day."""
    code = reading.part(row[5])
    key: tuple[str, ...] = numbers.key
    if not key or key[1] == _NO_NUMBER:
        whose = (setting.subject or {}).get("reference") or reading.own_name
        key = (reading.sender, whose, reading.part(row[3])[:8])
    return stable("Immunization", reading.numbered(JOIN.join(("RXA", *key, code))))


def _group(reading: Reading, orc: Row) -> list[Json]:
    """ORC-4, a pair of numbers of the group."""
    raw = _first(reading, orc[4])
    return [made for index in (0, 1) if raw and raw != '""' and (made := pair(reading, raw, index, "PGN"))]


def _status(reading: Reading, found: Json, row: Row, where: str) -> None:
    """RXA-21 D, then a code for no vaccine, then RXA-20, then a reason for refusal; nothing of all is a given dose."""
    action, said = reading.part(row[21]), reading.part(row[20])
    reasons = concepts(reading, row[18])
    if reasons:
        found["statusReason"] = reasons[0]
    if action == "D":
        found["status"] = "entered-in-error"
    elif reading.part(row[5]) == _NONE_GIVEN:
        found["status"] = "not-done"
    elif said in STATUS:
        found["status"] = STATUS[said]
    elif not said:
        found["status"] = "not-done" if reasons else "completed"
    else:
        reading.find("status_unknown", where + "-20")
        found["_status"] = status_extension(said, "v2-0322", False)
    if said == "PA":
        found["isSubpotent"] = True
        found["subpotentReason"] = [_PARTIAL]


def _times(reading: Reading, found: Json, row: Row, orc: Row, where: str) -> None:
    """RXA-3, else RXA-4; a later end is kept beside. Recorded by RXA-22, else when it was ordered (ORC-9)."""
    put_time(reading, found, "occurrenceDateTime", row[3] or row[4], where + "-3")
    if "occurrenceDateTime" not in found:  # the element is required, and has a text for what is no date
        found.pop("_occurrenceDateTime", None)
        found["occurrenceString"] = reading.part(row[3]) or reading.part(row[4]) or "unknown"
    end = reading.part(row[4])
    if end and row[3] and end != reading.part(row[3]):
        found["extension"].append(own_text("v2-administration-end", end))
    put_time(reading, found, "recorded", row[22] or orc[9], where + "-22" if row[22] else "ORC-9")


def _dose(reading: Reading, found: Json, row: Row, where: str) -> None:
    """Amount (999 says that it is unknown), lot, expiry, maker."""
    amount = reading.part(row[6])
    value = number(amount)
    if amount and amount != _UNKNOWN_AMOUNT:
        if value is None:
            reading.find("number_invalid", where + "-6")
            found["extension"].append(own_text("v2-number", amount))
        else:
            found["doseQuantity"] = {"value": value, **unit_of(reading, _first(reading, row[7])).quantity}
    found["lotNumber"] = ", ".join(text for raw in reading.repetitions(row[15]) if (text := reading.part(raw)))
    put_date(reading, found, "expirationDate", _first(reading, row[16]), where + "-16")
    found["manufacturer"] = producer(reading, _first(reading, row[17]))
    if form := concept(reading, _first(reading, row[8])):
        found["extension"].append({"url": OWN + "v2-dosage-form", "valueCodeableConcept": form})
    found["extension"] += (
        {"url": OWN + "v2-refusal-reason", "valueCodeableConcept": reason} for reason in concepts(reading, row[18])[1:]
    )


def _source(reading: Reading, found: Json, row: Row) -> None:
    """RXA-9: 00 is the record of who gave it; any other code of NIP001 is history. Other notes are notes."""
    for raw in reading.repetitions(row[9]):
        said = concept(reading, raw)
        parts = reading.texts(raw, 6)
        code = next((parts[at] for at in (0, 3) if parts[at + 2] == _SOURCE), "")
        if said and code:
            found["primarySource"] = found.get("primarySource", True) and code == _SEEN_ITSELF
            if code != _SEEN_ITSELF:
                origin = ORIGIN.get(code)
                codings = [origin, *said["coding"]] if origin else said["coding"]
                found.setdefault("reportOrigin", {**said, "coding": codings})
        elif said and (text := said.get("text") or said["coding"][0]["code"]):
            found.setdefault("note", []).append({"text": text})


def _place(reading: Reading, row: Row) -> Json | None:
    """RXA-27 with RXA-28, else RXA-11 (LA2), whose address begins with its ninth component."""
    if row[27]:
        place, address = location(reading, row[27]), addresses(reading, row[28])[:1]
    else:
        parts = _first(reading, row[11]).split(reading.component)
        place = location(reading, reading.component.join(parts[:8]))
        address = addresses(reading, reading.component.join(parts[8:14]))
    if place and address:
        reading.resources[place["reference"]].setdefault("address", address[0])
    return place


def _performers(reading: Reading, row: Row, orc: Row) -> list[Json]:
    """RXA-10 who gave it; ORC-12 who ordered it, at ORC-21."""
    ordering = practitioners(reading, orc[12])
    if ordering and (facility := organization(reading, orc[21], orc[22])):
        ordering = [role(reading, ordering[0], facility, None, orc[14]), *ordering[1:]]
    people = (
        ("AP", practitioners(reading, row[10])),
        ("OP", ordering),
    )
    return [
        {
            "function": {"coding": [{"system": TERMINOLOGY + "v2-0443", "code": code, "display": _FUNCTIONS[code]}]},
            "actor": person,
        }
        for code, persons in people
        for person in persons
    ]


def _observed(reading: Reading, made: Json, others: list[Result], setting: Setting) -> None:
    """The other OBX; each is part of the vaccination, and a reaction is one of it."""
    scope = reading.scope("Observation", made["reference"])
    found = reading.resources[made["reference"]]
    setting.effective = {
        name.replace("occurrence", "effective"): value for name, value in found.items() if name == "occurrenceDateTime"
    }
    for result, observed in zip(others, observations(reading, others, setting, scope), strict=True):
        reading.add(observed["reference"], {"partOf": [made]})
        if is_reaction(reading, result):
            reaction: Json = {"detail": observed}
            put_time(reading, reaction, "date", result.row[14], f"OBX[{result.number}]-14")
            found.setdefault("reaction", []).append(reaction)
