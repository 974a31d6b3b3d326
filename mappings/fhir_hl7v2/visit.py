"""Encounter as PV1, with the notes of the visit."""

from __future__ import annotations

from mappings.fhir_hl7v2.codes import code_of
from mappings.fhir_hl7v2.fields import Fields, fill, segment
from mappings.fhir_hl7v2.identifiers import numbers, of_kind
from mappings.fhir_hl7v2.leaves import leaf, placed, repeated
from mappings.fhir_hl7v2.names import people
from mappings.fhir_hl7v2.notes import annotated
from mappings.fhir_hl7v2.vocabulary import own
from mappings.fhir_hl7v2.writing import Json, Writing
from mappings.hl7v2_fhir.vocabulary import STANDARD, TERMINOLOGY

_KINDS = TERMINOLOGY + "v3-ParticipationType"
_FIELD = {"ATND": 7, "REF": 8, "CON": 9, "ADM": 17}

_PHYSICAL = (TERMINOLOGY + "location-physical-type",)
_LEVELS = {"wa": 1, "ro": 2, "bd": 3, "si": 4, "bu": 7, "lvl": 8}
"""Components of PL by the physical type of a Location."""
_OTHER_PLACES = {"completed": 6, "active": 11, "reserved": 42}

_V2_CLASS = TERMINOLOGY + "v2-0004"


def pv1(w: Writing, encounter: Json) -> list[str]:
    """The PV1 of an Encounter; nothing where there is none."""
    if not encounter:
        return []
    fields: Fields = {1: "1", 2: patient_class(w, encounter)}
    _places(w, encounter, fields)
    w.skip(encounter, "status", "subject")
    known = numbers(w, encounter)
    visit = of_kind(known, "VN")
    visit = visit if visit.value else (known or [visit])[0]
    others = [one for one in known if one != visit]
    fields[19] = visit.cx
    fields[50] = repeated(one.cx for one in (others if w.options.since("2.7") else others[:1]))
    if others[1:] and not w.options.since("2.7"):
        w.find("element_left_out", "Encounter.identifier")
    _participants(w, encounter, fields)
    return [segment("PV1", fill(w, "PV1-Encounter", encounter, fields))]


def visit_notes(w: Writing, encounter: Json, first: int) -> list[str]:
    """The notes of a visit, from that number on: no structure has NTE behind PV1, so they stand with the patient's."""
    found = [w.item(extension, "valueAnnotation") for extension in w.extension(encounter, STANDARD + "note")]
    return annotated(w, found, max(first, 1))


def patient_class(w: Writing, encounter: Json) -> str:
    """PV1-2; U, unknown, with a finding for a class that v2 has no code of: the field is required."""
    coding = w.item(encounter, "class")
    code = w.text(coding, "code")
    w.skip(coding, "system", "display", "version")
    if coding.get("system") == _V2_CLASS or (code and "system" not in coding):
        return leaf(code)  # without a system it is the sender's own
    found = own("encounter-class").get(code, "")
    if not found:
        w.find("code_unknown", "Encounter.class")
    return found or "U"


def _participants(w: Writing, encounter: Json, fields: Fields) -> None:
    by_field: dict[int, list[tuple[Json, Json]]] = {}
    for participant in w.items(encounter, "participant"):
        for kind in w.items(participant, "type"):
            code = code_of(w, kind, (_KINDS,), {code: code for code in _FIELD})
            if code:
                w.skip(participant, "type")
                found = w.target(participant, "individual", encounter)
                by_field.setdefault(_FIELD[code], []).append(found)
    for field, actors in by_field.items():
        fields[field] = people(w, actors)


def _places(w: Writing, encounter: Json, fields: Fields) -> None:
    """PV1-3 the first place; of the others a left one in PV1-6, one of now in PV1-11, a reserved one in PV1-42."""
    for place in w.items(encounter, "location"):
        found, reference = w.target(place, "location", encounter)
        field = _OTHER_PLACES.get(w.text(place, "status"), 0) if 3 in fields else 3
        written = location(w, found) or placed([(9, leaf(w.text(reference, "display")))])
        if field and written and not fields.get(field):
            fields[field] = written
        elif written:
            w.find("element_left_out", "Encounter.location")


def location(w: Writing, place: Json) -> str:
    """PL: each place of the chain in the component of its physical type; one without a type is the description."""
    parts: list[tuple[int, str]] = []
    met: set[int] = set()
    while place and id(place) not in met:
        met.add(id(place))
        w.use(place)
        w.skip(place, "mode", "status")
        component = _LEVELS.get(code_of(w, w.item(place, "physicalType"), _PHYSICAL), 9)
        name = leaf(w.text(place, "description") if component == 9 and "name" not in place else w.text(place, "name"))
        if not any(n == component for n, text in parts if text):
            parts.append((component, name))
        place, _ = w.target(place, "partOf", place)
    return placed(parts)
