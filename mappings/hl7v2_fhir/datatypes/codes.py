"""CE, CWE, CNE, CF, IS and ID as CodeableConcept: up to three codings, with their systems, versions and text.

A code never gets a system that the message does not name: a local one is scoped to its sender.
"""

from __future__ import annotations

from typing import NamedTuple

from mappings.hl7v2_fhir.reading import Reading
from mappings.hl7v2_fhir.vocabulary import INTERPRETATION, STANDARD, TERMINOLOGY, Json, absent_extension, own_text

#: code, display, system, version of the three codings of a CWE (HL7 2A.3.15: components 1-3, 4-6, 10-12)
_CODINGS = ((0, 1, 2, 6), (3, 4, 5, 7), (9, 10, 11, 12))


_FLAG_SYSTEMS = frozenset({"", "HL70078", "0078", "2.16.840.1.113883.12.78"})


class Coded(NamedTuple):
    """OBX-3 or OBR-4: the concept, and the sender's own code for it, which names the test in stable ids."""

    concept: Json
    code: str
    system: str
    missing: bool = False


class Flag(NamedTuple):
    """One abnormal flag."""

    concept: Json
    known: bool


def concept(reading: Reading, raw: str) -> Json | None:
    """One coded value, None when it says nothing."""
    if not raw or raw == '""':
        return None
    parts = reading.texts(raw, 3)
    n = len(parts)
    codings: list[Json] = []
    for code, display, system, version in _CODINGS:
        if code >= n:
            break
        coding = _coding(
            reading,
            parts[code],
            parts[display] if display < n else "",
            parts[system] if system < n else "",
            parts[version] if version < n else "",
        )
        if coding:
            codings.append(coding)
    found: Json = {"coding": codings} if codings else {}
    text = parts[8] if n > 8 else ""
    if text := text or next((parts[i] for i in (1, 4, 10) if i < n and parts[i]), ""):
        found["text"] = text
        if n > 4 and (left := _words_left(parts, n, text)):
            found["extension"] = [own_text("v2-original-text", words) for words in left]
    elif codings and "system" not in codings[0]:
        found["text"] = codings[0]["code"]
    return found or None


def _words_left(parts: list[str], n: int, text: str) -> list[str]:
    """The words of codings without a code that are not the text: no coding shows them."""
    left = [parts[i] for code, i, *_ in _CODINGS if i < n and parts[i] and not parts[code]]
    return [words for words in dict.fromkeys(left) if words != text]


def _coding(reading: Reading, code: str, display: str, system: str, version: str) -> Json:
    """One coding. A display without a code is text, not a coding; a code with inner spaces is none in FHIR."""
    if not code:
        return {}
    coding: Json = {}
    if system:
        coding["system"] = reading.dialect.code_system(system)
        if version:
            coding["version"] = version
    coding["code"] = " ".join(code.split())
    if display:
        coding["display"] = display
    return coding


def concepts(reading: Reading, raw: str) -> list[Json]:
    """Every repetition of a coded field."""
    return [found for part in reading.repetitions(raw) if (found := concept(reading, part))]


def coded(reading: Reading, raw: str) -> Coded:
    """OBX-3 or OBR-4; remembered. Missing codes say so: the element is required."""
    return reading.dialect.cached(_coded, reading, raw)


def _coded(reading: Reading, raw: str) -> Coded:
    raw = raw.split(reading.repetition, 1)[0]
    found = concept(reading, raw)
    if found is None:
        return Coded({"extension": [absent_extension("unknown")]}, "", "", missing=True)
    parts = reading.texts(raw, 6)
    own = 3 if _is_standard(reading, parts[2]) and parts[3] and not _is_standard(reading, parts[5]) else 0
    return Coded(found, parts[own] or parts[1], parts[own + 2])


def _is_standard(reading: Reading, system: str) -> bool:
    """True for a code system that is not the sender's own.

    A stable id is made of the sender's own code where both are there: the id must not change on the day a mapping
    table learns the code.
    """
    return bool(system) and not reading.dialect.code_system(system).startswith("urn:interlock:")


def flags(reading: Reading, raw: str) -> tuple[Flag, ...]:
    """OBX-8: each repetition a concept; remembered."""
    return reading.dialect.cached(_flags, reading, raw)


def _flags(reading: Reading, raw: str) -> tuple[Flag, ...]:
    made = (_flag(reading, part) for part in reading.repetitions(raw))
    return tuple(flag for flag in made if flag is not None)


def _flag(reading: Reading, raw: str) -> Flag | None:
    """One flag: of table 0078, of another named system, or its text; None when only a system or version is there."""
    parts = reading.texts(raw, 9)
    code, display, system = parts[:3]
    if code in INTERPRETATION and system in _FLAG_SYSTEMS:
        coding = INTERPRETATION[code]
        other = display and display.casefold() != coding["display"].casefold()
        return Flag({"coding": [coding], **({"text": display} if other else {})}, True)
    if system not in _FLAG_SYSTEMS:
        made = concept(reading, raw)
        return Flag(made, True) if made else None
    text = " ".join(part for part in (code, display) if part) or parts[3] or parts[4] or parts[8]
    return Flag({"text": text}, False) if text else None


def status_extension(code: str, system: str, known: bool) -> Json:
    """The v2 status code beside a FHIR status that says less: as a code where its table has it, else as text."""
    said: Json = {"coding": [{"system": TERMINOLOGY + system, "code": code}]} if known else {"text": code}
    return {"extension": [{"url": STANDARD + "alternate-codes", "valueCodeableConcept": said}]}
