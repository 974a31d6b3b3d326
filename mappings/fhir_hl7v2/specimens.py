"""Specimen as SPM, and before 2.5 as OBR-15."""

from __future__ import annotations

from mappings.fhir_hl7v2.clock import choice, range_of_times, stamp
from mappings.fhir_hl7v2.codes import nested
from mappings.fhir_hl7v2.fields import Fields, fill, segment
from mappings.fhir_hl7v2.identifiers import NO_NUMBER, number, numbers, of_kind, pair
from mappings.fhir_hl7v2.leaves import inside, joined, leaf, repeated
from mappings.fhir_hl7v2.writing import Json, Writing

_AVAILABLE = {"available": "Y", "unavailable": "N"}


def spm(w: Writing, specimen: Json, set_id: int, *, ordered: bool = False) -> str:
    """The SPM of a Specimen. In an order an untyped number is the placer's, in a result the filler's."""
    w.skip(specimen, "subject", "request")
    known = numbers(w, specimen)
    placer, filler = of_kind(known, "PLAC"), of_kind(known, "FILL")
    untyped = next((one for one in known if not one.kind), NO_NUMBER)
    if untyped.value and not (placer.value or filler.value):
        placer, filler = (untyped, filler) if ordered else (placer, untyped)
    fields: Fields = {1: str(set_id), 2: pair(placer, filler), 3: _parents(w, specimen)}
    others = [one for one in known if one not in (placer, filler)]
    if w.options.since("2.7"):
        fields[31] = repeated(one.cx for one in others)
    elif others:
        w.find("element_left_out", "Specimen.identifier")
    fields[14] = repeated(leaf(w.text(note, "text")) for note in w.items(specimen, "note"))
    collection = w.item(specimen, "collection")
    fields[17] = range_of_times(*choice(w, collection, "collected", "Specimen.collection"))
    fields[20] = _AVAILABLE.get(w.text(specimen, "status"), "")
    if specimen.get("status") and not fields[20]:
        w.find("code_unknown", "Specimen.status")
    return segment("SPM", fill(w, "SPM-Specimen", specimen, fields))


def _parents(w: Writing, specimen: Json) -> str:
    """SPM-3: the numbers of the specimens that this one was taken from."""
    found = []
    for reference in w.items(specimen, "parent"):
        parent = w.follow(reference, specimen)
        known = numbers(w, parent) if parent else [number(w, w.item(reference, "identifier"))]
        placer, filler = of_kind(known, "PLAC"), of_kind(known, "FILL")
        if not (placer.value or filler.value) and known:
            filler = known[0]
        found.append(pair(placer, filler))
    return repeated(found)


def source(w: Writing, specimen: Json, fields: Fields) -> None:
    """OBR-14 and OBR-15 (SPS: type, additives, text, site, modifier, method) for versions without SPM."""
    w.skip(specimen, "subject", "request")
    collection = w.item(specimen, "collection")
    words = ", ".join(w.text(note, "text") for note in w.items(specimen, "note"))
    parts = (nested(w, specimen, "type"), "", leaf(words), nested(w, collection, "bodySite"), "")
    fields[15] = joined((*map(inside, parts), nested(w, collection, "method")))
    fields[14] = stamp(w, specimen, "receivedTime", "Specimen.receivedTime")
    if not fields.get(7):
        fields[7], fields[8] = choice(w, collection, "collected", "Specimen.collection")
    elif choice(w, collection, "collected", "Specimen.collection")[0] != fields[7]:
        w.find("element_left_out", "Specimen.collection.collected")
    if numbers(w, specimen):
        w.find("element_left_out", "Specimen.identifier")
