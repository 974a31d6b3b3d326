"""The rarer ways in which a field becomes an element: extensions, roles, places, references by identifier.

They are ways like those of elements.py, which holds the table of all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mappings.hl7v2_fhir.datatypes.codes import concepts
from mappings.hl7v2_fhir.datatypes.identifiers import entity, extended
from mappings.hl7v2_fhir.datatypes.names import names, shown
from mappings.hl7v2_fhir.datatypes.quantities import number
from mappings.hl7v2_fhir.datatypes.tables import suggested
from mappings.hl7v2_fhir.datatypes.times import put_time
from mappings.hl7v2_fhir.made import Factory, Made, Make, coding_constant, first, simple
from mappings.hl7v2_fhir.reading import Reading
from mappings.hl7v2_fhir.resources.location import location
from mappings.hl7v2_fhir.resources.people import organization, practitioners
from mappings.hl7v2_fhir.vocabulary import (
    STANDARD,
    TERMINOLOGY,
    UCUM,
    US_SSN,
    Json,
    absent_extension,
    codes_of,
    codings_of,
    own_text,
    typed,
)


def _own_concept(using: str) -> Make:
    """A coded value that FHIR has no element for, in an extension of this project: `NAME` or `NAME|HL7 TABLE`."""
    name, _, table = using.partition("|")
    url = own_text(name, "")["url"]
    return lambda made: [
        {"url": url, "valueCodeableConcept": found} for found in suggested(made.reading, made.raws[0], table)
    ]


def _own_time(using: str) -> Make:
    """A time that FHIR has no element for, in an extension of this project of that name."""
    url = own_text(using, "")["url"]

    def make(made: Made) -> list[Json]:
        found: Json = {"url": url}
        put_time(made.reading, found, "valueDateTime", first(made), made.where)
        if "valueDateTime" in found:
            return [found]
        return list(found["_valueDateTime"]["extension"]) if len(found) > 1 else []

    return make


def _suggested(using: str) -> Make:
    """A coded value of a user-defined HL7 table, whose number stands under `using`."""
    return lambda made: next(iter(suggested(made.reading, made.raws[0], using)), None)


def _suggested_all(using: str) -> Make:
    return lambda made: suggested(made.reading, made.raws[0], using)


def _standard_extension(using: str) -> Make:
    """An extension of FHIR R4: `NAME TYPE`, and for a coded one the HL7 table of the field."""
    name, kind, *table = using.split()
    make = _EXTENSION_VALUES[kind]
    return lambda made: [
        {"url": STANDARD + name, "value" + kind: value} for value in make(made, table[0] if table else "")
    ]


def _called(reading: Reading, raw: str) -> str:
    """The name of an XON, else its number (XON.10, before 2.5 XON.3)."""
    parts = reading.texts(raw, 10)
    return parts[0] or parts[9] or parts[2]


def _codings(made: Made, table: str) -> list[Json]:
    found = suggested(made.reading, made.raws[0], table)
    return [coding for said in found for coding in said.get("coding", ())[:1]]


_EXTENSION_VALUES: Mapping[str, Callable[[Made, str], list[Any]]] = {
    "CodeableConcept": lambda made, table: suggested(made.reading, made.raws[0], table),
    "Coding": _codings,
    "String": lambda made, table: [
        text for raw in made.reading.repetitions(made.raws[0]) if (text := _called(made.reading, raw))
    ],
}


def _security(using: str) -> Make:
    """`Y` says that access is restricted (v3 Confidentiality R)."""
    restricted = {"system": TERMINOLOGY + "v3-Confidentiality", "code": "R", "display": "restricted"}
    return lambda made: [restricted] if made.reading.part(made.raws[0]) == "Y" else []


def _amount(using: str) -> Make:
    """A number of what the field's definition counts: `day|d` is the unit and its UCUM code."""
    unit, code = using.split("|")

    def make(made: Made) -> Json | None:
        text = made.reading.part(made.raws[0])
        value = number(text)
        if value is None:
            if text:
                made.reading.find("number_invalid", made.where)
            return {"extension": [own_text("v2-number", text)]} if text else None
        return {"value": value, "unit": unit, "system": UCUM, "code": code}

    return make


def _place(using: str) -> Make:
    """A place (PL); where `using` is a status, as a place of an Encounter."""

    def make(made: Made) -> Json | None:
        found = location(made.reading, made.raws[0])
        return {"location": found, "status": using} if found and using else found

    return make


def _roles(using: str) -> Make:
    """People as participants or performers: `member`, and a role as `system|code|display`."""
    member, *role = using.split(" ", 1)

    def make(made: Made) -> list[Json]:
        people = practitioners(made.reading, made.raws[0])
        if not role:
            return [{member: person} for person in people]
        name, coding = role[0].split(" ", 1)
        said = coding_constant(coding)(made)
        return [{name: [said] if name == "type" else said, member: person} for person in people]

    return make


