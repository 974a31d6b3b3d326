"""CX, EI, EIP and HD as FHIR identifiers: the assigning authority decides the system, never the identifier's type.

Two numbers of two authorities stay two; a check digit is no part of a number.
"""

from __future__ import annotations

from mappings.hl7v2_fhir.clock import read_day
from mappings.hl7v2_fhir.reading import Reading
from mappings.hl7v2_fhir.vocabulary import US_NPI, US_SSN, Json, typed

_VALID_FROM = 6

_BY_TYPE = {"NPI": US_NPI, "SS": US_SSN}
"""Types of HL7 table 0203 that are one authority's numbers by definition."""


def system(reading: Reading, hd: str) -> str:
    """The system of an assigning authority given as HD with subcomponents; remembered."""
    return reading.dialect.cached(_system, reading, hd)


def _system(reading: Reading, hd: str) -> str:
    parts = [reading.text(part) for part in hd.split(reading.subcomponent)] + ["", ""]
    return reading.dialect.authority(parts[0], parts[1], parts[2])


def _system_in_components(reading: Reading, hd: str) -> str:
    parts = reading.texts(hd, 3)
    return reading.dialect.authority(parts[0], parts[1], parts[2])


def extended(reading: Reading, raw: str, default: str = "") -> Json | None:
    """CX: value, authority, type, validity; `default` is the type that the field's definition gives."""
    parts = reading.parts(raw, 5)
    value = reading.text(parts[0])
    if not value:
        return None
    found = identifier(reading, value, parts[3], reading.text(parts[4]) or default)
    if len(parts) > _VALID_FROM and (period := _validity(reading, parts[_VALID_FROM:])):
        found["period"] = period
    return found


def _validity(reading: Reading, parts: list[str]) -> Json:
    """CX.7 and CX.8: the days from and to which an identifier is valid; what is no date is left out."""
    days = [read_day(text)[0] if (text := reading.text(part)) else "" for part in (*parts, "")[:2]]
    return {name: day for name, day in zip(("start", "end"), days, strict=True) if day}


def identifier(reading: Reading, value: str, hd: str, kind: str = "") -> Json:
    """An Identifier of a decoded value, a raw HD and a type code."""
    own = _BY_TYPE.get(kind) if reading.subcomponent not in hd else None
    return _typed(kind, own or system(reading, hd), value)


def _typed(kind: str, uri: str, value: str) -> Json:
    return {"type": typed(kind), "system": uri, "value": value} if kind else {"system": uri, "value": value}


def entity(reading: Reading, raw: str, kind: str = "") -> Json | None:
    """EI: entity identifier, namespace, universal id and its type; None when it says nothing."""
    first, _, hd = raw.partition(reading.component)
    value = reading.text(first)
    return _typed(kind, reading.dialect.cached(_system_in_components, reading, hd), value) if value else None


def pair(reading: Reading, raw: str, index: int, kind: str) -> Json | None:
    """One half of an EIP: 0 the placer's, 1 the filler's number, each an EI with subcomponents."""
    first, _, hd = reading.parts(raw, 2)[index].partition(reading.subcomponent)
    value = reading.text(first)
    return _typed(kind, system(reading, hd), value) if value else None
