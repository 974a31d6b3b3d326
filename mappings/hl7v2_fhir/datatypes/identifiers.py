"""CX, EI, EIP and HD as FHIR identifiers: the assigning authority decides the system, never the identifier's type.

Two numbers of two authorities stay two; a check digit is no part of a number.
"""

from __future__ import annotations

from mappings.hl7v2_fhir.reading import Reading
from mappings.hl7v2_fhir.vocabulary import US_NPI, US_SSN, Json, typed

_BY_TYPE = {"NPI": US_NPI, "SS": US_SSN}
"""Types of HL7 table 0203 that are one authority's numbers by definition."""


def system(reading: Reading, hd: str) -> str:
    """The system of an assigning authority given as HD with subcomponents."""
    parts = [reading.text(part) for part in hd.split(reading.subcomponent)]
    return reading.dialect.authority(parts[0], parts[1] if len(parts) > 1 else "", parts[2] if len(parts) > 2 else "")


def extended(reading: Reading, raw: str, default: str = "") -> Json | None:
    """CX: value, authority, type, validity; `default` is the type that the field's definition gives."""
    parts = reading.parts(raw, 8)
    value = reading.text(parts[0])
    if not value:
        return None
    kind = reading.text(parts[4]) or default
    return identifier(reading, value, parts[3], kind)


def identifier(reading: Reading, value: str, hd: str, kind: str = "") -> Json:
    """An Identifier of a decoded value, a raw HD and a type code."""
    universal = reading.subcomponent in hd
    found: Json = {}
    if kind:
        found["type"] = typed(kind) if " " not in kind else {"text": kind}
    found["system"] = _BY_TYPE[kind] if kind in _BY_TYPE and not universal else system(reading, hd)
    found["value"] = value
    return found


def entity(reading: Reading, raw: str, kind: str = "") -> Json | None:
    """EI: entity identifier, namespace, universal id and its type; None when it says nothing."""
    return _entity(reading, reading.texts(raw, 4), kind) if raw else None


def pair(reading: Reading, raw: str, index: int, kind: str) -> Json | None:
    """One half of an EIP: 0 the placer's, 1 the filler's number, each an EI with subcomponents."""
    half = reading.parts(raw, 2)[index].split(reading.subcomponent)
    return _entity(reading, [reading.text(part) for part in half] + [""] * 3, kind)


def _entity(reading: Reading, parts: list[str], kind: str) -> Json | None:
    if not parts[0]:
        return None
    found: Json = {"type": typed(kind)} if kind else {}
    found["system"] = reading.dialect.authority(parts[1], parts[2], parts[3])
    found["value"] = parts[0]
    return found
