"""The ways in which a field becomes an element: what stands under `as` in a segment map.

Each is a factory: called once with what stands under `using`, it gives the function that makes the element. None, an
empty list or an empty text says that there is nothing to write.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from mappings.hl7v2_fhir.datatypes.codes import concept, concepts, status_extension
from mappings.hl7v2_fhir.datatypes.identifiers import entity, extended
from mappings.hl7v2_fhir.datatypes.names import addresses, names, shown, telecoms
from mappings.hl7v2_fhir.datatypes.quantities import composite, number, unit_of
from mappings.hl7v2_fhir.datatypes.tables import suggested
from mappings.hl7v2_fhir.datatypes.times import instant, put_date, put_time
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


class Made(NamedTuple):
    """What an element is made of: the raw fields, the name that it gets, and where it stands."""

    reading: Reading
    raws: list[str]
    name: str
    where: str


class Beside(dict[str, Any]):
    """Members to put side by side: an element and its extensions (`onsetDateTime`, `_onsetDateTime`)."""


Make = Callable[[Made], Any]
Factory = Callable[[str], Make]


def _simple(make: Callable[[Reading, str], Any]) -> Factory:
    return lambda using: lambda made: make(made.reading, made.raws[0])


def _constant(using: str) -> Make:
    return lambda made: using


def _coding_constant(using: str) -> Make:
    """`system|code|display` as a concept."""
    system, code, *display = using.split("|")
    found = {"system": system, "code": code, **({"display": display[0]} if display else {})}
    return lambda made: {"coding": [dict(found)]}


def _code(using: str) -> Make:
    """A code of a table; one that the table lacks is reported and kept beside, or with `?` behind `using` left out."""
    codes = codes_of(using.rstrip("?"))
    silent = using.endswith("?")

    def make(made: Made) -> Any:
        said = made.reading.part(made.raws[0])
        if not said or said in codes or silent:
            return codes.get(said)
        made.reading.find("code_unknown", made.where)
        return Beside({"_" + made.name: status_extension(said, "", False)})

    return make


def _code_or_unknown(using: str) -> Make:
    """A required code of a table; one that the table lacks is `unknown`, with the v2 code beside it."""
    codes = codes_of(using)

    def make(made: Made) -> Any:
        said = made.reading.part(made.raws[0])
        if not said:
            return None
        if codes.get(said):
            return codes[said]
        made.reading.find("code_unknown", made.where)
        return Beside({made.name: "unknown", "_" + made.name: status_extension(said, "", False)})

    return make


def _mapped_concept(using: str) -> Make:
    """A concept whose code a table knows in FHIR's own code system; the sender's coding stays behind it."""
    codings = codings_of(using)

    def make(made: Made) -> Any:
        said = concept(made.reading, made.raws[0].split(made.reading.repetition, 1)[0])
        known = codings.get(made.reading.part(made.raws[0]))
        if said is None or known is None:
            return said
        others = [coding for coding in said.get("coding", ()) if coding.get("system") != known["system"]]
        return {**said, "coding": [dict(known), *others]}

    return make


def _of_table(using: str) -> Make:
    """IS, ID: a bare code of the HL7 table whose number stands under `using`; with a system of its own, that one's."""
    system = TERMINOLOGY + "v2-" + using

    def make(made: Made) -> Any:
        found = []
        for raw in made.reading.repetitions(made.raws[0]):
            said = concept(made.reading, raw)
            if said and said.get("coding") and "system" not in said["coding"][0]:
                said["coding"][0] = {"system": system, **said["coding"][0]}
                if said.get("text") == said["coding"][0]["code"]:
                    del said["text"]
            if said:
                found.append(said)
        return found if made.name in _LISTS else next(iter(found), None)

    return make


_LISTS = frozenset({
    "category", "type", "relationship", "reasonCode", "specialArrangement", "specialCourtesy", "serviceCategory",
    "serviceType", "manifestation", "communication", "contentType", "statusReason",
})  # fmt: skip


