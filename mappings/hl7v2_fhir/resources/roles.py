"""ROL, PRT and PRD: who has which part. It goes to what the segment follows: patient, visit, procedure or referral.

A primary care provider is the patient's; another role is the procedure's before it, else the visit's, else one of the
patient's care team. A role that is deleted is left out: what is written says who has a part now.
"""

from __future__ import annotations

from mappings.hl7v2_fhir.datatypes.identifiers import entity, identifier
from mappings.hl7v2_fhir.datatypes.names import addresses, names, shown, telecoms
from mappings.hl7v2_fhir.datatypes.tables import suggested
from mappings.hl7v2_fhir.datatypes.times import put_period
from mappings.hl7v2_fhir.ids import stable
from mappings.hl7v2_fhir.reading import Reading, Row
from mappings.hl7v2_fhir.resources.location import location
from mappings.hl7v2_fhir.resources.people import (
    not_at_home,
    organization,
    practitioner,
    practitioners,
    put_telecom,
    role,
)
from mappings.hl7v2_fhir.structure import Noted
from mappings.hl7v2_fhir.vocabulary import Json

_DELETED = frozenset({"DE", "D", "UN"})
_PRIMARY = frozenset({"PP", "FHCP"})


def rol(reading: Reading, noted: Noted) -> None:
    """ROL."""
    row = noted.row
    if reading.part(row[2]) in _DELETED:
        return
    roles = suggested(reading, row[3], "0443")
    for person in practitioners(reading, row[4]):
        found = _in_place(reading, person, row, roles, 14, 12, 13, 9)
        _address(reading, person, row[11])
        number = entity(reading, row[1]) if row[1] else None
        if number and found is not person:
            reading.resources[found["reference"]].setdefault("identifier", [number])
        _attach(reading, found, roles, row[5], row[6], f"{noted.where}-5")


def prt(reading: Reading, noted: Noted) -> None:
    """PRT of a patient or visit; in an order or result it says again what their own fields say."""
    row = noted.row
    if "order" in reading.around or reading.part(row[2]) in _DELETED:
        return
    roles = suggested(reading, row[4], "0443")
    people = practitioners(reading, row[5])
    if not people and (place := organization(reading, row[8])):
        people = [place]
    for person in people:
        found = person if person.get("reference", "").startswith("Organization") else _in_place(
            reading, person, row, roles, 8, 15, 9, 6
        )  # fmt: skip
        _address(reading, person, row[14])
        _attach(reading, found, roles, row[11], row[12], f"{noted.where}-11")


def _in_place(
    reading: Reading, person: Json, row: Row, roles: list[Json], at: int, reached: int, place: int, specialty: int
) -> Json:
    """The person, or what the person is at an organization or place."""
    if "reference" not in person or not (row[at] or row[place] or row[specialty]):
        return person
    where = organization(reading, row[at])
    found = role(reading, person, where, roles[0] if roles else None, row[reached])
    if found is person:
        return person
    made = reading.resources[found["reference"]]
    if row[place] and (there := location(reading, row[place])):
        made["location"] = [there]
    if row[specialty] and (what := suggested(reading, row[specialty], "")):
        made["specialty"] = what
    return found


def _address(reading: Reading, person: Json, raw: str) -> None:
    made = reading.resources.get(person.get("reference", ""))
    if made is not None and raw and (places := addresses(reading, raw)):
        made.setdefault("address", not_at_home(places) if made["resourceType"] == "Organization" else places)


def _attach(reading: Reading, person: Json, roles: list[Json], start: str, end: str, where: str) -> None:
    """To the patient's own doctors, the procedure, the visit or the care team."""
    around = reading.around
    said = roles[0].get("coding", [{}])[0].get("code", "") if roles else ""
    if said in _PRIMARY and "patient" in around:
        doctors = reading.resources[around["patient"]["reference"]].setdefault("generalPractitioner", [])
        if person not in doctors:
            doctors.append(person)
    elif "performed" in around:
        performers = reading.resources[around["performed"]["reference"]].setdefault("performer", [])
        performers.append({**({"function": roles[0]} if roles else {}), "actor": person})
    elif "encounter" in around:
        taken_part: Json = {"type": roles} if roles else {}
        put_period(reading, taken_part, "period", start, end, where)
        if person.get("reference", "").startswith("Organization"):  # `individual` takes none
            person = role(reading, {}, person, roles[0] if roles else None)
        visit = reading.resources[around["encounter"]["reference"]]
        visit.setdefault("participant", []).append({**taken_part, "individual": person})
    else:
        member: Json = {"role": roles, "member": person} if roles else {"member": person}
        put_period(reading, member, "period", start, end, where)
        _team(reading).setdefault("participant", []).append(member)


def _team(reading: Reading) -> Json:
    """The patient's care team."""
    subject = reading.around.get("patient")
    key = stable("CareTeam", reading.sender, subject["reference"] if subject else reading.own_name)
    found: Json = {"resourceType": "CareTeam", "id": key}
    if subject:
        found["subject"] = subject
    return reading.resources[reading.put(found)["reference"]]


def prd(reading: Reading, noted: Noted) -> None:
    """PRD: who refers is the referral's requester, who is referred to its performer, others have a role."""
    row = noted.row
    person = _provider(reading, row)
    if person is None:
        return
    roles = suggested(reading, row[1], "0286")
    code = reading.part(row[1])
    referral = reading.latest.get("ServiceRequest")
    if code == "RP" and referral is not None:
        referral.setdefault("requester", person)
    elif code == "RT" and referral is not None:
        referral.setdefault("performer", []).append(person)
    else:
        _attach(reading, person, roles, row[8], row[9], f"{noted.where}-8")


def _provider(reading: Reading, row: Row) -> Json | None:
    """The person by number (PLN), else by name; an organization where nobody is named."""
    parts = reading.parts(row[7].split(reading.repetition, 1)[0], 3)
    value = reading.text(parts[0])
    called = names(reading, row[2])
    place = organization(reading, row[10], row[11])
    if place:
        put_telecom(reading, place, row[13])
    if not value and not called:
        return place
    if not value:
        return {"display": shown(called[0])}
    number = identifier(reading, value, "", reading.text(parts[1]))
    reached = telecoms(reading, row[5], "work")
    person = practitioner(reading, called, number, addresses(reading, row[3]), reached)
    return role(reading, person, place, None) if place else person
