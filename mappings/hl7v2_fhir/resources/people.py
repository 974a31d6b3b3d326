"""XCN, CNN and NDL as Practitioner, XON and OBX-23 to 25 as Organization and PractitionerRole.

One actor is one resource: the same fields give the same references, and repetitions that name one person with several
identifiers are one Practitioner. Who has no identifier is a name to show, not a resource: two people may share it.
"""

from __future__ import annotations

from mappings.hl7v2_fhir.datatypes.codes import concept
from mappings.hl7v2_fhir.datatypes.identifiers import identifier
from mappings.hl7v2_fhir.datatypes.names import addresses, person_name, shown, telecoms
from mappings.hl7v2_fhir.ids import stable
from mappings.hl7v2_fhir.reading import Reading, compact
from mappings.hl7v2_fhir.vocabulary import CLIA, Json


def practitioners(reading: Reading, raw: str) -> list[Json]:
    """References to the people of an XCN field."""
    if not raw or raw == '""':
        return []
    found = reading.people.get(raw)
    if found is None:
        people = reading.dialect.cached(_people, reading, raw)
        found = reading.people[raw] = [_referred(reading, person) for person in people]
    return found


def _people(reading: Reading, raw: str) -> list[Json]:
    """Each person of an XCN field once, with all numbers; shared, so nobody may change one."""
    people: list[tuple[Json | None, list[Json]]] = []
    for repetition in reading.repetitions(raw):
        name, number = _person(reading, reading.parts(repetition, 13))
        same = next((numbers for other, numbers in people if name is not None and other == name), None)
        if same is None:
            people.append((name, [number] if number else []))
        elif number and number not in same:
            same.append(number)
    return [_practitioner(name, numbers) for name, numbers in people if name or numbers]


def practitioner(reading: Reading, called: list[Json], number: Json, places: list[Json], reached: list[Json]) -> Json:
    """A reference to a person whose number, names, addresses and telecoms stand in fields of their own."""
    key = stable("Practitioner", number["system"], number["value"])
    person = {"resourceType": "Practitioner", "id": key, "identifier": [number], "name": called}
    return _joined(reading, compact({**person, "telecom": reached, "address": places}))


def interpreters(reading: Reading, raw: str) -> list[Json]:
    """References to the people of an NDL field, whose name (CNN) stands in subcomponents; tolerates an XCN."""
    found = []
    for repetition in reading.repetitions(raw):
        first = repetition.split(reading.component, 1)[0]
        if reading.subcomponent not in first:
            found += practitioners(reading, repetition)
            continue
        parts = first.split(reading.subcomponent) + [""] * 11
        hd = reading.subcomponent.join(parts[8:11])
        person = [*parts[:8], hd, "", "", "", ""]
        name, number = _person(reading, person)
        found.append(_referred(reading, _practitioner(name, [number] if number else [])))
    return found


def _person(reading: Reading, parts: list[str]) -> tuple[Json | None, Json | None]:
    """Name and number of one XCN."""
    name = person_name(reading, parts[1:7])
    value = reading.text(parts[0])
    return name, identifier(reading, value, parts[8], reading.text(parts[12])) if value else None


def _practitioner(name: Json | None, numbers: list[Json]) -> Json:
    """The resource, or where there is no number the name to show."""
    if not numbers:
        return {"display": shown(name or {}).strip()}
    key = stable("Practitioner", numbers[0]["system"], numbers[0]["value"])
    person: Json = {"resourceType": "Practitioner", "id": key, "identifier": numbers}
    if name:
        person["name"] = [name]
    return person


def _referred(reading: Reading, person: Json) -> Json:
    return _joined(reading, dict(person)) if "id" in person else person


def _joined(reading: Reading, actor: Json) -> Json:
    """A reference to an actor; where the message has named it before, what is new of it joins."""
    made = reading.put(actor)
    there = reading.resources[made["reference"]]
    if there is not actor:
        known = there.get("identifier", [])
        there["identifier"] = known + [number for number in actor.get("identifier", ()) if number not in known]
        for part in ("name", "address"):
            if part in actor:
                there.setdefault(part, actor[part])
        if not there["identifier"]:
            del there["identifier"]
    return made


def organization(reading: Reading, raw: str, address: str = "") -> Json | None:
    """A reference to the organization of an XON field, or of a CWE that names one (OBX-15)."""
    if not raw or raw == '""':
        return None
    key = ("XON", raw, address)
    found = reading.actors.get(key)
    if found is None:
        made = _organization(reading, raw, address)
        found = reading.actors[key] = [made] if made else []
    return found[0] if found else None


