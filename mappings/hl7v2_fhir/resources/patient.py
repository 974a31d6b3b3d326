"""PID as Patient, and PV1 as Encounter where it names a real patient class."""

from __future__ import annotations

from mappings.hl7v2_fhir.datatypes.codes import concept, concepts
from mappings.hl7v2_fhir.datatypes.identifiers import extended
from mappings.hl7v2_fhir.datatypes.names import addresses, names, telecoms
from mappings.hl7v2_fhir.datatypes.times import put_date, put_period, put_time
from mappings.hl7v2_fhir.ids import stable
from mappings.hl7v2_fhir.reading import Reading, Row
from mappings.hl7v2_fhir.resources.people import practitioners
from mappings.hl7v2_fhir.vocabulary import (
    MARITAL_STATUS,
    PATIENT_CLASS,
    SEX,
    STANDARD,
    TERMINOLOGY,
    US_SSN,
    Json,
)

_KEY_TYPES = {kind: rank for rank, kind in enumerate(("MR", "PI", "PT", ""))}
"""Which of a patient's identifiers names the resource, best first; then any: the order in PID-3 does not matter."""

_IDENTIFIERS = ((2, ""), (3, ""), (4, ""), (18, "AN"), (19, "SS"), (20, "DL"))
"""The fields that hold identifiers, with the type that the field's definition gives."""

_PARTICIPANTS: tuple[tuple[int, list[Json]], ...] = tuple(
    (field, [{"coding": [{"system": TERMINOLOGY + "v3-ParticipationType", "code": code, "display": display}]}])
    for field, code, display in (
        (7, "ATND", "attender"),
        (8, "REF", "referrer"),
        (9, "CON", "consultant"),
        (17, "ADM", "admitter"),
    )
)


def patient(reading: Reading, pid: Row, fallback: str) -> Json:
    """Write the Patient; a reference to it. `fallback` names the message, for a patient without any identifier."""
    identifiers = _identifiers(reading, pid)
    found: Json = {"resourceType": "Patient", "id": _identity(reading, identifiers, fallback)}
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
    return reading.put(found)


def _identifiers(reading: Reading, pid: Row) -> list[Json]:
    """Every identifier once: the same number of the same authority is one, whatever its type."""
    found: dict[tuple[str, str], Json] = {}
    for field, kind in _IDENTIFIERS:
        if not (raw := pid[field]):
            continue
        for repetition in reading.repetitions(raw):
            if made := extended(reading, repetition, kind):
                if field == 19:
                    made["system"] = US_SSN
                found.setdefault((made["system"], made["value"]), made)
    return list(found.values())


def _identity(reading: Reading, identifiers: list[Json], fallback: str) -> str:
    if not identifiers:
        reading.find("patient_without_identifier", "PID-3")
        return stable("Patient", reading.sender, fallback)
    best = min(identifiers, key=_rank) if len(identifiers) > 1 else identifiers[0]
    return stable("Patient", best["system"], best["value"])


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
    if order.isdigit() and order.isascii():
        found["multipleBirthInteger"] = int(order)
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


def encounter(reading: Reading, pv1: Row, subject: Json | None, notes: list[Json], fallback: str) -> Json | None:
    """Write the Encounter; None where PV1 says no patient class, or says it does not apply and names no visit."""
    code = reading.part(pv1[2])
    visit = extended(reading, pv1[19].split(reading.repetition, 1)[0], "VN") if pv1[19] else None
    if code not in PATIENT_CLASS or (code in ("N", "U") and visit is None):
        return None
    key = (visit["system"], visit["value"]) if visit else (_said(subject), reading.part(pv1[44]) or fallback, code)
    found: Json = {"resourceType": "Encounter", "id": stable("Encounter", *key)}
    if notes:
        found["extension"] = [{"url": STANDARD + "note", "valueAnnotation": note} for note in notes]
    more = [made for part in reading.repetitions(pv1[50]) if (made := extended(reading, part))] if pv1[50] else []
    if numbers := [visit, *more] if visit else more:
        found["identifier"] = numbers
    found["status"] = _encounter_status(reading, code, pv1[45])
    found["class"] = PATIENT_CLASS[code]
    _visit(reading, found, pv1, subject)
    return reading.put(found)


def _said(subject: Json | None) -> str:
    """The patient as ids have named it from the first: the text of the reference, or `None`."""
    return f"{{'reference': '{subject['reference']}'}}" if subject else "None"


def _visit(reading: Reading, found: Json, pv1: Row, subject: Json | None) -> None:
    """Kind, service, people, time and place of a visit."""
    cached = reading.dialect.cached
    if pv1[4] and (kinds := cached(concepts, reading, pv1[4])):
        found["type"] = kinds
    if pv1[10] and (service := cached(concept, reading, pv1[10])):
        found["serviceType"] = service
    if subject:
        found["subject"] = subject
    if people := _participants(reading, pv1):
        found["participant"] = people
    if pv1[44] or pv1[45]:
        put_period(reading, found, "period", pv1[44], pv1[45], "PV1-44")
    if pv1[3] and (place := cached(_place, reading, pv1[3])):
        found["location"] = [{"location": {"display": place}}]


def _encounter_status(reading: Reading, code: str, discharged: str) -> str:
    if reading.part(discharged):
        return "finished"
    return {"P": "planned", "U": "unknown"}.get(code, "in-progress")


def _participants(reading: Reading, pv1: Row) -> list[Json]:
    found: list[Json] = []
    for field, kind in _PARTICIPANTS:
        if raw := pv1[field]:
            found += ({"type": kind, "individual": person} for person in practitioners(reading, raw))
    return found


def _place(reading: Reading, raw: str) -> str:
    """A location (PL) to show: point of care, room, bed, facility."""
    parts = reading.parts(raw.split(reading.repetition, 1)[0], 4)[:4]
    return " ".join(text for part in parts if (text := reading.text(part.split(reading.subcomponent, 1)[0])))