def _text(reading: Reading, raw: str) -> str:
    return "\n".join(text for part in reading.repetitions(raw) if (text := reading.exact(part).strip()))


def _texts(reading: Reading, raw: str) -> list[str]:
    return [text for part in reading.repetitions(raw) if (text := reading.text(part))]


def _text_concept(reading: Reading, raw: str) -> Json | None:
    """ST as a concept of text only."""
    text = reading.part(raw)
    return {"text": text} if text else None


def _date_time(using: str) -> Make:
    def make(made: Made) -> Beside | None:
        found = Beside()
        put_time(made.reading, found, made.name, _first(made), made.where)
        return found or None

    return make


def _date(using: str) -> Make:
    def make(made: Made) -> Beside | None:
        found = Beside()
        put_date(made.reading, found, made.name, made.raws[0], made.where)
        return found or None

    return make


def _instant(reading: Reading, raw: str) -> str:
    return instant(reading, raw)


def _first(made: Made) -> str:
    return made.raws[0].split(made.reading.repetition, 1)[0]


def _boolean(using: str) -> Make:
    """Y and N; `using` may turn it round with `not`."""
    said = {"Y": using != "not", "N": using == "not"}

    def make(made: Made) -> Beside | None:
        value = said.get(made.reading.part(made.raws[0]))
        return Beside({made.name: value}) if value is not None else None

    return make


def _whole(using: str) -> Make:
    """A whole number from `using` (default 0) on; another one is reported and kept beside."""
    least = int(using or 0)

    def make(made: Made) -> Any:
        text = made.reading.part(made.raws[0])
        if text.isascii() and text.isdigit() and int(text) >= least:
            return int(text)
        if text:
            made.reading.find("number_invalid", made.where)
            return Beside({"_" + made.name: {"extension": [own_text("v2-number", text)]}})
        return None

    return make


def _decimal(using: str) -> Make:
    """A number with its digits as they came."""

    def make(made: Made) -> Any:
        text = made.reading.part(made.raws[0])
        value = number(text)
        if value is None and text:
            made.reading.find("number_invalid", made.where)
            return Beside({"_" + made.name: {"extension": [own_text("v2-number", text)]}})
        return value

    return make


def _quantity(using: str) -> Make:
    """A number and its unit (two fields, or one CQ): value, unit, and a code where the unit names UCUM."""

    def make(made: Made) -> Json | None:
        reading, raw = made.reading, _first(made)
        if len(made.raws) == 1:
            found = composite(reading, raw)
        else:
            value = number(reading.part(raw))
            found = {"value": value, **unit_of(reading, made.raws[1]).quantity} if value is not None else {}
        text = reading.part(raw)
        if text and not found:
            reading.find("number_invalid", made.where)
            return {"extension": [own_text("v2-number", text)]}
        return found or None

    return make


def _reference(people: Callable[[Reading, str], list[Json]]) -> Factory:
    """A reference to the first person of a field."""
    return lambda using: lambda made: next(iter(people(made.reading, made.raws[0])), None)


def _telecoms(using: str) -> Make:
    return lambda made: telecoms(made.reading, made.raws[0], using)


def _extended(using: str) -> Make:
    """Every CX of a field."""
    return lambda made: [
        found for raw in made.reading.repetitions(made.raws[0]) if (found := extended(made.reading, raw, using))
    ]


def _entities(using: str) -> Make:
    """Every EI of a field."""
    return lambda made: [
        found for raw in made.reading.repetitions(made.raws[0]) if (found := entity(made.reading, raw, using))
    ]


def _first_name(reading: Reading, raw: str) -> Json | None:
    found = names(reading, raw)
    return found[0] if found else None


def _first_address(reading: Reading, raw: str) -> Json | None:
    found = addresses(reading, raw)
    return found[0] if found else None


def _note(reading: Reading, raw: str) -> list[Json]:
    """A comment as an annotation."""
    text = _text(reading, raw)
    return [{"text": text}] if text else []


