"""PV1 as Encounter: class, status by the event, people, places, admission and discharge.

A message that only brings results has the visit as its setting: its places are shown, not written as resources.
"""

from __future__ import annotations

from mappings.hl7v2_fhir.datatypes.codes import concept
from mappings.hl7v2_fhir.datatypes.identifiers import extended
from mappings.hl7v2_fhir.datatypes.notes import annotated
from mappings.hl7v2_fhir.datatypes.tables import suggested
from mappings.hl7v2_fhir.datatypes.times import put_time
from mappings.hl7v2_fhir.ids import stable
from mappings.hl7v2_fhir.reading import Reading, Row
from mappings.hl7v2_fhir.resources.location import location, shown_place
from mappings.hl7v2_fhir.resources.people import organization, practitioners
from mappings.hl7v2_fhir.structure import Noted
from mappings.hl7v2_fhir.vocabulary import (
    ENCOUNTER_EVENT,
    PATIENT_CLASS,
    RESULTS,
    STANDARD,
    TERMINOLOGY,
    Json,
    absent_extension,
)

_PARTICIPANTS: tuple[tuple[int, list[Json]], ...] = tuple(
    (field, [{"coding": [{"system": TERMINOLOGY + "v3-ParticipationType", "code": code, "display": display}]}])
    for field, code, display in (
        (7, "ATND", "attender"),
        (8, "REF", "referrer"),
        (9, "CON", "consultant"),
        (17, "ADM", "admitter"),
        (52, "PART", "Participation"),
    )
)

_HOSPITALIZATION = (
    (14, "admitSource", "0023"),
    (13, "reAdmission", "0092"),
    (36, "dischargeDisposition", "0112"),
)
_HOSPITALIZATION_LISTS = (
    (38, "dietPreference", "0114"),
    (16, "specialCourtesy", "0099"),
    (15, "specialArrangement", "0009"),
)

#: Events whose word on the visit stands, whatever PV1-45 says: what they cancel may still be in it.
_CANCELLING = frozenset({"A11", "A13", "A23", "A27", "A38"})


def event_of(reading: Reading) -> str:
    """The trigger event, MSH-9.2, such as `A01`."""
    return reading.texts(reading.header[9], 2)[1]


def encounter(reading: Reading, pv1: Row, subject: Json | None, notes: list[Json], fallback: str) -> Json | None:
    """Write the Encounter; None where PV1 says that it does not apply, or neither a class nor anything of a visit."""
    code = reading.part(pv1[2])
    visit = extended(reading, pv1[19].split(reading.repetition, 1)[0], "VN") if pv1[19] else None
    if not _applies(reading, pv1, code, visit):
        return None
    key = (visit["system"], visit["value"]) if visit else (_said(subject), reading.part(pv1[44]) or fallback, code)
    found: Json = {"resourceType": "Encounter", "id": stable("Encounter", *key)}
    if notes:
        found["extension"] = [{"url": STANDARD + "note", "valueAnnotation": note} for note in notes]
    more = [made for part in reading.repetitions(pv1[50]) if (made := extended(reading, part))] if pv1[50] else []
    if numbers := [visit, *more] if visit else more:
        found["identifier"] = numbers
    results = reading.header[9][:3] in RESULTS
    event = "" if results else event_of(reading)
    found["status"] = _status(reading, event, code, pv1[45])
    found["class"] = _class(reading, pv1[2], code)
    _visit(reading, found, pv1, subject, event)
    if results:
        if pv1[3] and (place := reading.dialect.cached(shown_place, reading, pv1[3])):
            found["location"] = [{"location": {"display": place}}]
    else:
        _stay(reading, found, pv1, event)
    return reading.put(found)


def further_visit(reading: Reading, pv1: Noted) -> None:
    """A PV1 after the first one of its patient (A45): from here on it is the visit."""
    notes = annotated(reading, pv1.take_notes())
    made = encounter(reading, pv1.row, reading.around.get("patient"), notes, reading.own_name)
    if made:
        reading.around["encounter"] = made


def _applies(reading: Reading, pv1: Row, code: str, visit: Json | None) -> bool:
    if visit is not None:
        return True
    if code in PATIENT_CLASS:
        return code not in ("N", "U")
    return bool(reading.part(pv1[44])) or (reading.header[9][:3] not in RESULTS and any(pv1[3:8]))


def _class(reading: Reading, raw: str, code: str) -> Json:
    """The class; a code that is not in HL7 table 0004 stays the sender's own."""
    if code in PATIENT_CLASS:
        return PATIENT_CLASS[code]
    if not code:
        return {"extension": [absent_extension("unknown")]}
    reading.find("code_unknown", "PV1-2")
    said = concept(reading, raw.split(reading.repetition, 1)[0]) or {}
    return {key: value for key, value in said.get("coding", [{"code": code}])[0].items() if key != "version"}


