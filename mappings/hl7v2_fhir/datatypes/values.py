"""OBX-5 by the type that OBX-2 declares: one function a type, each writes a value[x] that FHIR allows.

A value is never dropped and never made into something it does not say: what does not follow its type stays as text,
and is reported.
"""

from __future__ import annotations

from collections.abc import Callable

from orjson import Fragment

from mappings.hl7v2_fhir.clock import ends_before, time_of_day
from mappings.hl7v2_fhir.datatypes.codes import concept
from mappings.hl7v2_fhir.datatypes.quantities import (
    Unit,
    composite,
    decimal,
    is_structured,
    number,
    ordered,
    quantity,
    structured,
)
from mappings.hl7v2_fhir.datatypes.times import put_period, read_time
from mappings.hl7v2_fhir.reading import Reading
from mappings.hl7v2_fhir.vocabulary import Json, absent_extension, own_text

Put = Callable[[Reading, Json, str, Unit, int], None]
"""(reading, element to write to, one repetition, unit, number of the OBX) -> nothing."""

TEXT_TYPES = frozenset({"ST", "TX", "FT", "ID", "GTS", ""})
"""Types whose repetitions are lines of one text."""

DOCUMENT_TYPES = frozenset({"ED", "RP"})
"""Types whose value is a document: it goes to DiagnosticReport.presentedForm."""

_TEXT_COMPOSITES = (
    *("AD", "CK", "CN", "CP", "CX", "DLN", "EI", "EIP", "HD", "MO", "PL", "PN"),
    *("PPN", "SI", "TN", "TQ", "VR", "XAD", "XCN", "XON", "XPN", "XTN"),
)
"""Types that are known and have no value[x]: their text, with its structure."""


def numeric(reading: Reading, target: Json, raw: str, unit: Unit, obx: int) -> None:
    """NM."""
    if digits := decimal(raw.strip()):
        target["valueQuantity"] = {"value": Fragment(digits), **unit.quantity}
    else:
        _keep(reading, target, raw, obx, "not_a_number")


def _structured(reading: Reading, target: Json, raw: str, unit: Unit, obx: int) -> None:
    element, value = structured(reading, raw, unit)
    if not value:
        return
    target[element] = value
    if element == "valueString" and not is_structured(reading, raw):
        reading.find("not_structured", _where(obx))


def _coded(reading: Reading, target: Json, raw: str, _: Unit, obx: int) -> None:
    if found := concept(reading, raw):
        target["valueCodeableConcept"] = found


def _time(reading: Reading, target: Json, raw: str, _: Unit, obx: int) -> None:
    value, fault = read_time(reading, raw)
    if not value:
        _keep(reading, target, raw, obx, "not_a_time")
        return
    target["valueDateTime"] = value
    if fault:
        reading.find(fault, _where(obx))
        target["_valueDateTime"] = {"extension": [own_text("v2-time", reading.text(raw))]}


def _time_of_day(reading: Reading, target: Json, raw: str, _: Unit, obx: int) -> None:
    if value := time_of_day(reading.text(raw)):
        target["valueTime"] = value
    else:
        _keep(reading, target, raw, obx, "not_a_time")


def _range(reading: Reading, target: Json, raw: str, unit: Unit, obx: int) -> None:
    """NR: low and high, either of which may be absent."""
    ends = reading.texts(raw, 2)[:2]
    values = [number(end) for end in ends]
    no_numbers = any(end and value is None for end, value in zip(ends, values, strict=True)) or not any(ends)
    if no_numbers or (all(ends) and not ordered(*ends)) or _goes_on(reading, raw, 2):
        _keep(reading, target, raw, obx, "not_structured")
        return
    pairs = zip(("low", "high"), values, strict=True)
    target["valueRange"] = {name: quantity(value, unit) for name, value in pairs if value is not None}


def _period(reading: Reading, target: Json, raw: str, _: Unit, obx: int) -> None:
    start, end = reading.parts(raw, 2)[:2]
    if ends_before(read_time(reading, start)[0], read_time(reading, end)[0]) or _goes_on(reading, raw, 2):
        _keep(reading, target, raw, obx, "not_a_time")
    else:
        put_period(reading, target, "valuePeriod", start, end, _where(obx))


def _goes_on(reading: Reading, raw: str, parts: int) -> bool:
    """True when a value says more than its type has components for."""
    return any(reading.texts(raw, parts)[parts:])


def _samples(reading: Reading, target: Json, raw: str, unit: Unit, obx: int) -> None:
    """NA: the numbers of one channel. The time between two is not in the type: it is said to be unknown."""
    points = reading.texts(raw, 1)
    written = [decimal(point) if point else "E" for point in points]
    if not all(written) or not any(points):
        _keep(reading, target, raw, obx, "not_structured")
        return
    target["valueSampledData"] = {
        "origin": quantity(Fragment("0"), unit),
        "_period": {"extension": [absent_extension("unknown")]},
        "dimensions": 1,
        "data": " ".join(written),
    }


def _composite(reading: Reading, target: Json, raw: str, _: Unit, obx: int) -> None:
    """CQ."""
    if found := composite(reading, raw):
        target["valueQuantity"] = found
    else:
        _keep(reading, target, raw, obx, "not_a_number")


def _other(reading: Reading, target: Json, raw: str, _: Unit, obx: int) -> None:
    """A composite that FHIR has no value[x] for: its text, with its structure."""
    if text := reading.text(raw):
        target["valueString"] = text


def _keep(reading: Reading, target: Json, raw: str, obx: int, code: str) -> None:
    if text := reading.text(raw):
        target["valueString"] = text
        reading.find(code, _where(obx))


_PUTS: dict[str, Put] = {
    "NM": numeric,
    "SN": _structured,
    "CQ": _composite,
    "NR": _range,
    "NA": _samples,
    "MA": _other,
    "DR": _period,
    "TM": _time_of_day,
    **dict.fromkeys(("CE", "CWE", "CNE", "CF", "IS"), _coded),
    **dict.fromkeys(("TS", "DTM", "DT"), _time),
    **dict.fromkeys(_TEXT_COMPOSITES, _other),
}


def _where(obx: int) -> str:
    return f"OBX[{obx}]-5"


def put_for(kind: str) -> Put | None:
    """How a type's values are written; None for a type that is not one of results."""
    return _PUTS.get(kind)


def put_other(reading: Reading, target: Json, raw: str, unit: Unit, obx: int) -> None:
    """A type nobody knows: its text, reported."""
    _keep(reading, target, raw, obx, "type_unknown")


def text_of(reading: Reading, values: list[str]) -> str:
    """The text of ST, TX and FT: repetitions and lines joined by line feeds, as they were spaced."""
    mark = reading.repetition
    lines = [reading.exact(part) for value in values for part in value.split(mark)]
    text = "\n".join("" if line == '""' else line for line in lines)
    return text if text.strip() else ""
