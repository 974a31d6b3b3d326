"""Who made a result: OBX-15 and OBX-23 to 25 the laboratory and its director, OBX-16 people."""

from __future__ import annotations

from mappings.fhir_hl7v2.codes import code_of, code_system, full_type
from mappings.fhir_hl7v2.fields import Fields
from mappings.fhir_hl7v2.identifiers import number
from mappings.fhir_hl7v2.leaves import leaf, leaves, placed
from mappings.fhir_hl7v2.names import address, organization, people
from mappings.fhir_hl7v2.writing import Json, Writing
from mappings.hl7v2_fhir.vocabulary import CLIA, TERMINOLOGY

_DIRECTOR = (TERMINOLOGY + "v2-0912",)

Actor = tuple[Json, Json]
"""A resource ({} when it is not there) and the reference to it."""


def performers(w: Writing, observation: Json, fields: Fields) -> None:
    """Fill OBX-15, 16 and 23 to 25."""
    places: list[Actor] = []
    directors: list[Actor] = []
    others: list[Actor] = []
    for reference in w.items(observation, "performer"):
        found = w.follow(reference, observation)
        kind = found.get("resourceType") or reference.get("type")
        if kind == "Organization":
            places.append((found, reference))
        elif kind == "PractitionerRole" and _is_director(w, found):
            directors.append((found, reference))
        else:
            others.append((found, reference))
    fields[16] = people(w, others)
    _laboratory(w, places, directors, fields)


def _is_director(w: Writing, role: Json) -> bool:
    found = [code_of(w, concept, _DIRECTOR) == "MDIR" for concept in w.items(role, "code")]
    if any(found):
        w.skip(role, "organization")
    return any(found)


def _laboratory(w: Writing, places: list[Actor], directors: list[Actor], fields: Fields) -> None:
    """The laboratory in OBX-23 with its address, a second one in OBX-15, where the first stood before 2.5.1."""
    if w.options.since("2.5.1"):
        if places:
            found, reference = places[0]
            fields[23] = organization(w, found, reference)
            fields[24] = "".join(address(w, one) for one in w.items(found, "address")[:1])
        fields[25] = people(w, directors)
        places = places[1:]
    elif directors:
        w.find("element_left_out", "Observation.performer")
    if places:
        fields[15] = producer(w, *places[0])
    if places[1:]:
        w.find("element_left_out", "Observation.performer")


def producer(w: Writing, place: Json, reference: Json) -> str:
    """OBX-15: the laboratory as a coded element."""
    identifier = w.item(place, "identifier") if place else w.item(reference, "identifier")
    system = w.text(identifier, "system")
    value = number(w, identifier).value
    name = w.text(place, "name") or w.text(reference, "display")
    where = "CLIA" if system == CLIA else code_system(w, system)
    if value and not where.startswith("urn:"):
        return leaves((value, name if name != value else "", where))
    if full_type(w, "CE") and not value:
        return placed([(2, leaf(name))])
    return leaves((value, name if name != value else ""))
