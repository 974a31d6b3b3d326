"""SAC as a container of its Specimen; where no SPM stands before it, as a Specimen that is known by its container."""

from __future__ import annotations

from mappings.hl7v2_fhir.datatypes.notes import annotated
from mappings.hl7v2_fhir.ids import stable
from mappings.hl7v2_fhir.reading import Reading
from mappings.hl7v2_fhir.standing import map_named
from mappings.hl7v2_fhir.structure import Noted
from mappings.hl7v2_fhir.vocabulary import Json

_MAP = "SAC-Specimen+"


def put_container(reading: Reading, found: Json, sac: Noted) -> None:
    """Add a container to a Specimen; the first one joins what SPM says of it."""
    made: Json = {}
    map_named(reading, "SAC", _MAP).fill(reading, sac.row, made, sac.where)
    for name in ("identifier", "extension"):
        if name in made:
            known = found.setdefault(name, [])
            known += (one for one in made[name] if one not in known)
    containers = made.get("container", [])
    first = found.get("container", [])
    if containers and first and len(first) == 1 and "identifier" not in first[0]:
        first[0] = {**containers[0], **first[0]}
    elif containers:
        found.setdefault("container", []).extend(containers)
    if notes := annotated(reading, sac.take_notes()):
        found.setdefault("note", []).extend(notes)


def loose_container(reading: Reading, sac: Noted) -> None:
    """A container without a specimen segment."""
    number = next((reading.text(raw) for raw in sac.row[1:4] if raw), "")
    key = (number,) if number else (reading.own_name, str(sac.number))
    found: Json = {"resourceType": "Specimen", "id": stable("Specimen", "SAC", reading.sender, *key)}
    if subject := reading.around.get("patient"):
        found["subject"] = subject
    put_container(reading, found, sac)
    reading.put(found)