def _organizations(reading: Reading, raw: str) -> list[Json]:
    return [found for part in reading.repetitions(raw) if (found := organization(reading, part))]


def _see_also(reading: Reading, raw: str) -> list[Json]:
    """CX: records that may be the same person's, by their identifiers."""
    others = [found for part in reading.repetitions(raw) if (found := extended(reading, part))]
    return [{"other": {"type": "Patient", "identifier": other}, "type": "seealso"} for other in others]


def _social_security(reading: Reading, raw: str) -> Json | None:
    """ST: a social security number."""
    value = reading.part(raw)
    return {"type": typed("SS"), "system": US_SSN, "value": value} if value else None


def _own_name(using: str) -> Make:
    """XPN: who is known by name only, as text in an extension of this project."""
    return lambda made: [own_text(using, shown(name)) for name in names(made.reading, made.raws[0]) if shown(name)]


def _all_codings(reading: Reading, raw: str) -> list[Json]:
    return [coding for said in concepts(reading, raw) for coding in said.get("coding", ())]


def _table_only(using: str) -> Make:
    """A concept of a required value set, where the table knows the code."""
    codings = codings_of(using)

    def make(made: Made) -> Json | None:
        known = codings.get(made.reading.part(made.raws[0]))
        return {"coding": [dict(known)]} if known else None

    return make


def _own_beyond(using: str) -> Make:
    """What a table does not know, in an extension of this project: `NAME|TABLE`."""
    name, table = using.split("|")
    codes, make = codes_of(table), _own_concept(name)
    return lambda made: [] if made.reading.part(made.raws[0]) in codes else make(made)


def _absent(using: str) -> Make:
    """The extension that stands where a required element has no value."""
    return lambda made: {"extension": [absent_extension("unknown")]}


def _due_to(reading: Reading, raw: str) -> list[Json]:
    """EI: the condition that this one is due to, by its identifier."""
    found = entity(reading, raw.split(reading.repetition, 1)[0])
    reference = {"type": "Condition", "identifier": found}
    return [{"url": STANDARD + "condition-dueTo", "valueReference": reference}] if found else []


def _further(using: str) -> Make:
    """Every repetition but the first as a component of that code."""
    code = coding_constant(using)
    return lambda made: [
        {"code": code(made), "valueCodeableConcept": found} for found in concepts(made.reading, made.raws[0])[1:]
    ]


def _text_identifier(using: str) -> Make:
    """ST: a number of the sender's own, with its type (HL7 0203)."""

    def make(made: Made) -> Json | None:
        value = made.reading.part(made.raws[0])
        kind = {"type": typed(using)} if using else {}
        return {**kind, "system": made.reading.dialect.senders_own, "value": value} if value else None

    return make


def _coverage_class(using: str) -> Make:
    """A class of an insurance: its number, and its name from a second field or the second component."""
    kind = {"coding": [{"system": TERMINOLOGY + "coverage-class", "code": using}]}

    def make(made: Made) -> Json | None:
        value, name = made.reading.texts(first(made), 2)[:2]
        if len(made.raws) > 1:
            name = made.reading.part(made.raws[1])
        if not value and not name:
            return None
        return {"type": kind, "value": value or name, **({"name": name} if name else {})}

    return make


def _latest(using: str) -> Make:
    """What was written last of a type for this patient, in messages of one type: `PPR Condition`."""
    kind, wanted = using.split()

    def make(made: Made) -> list[Json]:
        reading = made.reading
        found = reading.latest.get(wanted, {}) if reading.header[9][:3] == kind else {}
        if not found or found.get("subject") != reading.around.get("patient"):
            return []
        return [{"reference": f"{wanted}/{found['id']}"}]

    return make


def _logical(using: str) -> Make:
    """References by identifier (EI, or CX with `CX` behind the type) to what the message does not hold."""
    kind, _, data_type = using.partition(" ")
    read = extended if data_type == "CX" else entity
    return lambda made: [
        {"type": kind, "identifier": found}
        for raw in made.reading.repetitions(made.raws[0])
        if (found := read(made.reading, raw))
    ]


RARE_ELEMENTS: Mapping[str, Factory] = {
    "absent": _absent,
    "amount": _amount,
    "codings": simple(_all_codings),
    "coverage class": _coverage_class,
    "due to": simple(_due_to),
    "extension": _standard_extension,
    "further components": _further,
    "latest": _latest,
    "logical references": _logical,
    "organizations": simple(_organizations),
    "own concept beyond": _own_beyond,
    "own concept": _own_concept,
    "own name": _own_name,
    "own time": _own_time,
    "place": _place,
    "restricted": _security,
    "roles": _roles,
    "see also": simple(_see_also),
    "social security": simple(_social_security),
    "suggested concept": _suggested,
    "suggested concepts": _suggested_all,
    "table only": _table_only,
    "text identifier": _text_identifier,
}
"""By the name that a segment map uses."""
