"""IN1 and IN2 as Coverage with its payor, policy holder and subscriber; GT1 as guarantor of the account."""

from __future__ import annotations

from mappings.hl7v2_fhir.datatypes.identifiers import extended
from mappings.hl7v2_fhir.datatypes.names import addresses, names, telecoms
from mappings.hl7v2_fhir.datatypes.times import put_date
from mappings.hl7v2_fhir.ids import stable
from mappings.hl7v2_fhir.reading import Reading, Row, compact
from mappings.hl7v2_fhir.resources.account import account_of
from mappings.hl7v2_fhir.resources.people import put_telecom, written_organization
from mappings.hl7v2_fhir.standing import make, map_named, put_notes
from mappings.hl7v2_fhir.structure import Noted
from mappings.hl7v2_fhir.vocabulary import (
    INSURED,
    RELATIONSHIP,
    SEX,
    US_SSN,
    Json,
    absent_extension,
    typed,
)

_SELF = frozenset({"SEL", "SELF", "18"})
"""Who is insured, or guarantees, is the patient: HL7 table 0063, and X12's code for the same."""


def insurance(reading: Reading, in1: Noted) -> None:
    """Write the Coverage with those that it names. A role that follows is no longer a procedure's."""
    reading.around.pop("performed", None)
    row = in1.row
    coverage = make(reading, in1, map_named(reading, "IN1", "IN1-Coverage"))
    if coverage is None:
        return
    if in1.notes:
        put_notes(reading, coverage, in1.take_notes())
    payor = _organization(reading, row[4], row[3], row[5])
    if payor:
        _reachable(reading, payor, row)
    coverage["payor"] = [payor or {"extension": [absent_extension("unknown")]}]
    if holder := _organization(reading, row[11], row[10], ""):
        coverage["policyHolder"] = holder
    if person := _insured(reading, row):
        coverage["subscriber"] = person
        if "policyHolder" not in coverage:
            coverage["policyHolder"] = person


def _organization(reading: Reading, name: str, number: str, address: str) -> Json | None:
    """An organization whose number (CX) stands in a field of its own."""
    repetition = number.split(reading.repetition, 1)[0]
    found = extended(reading, repetition) if repetition else None
    parts = reading.parts(name.split(reading.repetition, 1)[0], 1)
    return written_organization(reading, reading.text(parts[0]), found, addresses(reading, address))


def _reachable(reading: Reading, payor: Json, row: Row) -> None:
    """The insurer's telephone and the person to speak with there."""
    company = reading.resources[payor["reference"]]
    put_telecom(reading, payor, row[7])
    if row[6] and (people := names(reading, row[6])):
        company.setdefault("contact", [{"name": people[0]}])


def _insured(reading: Reading, row: Row) -> Json | None:
    """The patient, or the RelatedPerson that IN1-16 names."""
    relation = reading.part(row[17])
    subject = reading.around.get("patient")
    called = names(reading, row[16]) if row[16] else []
    if relation.upper() in _SELF and subject and _is_patient(reading, subject, called):
        return subject
    if not called:
        return None
    key = stable("RelatedPerson", "IN1", reading.sender, str(subject), reading.text(row[16]), reading.part(row[18]))
    patient_of = subject or {"extension": [absent_extension("unknown")]}
    found: Json = {"resourceType": "RelatedPerson", "id": key, "patient": patient_of, "name": called}
    if relation in RELATIONSHIP:
        found["relationship"] = [{"coding": [RELATIONSHIP[relation]]}]
    if sex := SEX.get(reading.part(row[43]).upper()):
        found["gender"] = sex
    put_date(reading, found, "birthDate", row[18], "IN1-18")
    return reading.put(compact({**found, "address": addresses(reading, row[19])}))


def _is_patient(reading: Reading, subject: Json, called: list[Json]) -> bool:
    """True when who is said to be the patient has the patient's name, or none."""
    known = reading.resources[subject["reference"]].get("name", [])
    return not called or not known or any(_same(one, other) for one in called for other in known)


def _same(one: Json, other: Json) -> bool:
    given, others = one.get("given", [""]), other.get("given", [""])
    return (one.get("family", ""), given[0]) == (other.get("family", ""), others[0])


def insurance_more(reading: Reading, in2: Noted) -> None:
    """Add to the Coverage before it, and to its subscriber where that is somebody else."""
    row = in2.row
    coverage = make(reading, in2, map_named(reading, "IN2", "IN2-Coverage+"))
    if coverage is None:
        return
    if known := INSURED.get(reading.part(row[72])):
        coverage["relationship"] = {"coding": [known]}
    person = reading.resources.get(coverage.get("subscriber", {}).get("reference", ""), {})
    if person.get("resourceType") != "RelatedPerson":
        return
    numbers = [{"type": typed("SS"), "system": US_SSN, "value": text}] if (text := reading.part(row[2])) else []
    if employee := extended(reading, row[1], "EN"):
        numbers.append(employee)
    reached = telecoms(reading, row[63], "home") + telecoms(reading, row[64], "work")
    person.update(compact({"identifier": numbers, "telecom": reached}))


def guarantor(reading: Reading, gt1: Noted) -> None:
    """Write who guarantees, a person or an organization, and name them in the account."""
    row = gt1.row
    party = _guarantor(reading, gt1)
    if party is None:
        return
    if account := account_of(reading):
        account.setdefault("guarantor", []).append({"party": party})
    elif row[21] and not row[3]:
        reading.find("guarantor_without_account", gt1.where)


def _guarantor(reading: Reading, gt1: Noted) -> Json | None:
    row = gt1.row
    subject = reading.around.get("patient")
    called = names(reading, row[3]) if row[3] else []
    if reading.part(row[11]).upper() in _SELF and subject and _is_patient(reading, subject, called):
        return subject
    if not row[3]:
        return _organization(reading, row[21], "", row[5])
    found = make(reading, gt1, map_named(reading, "GT1", "GT1-RelatedPerson"))
    if found is None:
        return None
    if gt1.notes:
        put_notes(reading, found, gt1.take_notes())
    return {"reference": f"RelatedPerson/{found['id']}"}