def _organization(reading: Reading, raw: str, address: str) -> Json | None:
    """The first repetition; a further one that is the same organization adds its number and its name."""
    said = [_xon(reading, part) for part in reading.repetitions(raw)]
    if not said:
        return None
    (name, number), *more = said
    made = written_organization(reading, name, number, addresses(reading, address))
    if made is None:
        return None
    for other, another in more:
        if _same_place(name, number, other, another):
            _known_as(reading.resources[made["reference"]], name, other, another)
    return made


def further_organizations(reading: Reading, raw: str) -> list[Json]:
    """References to those of a repeated XON that are not the first one under another name or number."""
    if reading.repetition not in raw:
        return []
    (name, number), *more = [_xon(reading, part) for part in reading.repetitions(raw)] or [("", None)]
    others = [other for other in more if not _same_place(name, number, *other)]
    return [made for other in others if (made := written_organization(reading, *other, []))]


def _same_place(name: str, number: Json | None, other: str, another: Json | None) -> bool:
    return other.casefold() in ("", name.casefold()) or bool(number and another == number)


def _xon(reading: Reading, raw: str) -> tuple[str, Json | None]:
    """Name and number of one XON."""
    parts = reading.parts(raw, 10)
    name, value = reading.text(parts[0]), reading.text(parts[9]) or reading.text(parts[2])
    return name, identifier(reading, value, parts[5], reading.text(parts[6])) if value else None


def _known_as(place: Json, name: str, other: str, number: Json | None) -> None:
    if number and number not in place.get("identifier", ()):
        place["identifier"] = [*place.get("identifier", ()), number]
    if other.casefold() not in ("", name.casefold()) and other not in place.get("alias", ()):
        place["alias"] = [*place.get("alias", ()), other]


def producer(reading: Reading, raw: str) -> Json | None:
    """A reference to the laboratory of OBX-15, a coded element; a CLIA number is one of the CLIA register."""
    if not raw or raw == '""':
        return None
    key = ("OBX-15", raw)
    found = reading.actors.get(key)
    if found is None:
        made = _producer(reading, raw)
        found = reading.actors[key] = [made] if made else []
    return found[0] if found else None


def _producer(reading: Reading, raw: str) -> Json | None:
    said = concept(reading, raw.split(reading.repetition, 1)[0])
    if said is None:
        return None
    coding = said.get("coding", [{}])[0]
    number = None
    if "code" in coding:
        system = CLIA if reading.text(reading.parts(raw, 3)[2]) == "CLIA" else coding.get("system", "")
        number = {"system": system or reading.dialect.authority("", "", ""), "value": coding["code"]}
    return written_organization(reading, said.get("text", ""), number, [])


def written_organization(reading: Reading, name: str, number: Json | None, places: list[Json]) -> Json | None:
    """A reference to an organization, by its number, else by its name; None without both."""
    if number:
        key = stable("Organization", number["system"], number["value"])
    elif name:
        key = stable("Organization", reading.sender, name.casefold())
    else:
        return None
    identifiers = [number] if number else []
    made = {"resourceType": "Organization", "id": key, "identifier": identifiers, "name": name}
    return _joined(reading, compact({**made, "address": not_at_home(places)}))


def put_telecom(reading: Reading, place: Json, raw: str) -> None:
    """XTN: where an organization is reached, if nothing has said it before."""
    if raw and (reached := telecoms(reading, raw, "work")):
        reading.resources[place["reference"]].setdefault("telecom", not_at_home(reached))


def not_at_home(found: list[Json]) -> list[Json]:
    """Addresses or telecoms of an organization: none is its home (FHIR R4, invariants org-2 and org-3)."""
    return [{name: value for name, value in one.items() if (name, value) != ("use", "home")} for one in found]


def role(reading: Reading, person: Json, place: Json | None, code: Json | None, telecom: str = "") -> Json:
    """A reference to what a person is at an organization; to the person where there is nothing to add."""
    if not (place or code or telecom):
        return person
    named = [str(part) for part in (person, place, code)]
    return reading.put(
        compact(
            {
                "resourceType": "PractitionerRole",
                "id": stable("PractitionerRole", *named),
                "practitioner": person,
                "organization": place,
                "code": [code] if code else [],
                "telecom": telecoms(reading, telecom, "work"),
            }
        )
    )