def _said(subject: Json | None) -> str:
    """The patient as ids have named it from the first: the text of the reference, or `None`."""
    return f"{{'reference': '{subject['reference']}'}}" if subject else "None"


def _status(reading: Reading, event: str, code: str, discharged: str) -> str:
    """By a cancelling event, else finished by PV1-45, else by the event, else by the class."""
    said = ENCOUNTER_EVENT.get(event, "")
    if event in _CANCELLING:
        return said
    if reading.part(discharged):
        return "finished"
    return said or {"P": "planned", "U": "unknown"}.get(code, "in-progress")


def _visit(reading: Reading, found: Json, pv1: Row, subject: Json | None, event: str) -> None:
    """Kind, service, people and time of a visit."""
    cached = reading.dialect.cached
    if pv1[4] and (kinds := cached(_admission_types, reading, pv1[4])):
        found["type"] = kinds
    if pv1[10] and (services := cached(_services, reading, pv1[10])):
        found["serviceType"] = services[0]
    if subject:
        found["subject"] = subject
    if people := _participants(reading, pv1):
        found["participant"] = people
    if pv1[44] or pv1[45]:
        _period(reading, found, pv1, event)


def _admission_types(reading: Reading, raw: str) -> list[Json]:
    return suggested(reading, raw, "0007")


def _services(reading: Reading, raw: str) -> list[Json]:
    return suggested(reading, raw, "0069")


def _period(reading: Reading, found: Json, pv1: Row, event: str) -> None:
    """Admission to discharge; what a cancelled discharge (A13) still says of its time is reported, not written."""
    period: Json = {}
    put_time(reading, period, "start", pv1[44], "PV1-44")
    if event != "A13":
        put_time(reading, period, "end", pv1[45], "PV1-45")
    elif reading.part(pv1[45]):
        reading.find("discharge_cancelled", "PV1-45")
    if period:
        found["period"] = period


def _participants(reading: Reading, pv1: Row) -> list[Json]:
    found: list[Json] = []
    for field, kind in _PARTICIPANTS:
        if raw := pv1[field]:
            found += ({"type": kind, "individual": person} for person in practitioners(reading, raw))
    return found


def _stay(reading: Reading, found: Json, pv1: Row, event: str) -> None:
    """Places, admission and discharge, provider and episode."""
    if places := _places(reading, pv1, str(found["status"]), event):
        found["location"] = places
    if pv1[18] and (kinds := suggested(reading, pv1[18], "0018")):
        found["type"] = [*found.get("type", ()), *kinds]
    if stay := _hospitalization(reading, pv1):
        found["hospitalization"] = stay
    if pv1[39] and (provider := organization(reading, pv1[39])):
        found["serviceProvider"] = provider
    episode: Json = {"display": text} if (text := reading.text(pv1[53])) else {}
    if pv1[54] and (number := extended(reading, pv1[54].split(reading.repetition, 1)[0])):
        episode["identifier"] = number
    if episode:
        found["episodeOfCare"] = [{"type": "EpisodeOfCare", **episode}]


def _places(reading: Reading, pv1: Row, status: str, event: str) -> list[Json]:
    """Where the patient is, was and will be; after a cancelled transfer (A12) PV1-6 is no place that was left."""
    now = {"finished": "completed", "planned": "planned", "cancelled": "", "entered-in-error": ""}.get(status, "active")
    left = "" if event == "A12" else "completed"
    found = []
    for field, state in ((3, now), (6, left), (11, now), (42, "reserved"), (43, "completed")):
        if pv1[field] and (place := location(reading, pv1[field], reading.part(pv1[40]) if field == 3 else "")):
            found.append({"location": place, **({"status": state} if state else {})})
    return found


def _hospitalization(reading: Reading, pv1: Row) -> Json:
    found: Json = {}
    if pv1[5] and (number := extended(reading, pv1[5].split(reading.repetition, 1)[0])):
        found["preAdmissionIdentifier"] = number
    for field, name, table in _HOSPITALIZATION:
        if pv1[field] and (said := suggested(reading, pv1[field], table)):
            found[name] = said[0]
    for field, name, table in _HOSPITALIZATION_LISTS:
        if pv1[field] and (said := suggested(reading, pv1[field], table)):
            found[name] = said
    if pv1[37] and (place := _destination(reading, pv1[37])):
        found["destination"] = place
    return found


def _destination(reading: Reading, raw: str) -> Json | None:
    """DLD: where the patient was discharged to, a coded place."""
    said = concept(reading, raw.split(reading.component, 1)[0].replace(reading.subcomponent, reading.component))
    if said is None:
        return None
    coding = said.get("coding", [{}])[0]
    name = said.get("text") or coding.get("display") or coding.get("code", "")
    key = stable("Location", reading.sender, "DLD", coding.get("code", name))
    found: Json = {"resourceType": "Location", "id": key, "name": name, "mode": "kind"}
    found["type"] = [said]
    return reading.put(found)
