"""What a result says beside its value: status, code, unit, range, flags, sub-id, parsed once a combination.

A laboratory sends the same few hundred combinations again and again; a pattern is shared by all their messages, so
nobody may change it, and it holds no value, time or person.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import itemgetter

from mappings.hl7v2_fhir.datatypes.codes import Coded, coded, concepts, flags, status_extension
from mappings.hl7v2_fhir.datatypes.quantities import Unit, reference_range, unit_of
from mappings.hl7v2_fhir.datatypes.values import DOCUMENT_TYPES, TEXT_TYPES, Put, numeric, put_for, put_other
from mappings.hl7v2_fhir.ids import named
from mappings.hl7v2_fhir.reading import Reading, Row, members
from mappings.hl7v2_fhir.vocabulary import EXACT_STATUS, OBSERVATION_STATUS, STANDARD, Json, absent, own_text

_said_alike = itemgetter(2, 3, 4, 6, 7, 8, 9, 10, 11, 12)
"""The fields of an OBX that laboratories send in the same combinations."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """The parsed OBX-2, 3, 4 and 6 to 12; what every result says alike is JSON text already."""

    name: bytes  # names the test in stable ids
    status: str
    code: Coded
    said: str  # OBX-11 as the message has it
    kind: str  # OBX-2
    plain: bool  # a number with nothing to keep or report beside it
    put: Put | None  # writes a value; None for text and documents
    document: bool
    numeric: bool
    unit: Unit
    quantity: str  # the unit's members of a quantity
    members: str  # status, code, flags and range
    known: Json  # what is asked of the resource once it is written
    extensions: tuple[Json, ...]
    absent: Json  # the reason when there is no value
    findings: tuple[tuple[str, int, str], ...]  # code, field, subject


def pattern_of(reading: Reading, row: Row) -> Pattern:
    """The pattern of one OBX."""
    key = _said_alike(row)
    found: Pattern | None = reading.dialect.patterns.get(key)
    return found or reading.dialect.remember(key, _pattern(reading, row))


def _pattern(reading: Reading, row: Row) -> Pattern:
    findings: list[tuple[str, int, str]] = []
    kind = reading.part(row[2])
    code = coded(reading, row[3])
    unit = unit_of(reading, row[6])
    said = reading.single(row[11])
    elements = _status(reading, row[11], said, findings)
    elements["code"] = code.concept
    if code.missing:
        findings.append(("code_missing", 3, ""))
    if unit.fault:
        findings.append((unit.fault, 6, reading.part(row[6])))
    if row[8] and (marks := flags(reading, row[8])):
        elements["interpretation"] = [mark.concept for mark in marks]
        findings += (("flag_unknown", 8, mark.concept["text"]) for mark in marks if not mark.known)
    if row[7] and (ranges := reference_range(reading, row[7], unit)):
        elements["referenceRange"] = ranges
    document = kind in DOCUMENT_TYPES
    put = None if document or kind in TEXT_TYPES else put_for(kind) or put_other
    extensions = tuple(_extensions(reading, row))
    missing = _absent(said, elements["status"])
    return Pattern(
        name=named(code.code, code.system, reading.text(row[4])),
        status=elements["status"],
        code=code,
        said=said,
        kind=kind,
        plain=put is numeric and not (extensions or findings or unit.kept or said == "U"),
        put=put,
        document=document,
        numeric=put is numeric,
        unit=unit,
        quantity=members(unit.quantity),
        members=members(elements),
        known={"resourceType": "Observation", "status": elements["status"]},
        extensions=extensions,
        absent=missing,
        findings=tuple(findings),
    )


def _status(reading: Reading, raw: str, code: str, findings: list[tuple[str, int, str]]) -> Json:
    """OBX-11. Nothing and unknown codes are `unknown`; where FHIR says less than v2, the v2 code stands beside it."""
    found: Json = {"status": OBSERVATION_STATUS.get(code, "unknown")}
    if not code:
        findings.append(("status_missing", 11, ""))
        return found
    if code not in OBSERVATION_STATUS:
        findings.append(("status_unknown", 11, code))
    text = reading.text(raw)
    if text not in EXACT_STATUS:
        found["_status"] = status_extension(text, "v2-0085", text in OBSERVATION_STATUS)
    return found


def _absent(said: str, status: str) -> Json:
    """Why there is no value: OBX-11 N was not asked, a pending result may come, anything else is unknown."""
    if said == "N":
        return absent("not-asked")
    return absent("temp-unknown" if status == "registered" else "unknown")


def _extensions(reading: Reading, row: Row) -> list[Json]:
    """Sub-id, nature of the test, probability and age of the range, which Observation has no element for."""
    found: list[Json] = []
    if sub := reading.text(row[4]):
        part = {"url": "original-sub-identifier", "valueString": sub}
        found.append({"url": STANDARD + "observation-v2-subid", "extension": [part]})
    for nature in concepts(reading, row[10]) if row[10] else ():
        found.append({"url": STANDARD + "observation-nature-of-abnormal-test", "valueCodeableConcept": nature})
    if probability := reading.text(row[9]):
        found.append(own_text("v2-probability", probability))
    if since := reading.text(row[12]):
        found.append(own_text("v2-range-effective", since))
    return found
