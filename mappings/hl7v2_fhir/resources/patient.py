"""PID as Patient: identifiers, names, contact, birth and death. What is rarer stands in demographics.py."""

from __future__ import annotations

from mappings.hl7v2_fhir.datatypes.codes import concept, concepts
from mappings.hl7v2_fhir.datatypes.identifiers import extended
from mappings.hl7v2_fhir.datatypes.names import addresses, names, telecoms
from mappings.hl7v2_fhir.datatypes.quantities import whole
from mappings.hl7v2_fhir.datatypes.times import put_date, put_period, put_time
from mappings.hl7v2_fhir.ids import stable
from mappings.hl7v2_fhir.reading import Reading, Row
from mappings.hl7v2_fhir.resources.account import account
from mappings.hl7v2_fhir.resources.demographics import more_of, mother
from mappings.hl7v2_fhir.vocabulary import (
    MARITAL_STATUS,
    RESULTS,
    SEX,
    STANDARD,
    US_SSN,
    Json,
    typed,
)

_KEY_TYPES = {kind: rank for rank, kind in enumerate(("MR", "PI", "PT", ""))}
"""Which of a patient's identifiers names the resource, best first; then any: the order in PID-3 does not matter."""

_IDENTIFIERS = ((2, ""), (3, ""), (4, ""), (18, "AN"), (19, "SS"), (20, "DL"))
"""The fields that hold identifiers, with the type that the field's definition gives."""


def patient(reading: Reading, pid: Row, fallback: str) -> Json:
    """Write the Patient; a reference to it. `fallback` names the message, for a patient without any identifier."""
    identifiers = _identifiers(reading, pid)
    found: Json = {"resourceType": "Patient", "id": _identity(reading, pid, identifiers, fallback)}
    if pid[6] and (maiden := _maiden_names(reading, pid[6])):
        found["extension"] = maiden
    if identifiers:
        found["identifier"] = identifiers
    if called := names(reading, pid[5]) + (names(reading, pid[9]) if pid[9] else []):
        found["name"] = called
    if (pid[13] or pid[14]) and (telecom := telecoms(reading, pid[13], "home") + telecoms(reading, pid[14], "work")):
        found["telecom"] = telecom
    if pid[8]:
        _gender(reading, found, pid[8])
    if pid[7]:
        put_date(reading, found, "birthDate", pid[7], "PID-7")
        _birth_time(reading, found, pid[7])
    if pid[11] and (places := addresses(reading, pid[11])):
        found["address"] = places
    if any(pid[15:31]):
        _life(reading, found, pid)
    if pid[10] or pid[12] or any(pid[17:41]):
        more_of(reading, found, pid)
    subject = reading.put(found)
    if pid[21]:
        mother(reading, pid, subject)
    if pid[18] and reading.header[9][:3] not in RESULTS:
        account(reading, pid[18], subject)
    return subject


def _identifiers(reading: Reading, pid: Row) -> list[Json]:
    """Every identifier once: the same number of the same authority is one, whatever its type."""
    found: dict[tuple[str, str], Json] = {}
    for field, kind in _IDENTIFIERS:
        if not (raw := pid[field]):
            continue
        for repetition in reading.repetitions(raw):
            if made := _licence(reading, repetition) if field == 20 else extended(reading, repetition, kind):
                if field == 19:
                    made["system"] = US_SSN
                found.setdefault((made["system"], made["value"]), made)
    return list(found.values())


def _licence(reading: Reading, raw: str) -> Json | None:
    """DLN: a driver's licence, whose authority is the state that issued it."""
    parts = reading.parts(raw, 3)
    value, state = reading.text(parts[0]), reading.text(parts[1])
    if not value:
        return None
    found: Json = {"type": typed("DL"), "system": reading.dialect.authority(state, "", ""), "value": value}
    put_period(reading, found, "period", "", parts[2], "PID-20")
    return found


def _identity(reading: Reading, pid: Row, identifiers: list[Json], fallback: str) -> str:
    """The id: of the best identifier, else of the message or order and of what the patient is called."""
    if not identifiers:
        reading.find("patient_without_identifier", "PID-3")
        return stable("Patient", reading.sender, fallback, pid[5], pid[7], pid[8])
    best = best_of(identifiers)
    return stable("Patient", best["system"], best["value"])


def best_of(identifiers: list[Json]) -> Json:
    """The identifier that names the resource."""
    return min(identifiers, key=_rank) if len(identifiers) > 1 else identifiers[0]


def _rank(identifier: Json) -> int:
    coding = identifier.get("type", {}).get("coding")
    return _KEY_TYPES.get(coding[0]["code"] if coding else "", len(_KEY_TYPES))


def _gender(reading: Reading, found: Json, raw: str) -> None:
    code = reading.part(raw)
    if not code:
        return
    found["gender"] = SEX.get(code.upper(), "unknown")
    if code.upper() not in SEX:
        reading.find("sex_unknown", "PID-8")
        found["_gender"] = {
            "extension": [{"url": STANDARD + "alternate-codes", "valueCodeableConcept": {"text": code}}]
        }


def _birth_time(reading: Reading, found: Json, raw: str) -> None:
    """The time of day of a birth, which birthDate cannot hold."""
    if len(raw) < 12 or "birthDate" not in found:
        return
    extension: Json = {"url": STANDARD + "patient-birthTime"}
    put_time(reading, extension, "valueDateTime", raw, "PID-7")
    if "T" in extension.get("valueDateTime", ""):
        found["_birthDate"] = {"extension": [extension]}


def _life(reading: Reading, found: Json, pid: Row) -> None:
    """Marital status, languages, multiple birth, death."""
    if pid[16] and (status := concept(reading, pid[16])):
        known = MARITAL_STATUS.get(reading.part(pid[16]))
        found["maritalStatus"] = {**status, "coding": [known, *status.get("coding", ())]} if known else status
    if spoken := concepts(reading, pid[15]):
        found["communication"] = [{"language": language} for language in spoken]
    order = reading.text(pid[25])
    if (number := whole(order)) is not None:
        found["multipleBirthInteger"] = number
    elif reading.text(pid[24]) in ("Y", "N"):
        found["multipleBirthBoolean"] = reading.text(pid[24]) == "Y"
    put_time(reading, found, "deceasedDateTime", pid[29], "PID-29")
    if "deceasedDateTime" not in found and reading.text(pid[30]) in ("Y", "N"):
        found.pop("_deceasedDateTime", None)
        found["deceasedBoolean"] = reading.text(pid[30]) == "Y"


def _maiden_names(reading: Reading, raw: str) -> list[Json]:
    """PID-6, the mother's maiden name, which Patient has no element for."""
    families = [name["family"] for name in names(reading, raw) if "family" in name]
    return [{"url": STANDARD + "patient-mothersMaidenName", "valueString": family} for family in families]