def _around(using: str) -> Make:
    """A reference to what is around: `patient`, `encounter`, `order`; with `!` behind it the element is required."""
    name = using.rstrip("!")
    required = using.endswith("!")

    def make(made: Made) -> Json | None:
        found = made.reading.around.get(name)
        return dict(found) if found else {"extension": [absent_extension("unknown")]} if required else None

    return make


def _own_extension(using: str) -> Make:
    """Text that FHIR has no element for, in an extension of this project of that name."""
    return lambda made: [own_text(using, text)] if (text := _words(made.reading, made.raws)) else []


def _words(reading: Reading, raws: list[str]) -> str:
    """Fields as text: their components with a space between, their repetitions as lines."""
    lines = []
    for raw in reading.repetitions(" ".join(raws) if len(raws) > 1 else raws[0]):
        parts = raw.replace(reading.subcomponent, reading.component).split(reading.component)
        lines.append(" ".join(text for part in parts if (text := reading.exact(part).strip())))
    return "\n".join(line for line in lines if line)


def _coded_note(reading: Reading, raw: str) -> list[Json]:
    """A coded comment as annotations: its words, else its code."""
    return [{"text": said.get("text") or said["coding"][0]["code"]} for said in concepts(reading, raw)]


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
        put_time(made.reading, found, "valueDateTime", _first(made), made.where)
        return [found] if len(found) > 1 else []

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


def _codings(made: Made, table: str) -> list[Json]:
    found = suggested(made.reading, made.raws[0], table)
    return [coding for said in found for coding in said.get("coding", ())[:1]]


_EXTENSION_VALUES: Mapping[str, Callable[[Made, str], list[Any]]] = {
    "CodeableConcept": lambda made, table: suggested(made.reading, made.raws[0], table),
    "Coding": _codings,
    "String": lambda made, table: [made.reading.part(raw) for raw in made.reading.repetitions(made.raws[0])],
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
        said = _coding_constant(coding)(made)
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
    code = _coding_constant(using)
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
        value, name = made.reading.texts(_first(made), 2)[:2]
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


ELEMENTS: Mapping[str, Factory] = {
    "constant": _constant,
    "concept constant": _coding_constant,
    "code": _code,
    "required code": _code_or_unknown,
    "concept": _simple(lambda reading, raw: concept(reading, raw.split(reading.repetition, 1)[0])),
    "concepts": _simple(concepts),
    "mapped concept": _mapped_concept,
    "table concept": _of_table,
    "text concept": _simple(_text_concept),
    "text": _simple(_text),
    "texts": _simple(_texts),
    "part": _simple(lambda reading, raw: reading.part(raw)),
    "dateTime": _date_time,
    "date": _date,
    "instant": _simple(_instant),
    "boolean": _boolean,
    "whole number": _whole,
    "decimal": _decimal,
    "quantity": _quantity,
    "identifiers": _extended,
    "entities": _entities,
    "name": _simple(_first_name),
    "names": _simple(names),
    "address": _simple(_first_address),
    "addresses": _simple(addresses),
    "telecoms": _telecoms,
    "practitioner": _reference(practitioners),
    "practitioners": _simple(practitioners),
    "organization": _simple(organization),
    "note": _simple(_note),
    "coded note": _simple(_coded_note),
    "reference": _around,
    "own text": _own_extension,
    "own concept": _own_concept,
    "absent": _absent,
    "coverage class": _coverage_class,
    "due to": _simple(_due_to),
    "further components": _further,
    "latest": _latest,
    "own concept beyond": _own_beyond,
    "own name": _own_name,
    "table only": _table_only,
    "text identifier": _text_identifier,
    "own time": _own_time,
    "codings": _simple(_all_codings),
    "organizations": _simple(_organizations),
    "see also": _simple(_see_also),
    "social security": _simple(_social_security),
    "suggested concept": _suggested,
    "suggested concepts": _suggested_all,
    "extension": _standard_extension,
    "restricted": _security,
    "amount": _amount,
    "place": _place,
    "roles": _roles,
    "logical references": _logical,
}
"""By the name that a segment map uses."""
