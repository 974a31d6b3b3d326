"""XPN, XCN, XAD and XTN as HumanName, Address and ContactPoint."""

from __future__ import annotations

from mappings.hl7v2_fhir.datatypes.times import read_time
from mappings.hl7v2_fhir.reading import Reading
from mappings.hl7v2_fhir.vocabulary import ADDRESS_USE, NAME_USE, STANDARD, TELECOM_SYSTEM, TELECOM_USE, Json

_ADDRESS = (("city", 2), ("district", 8), ("state", 3), ("postalCode", 4), ("country", 5))
_NAME_VALID, _PROFESSIONAL, _ADDRESS_VALID, _TELECOM_VALID = 11, 13, 12, 12  # components, counted from 0
_POSTAL = frozenset({"M", "SH"})
_FAMILY_PARTS = ("own-prefix", "own-name", "partner-prefix", "partner-name")  # FN.2 to FN.5


def person_name(reading: Reading, parts: list[str], kind: str = "") -> Json | None:
    """A name from its raw components: family (FN), given, further given, suffix, prefix, degree."""
    text = reading.text
    family, *more = parts[0].split(reading.subcomponent)
    given = [text(parts[1])] if parts[1] else []
    if parts[2]:
        given += text(parts[2]).split()
    name: Json = {}
    if kind and (use := NAME_USE.get(kind)):
        name["use"] = use
    if surname := text(family):
        name["family"] = surname
        if more and (extensions := _family_parts(reading, more[:4])):
            name["_family"] = {"extension": extensions}
    if given := [part for part in given if part]:
        name["given"] = given
    if parts[4] and (prefix := text(parts[4])):
        name["prefix"] = [prefix]
    if (parts[3] or parts[5]) and (suffix := [part for part in (text(parts[3]), text(parts[5])) if part]):
        name["suffix"] = suffix
    return name if len(name) > ("use" in name) else None


def _family_parts(reading: Reading, parts: list[str]) -> list[Json]:
    pairs = zip(_FAMILY_PARTS, parts, strict=False)
    return [
        {"url": f"{STANDARD}humanname-{name}", "valueString": value}
        for name, raw in pairs
        if (value := reading.text(raw))
    ]


def names(reading: Reading, raw: str) -> list[Json]:
    """XPN: every repetition."""
    found = []
    for repetition in reading.repetitions(raw):
        parts = reading.parts(repetition, 7)
        if name := person_name(reading, parts, reading.text(parts[6])):
            if len(parts) > _NAME_VALID:
                _more_of_name(reading, name, parts)
            found.append(name)
    return found


def _more_of_name(reading: Reading, name: Json, parts: list[str]) -> None:
    """XPN.12 and 13, from when and to when the name holds, and XPN.14, the professional suffix."""
    _valid(reading, name, parts, _NAME_VALID)
    if len(parts) > _PROFESSIONAL and (suffix := reading.text(parts[_PROFESSIONAL])):
        name["suffix"] = [*name.get("suffix", ()), suffix]


def _valid(reading: Reading, target: Json, parts: list[str], first: int) -> None:
    """The period between two components; what is no time is left out."""
    said = [read_time(reading, part)[0] if part else "" for part in (*parts[first:], "", "")[:2]]
    if period := {name: time for name, time in zip(("start", "end"), said, strict=True) if time}:
        target["period"] = period


def shown(name: Json) -> str:
    """A name on one line."""
    return " ".join([*name.get("prefix", ()), *name.get("given", ()), name.get("family", ""), *name.get("suffix", ())])


def addresses(reading: Reading, raw: str) -> list[Json]:
    """XAD: every repetition."""
    return [found for repetition in reading.repetitions(raw) if (found := address(reading, repetition))]


def address(reading: Reading, raw: str) -> Json | None:
    """One XAD: street and other designation as lines, the county as district."""
    parts = reading.texts(raw, 9)
    kind = parts[6]
    found: Json = {}
    if use := ADDRESS_USE.get(kind):
        found["use"] = use
    if kind in _POSTAL:
        found["type"] = "postal"
    before = len(found)
    street = [parts[0]]
    if reading.subcomponent in raw:
        street = [reading.text(part) for part in raw.split(reading.component, 1)[0].split(reading.subcomponent)[:3]]
        parts[1:] = [_first_said(reading, part) for part in reading.parts(raw, 9)[1:]]
    if lines := [line for line in (*street, parts[1]) if line]:
        found["line"] = lines
    for name, index in _ADDRESS:
        if value := parts[index]:
            found[name] = value
    if len(found) == before:
        return None
    if len(parts) > _ADDRESS_VALID:
        _valid(reading, found, parts, _ADDRESS_VALID)
    return found


def _first_said(reading: Reading, raw: str) -> str:
    """The first subcomponent that says something."""
    return next((text for part in raw.split(reading.subcomponent) if (text := reading.text(part))), "")


def telecoms(reading: Reading, raw: str, use: str = "") -> list[Json]:
    """XTN: every repetition; `use` is what the field's definition says where the value does not."""
    if not raw:
        return []
    return [found for repetition in reading.repetitions(raw) if (found := telecom(reading, repetition, use))]


def telecom(reading: Reading, raw: str, use: str) -> Json | None:
    """One XTN: unformatted (12), else composed of 5 to 8, else as given in 1; email from 4."""
    parts = reading.texts(raw, 12)
    kind = parts[2]
    system = TELECOM_SYSTEM.get(kind, "email" if parts[1] == "NET" and not kind else "phone")
    value = (parts[3] if system == "email" else "") or parts[11] or _composed(parts) or parts[0] or parts[3]
    if not value:
        return None
    if not kind and "@" in value:
        system = "email"
    use = "mobile" if kind == "CP" else TELECOM_USE.get(parts[1], use)
    found = {"system": system, "value": value, "use": use} if use else {"system": system, "value": value}
    if len(parts) > _TELECOM_VALID:
        _valid(reading, found, parts, _TELECOM_VALID)
    return found


def _composed(parts: list[str]) -> str:
    country, area, local, extension = parts[4:8]
    if not local:
        return ""
    number = f"({area}) {local}" if area else local
    if country:
        number = f"+{country.lstrip('+')} {number}"
    return f"{number} x{extension}" if extension else number
