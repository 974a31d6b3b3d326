"""PL as Location: the place itself and each larger one that it is part of (bed, room, ward, floor, building, site)."""

from __future__ import annotations

from mappings.hl7v2_fhir.datatypes.identifiers import system
from mappings.hl7v2_fhir.ids import stable
from mappings.hl7v2_fhir.reading import Reading
from mappings.hl7v2_fhir.structure import Noted
from mappings.hl7v2_fhir.vocabulary import SUGGESTED, TERMINOLOGY, Json

_LEVELS = (
    (3, "si", "Site"),
    (6, "bu", "Building"),
    (7, "lvl", "Level"),
    (0, "wa", "Ward"),
    (1, "ro", "Room"),
    (2, "bd", "Bed"),
)
"""The components of a PL from the largest place to the smallest, as FHIR's physical types."""

_SHOWN = (0, 1, 2, 3)


def shown_place(reading: Reading, raw: str) -> str:
    """A location (PL) to show: point of care, room, bed, facility."""
    parts = reading.parts(raw.split(reading.repetition, 1)[0], 4)
    return " ".join(text for index in _SHOWN if (text := _name(reading, parts[index])))


def location(reading: Reading, raw: str, bed_status: str = "") -> Json | None:
    """A reference to the smallest place that a PL names; `bed_status` is a code of HL7 table 0116."""
    raw = raw.split(reading.repetition, 1)[0]
    if not raw or raw == '""':
        return None
    parts = reading.parts(raw, 11)
    levels = [(name, code, display) for index, code, display in _LEVELS if (name := _name(reading, parts[index]))]
    description = reading.text(parts[8])
    if not levels and not description:
        return None
    path: list[str] = []
    inside: Json | None = None
    for name, code, display in levels or [(description, "", "")]:
        path.append(f"{code}={name}")
        inside = reading.put(_place(reading, path, name, code, display, inside))
    assert inside is not None
    _details(reading, reading.resources[inside["reference"]], parts, bed_status)
    return {**inside, "display": shown_place(reading, raw) or description}


def bed(reading: Reading, npu: Noted) -> None:
    """NPU: a bed and its status."""
    location(reading, npu.row[1], reading.part(npu.row[2]))


def _place(reading: Reading, path: list[str], name: str, code: str, display: str, inside: Json | None) -> Json:
    """One place. Its id is made of the sender and of all that it is part of: every ward may have a room 1."""
    found: Json = {"resourceType": "Location", "id": stable("Location", reading.sender, *path), "name": name}
    found["mode"] = "instance"
    if code:
        system_of = TERMINOLOGY + "location-physical-type"
        found["physicalType"] = {"coding": [{"system": system_of, "code": code, "display": display}]}
    if inside:
        found["partOf"] = inside
    return found


def _details(reading: Reading, place: Json, parts: list[str], bed_status: str) -> None:
    """Description, kind, comprehensive identifier and state of the smallest place."""
    if text := reading.text(parts[8]):
        place["description"] = text
    if kind := reading.text(parts[5]):
        known = SUGGESTED.get(f"0305 {kind}")
        place["type"] = [{"coding": [known]} if known else {"text": kind}]
    number, _, authority = parts[9].partition(reading.subcomponent)
    if value := reading.text(number):
        place["identifier"] = [{"system": system(reading, authority), "value": value}]
    if bed_status:
        place["operationalStatus"] = {"system": TERMINOLOGY + "v2-0116", "code": bed_status}


def _name(reading: Reading, part: str) -> str:
    """The first subcomponent of a place (HD): the name that people use."""
    return reading.text(part.split(reading.subcomponent, 1)[0])
