"""MSH and EVN: who sends what to whom, under which control id, and whether it is a test."""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import NamedTuple

from mappings.fhir_hl7v2.clock import received, stamp
from mappings.fhir_hl7v2.fields import Fields, segment
from mappings.fhir_hl7v2.identifiers import authority
from mappings.fhir_hl7v2.leaves import leaf, leaves, repeated
from mappings.fhir_hl7v2.writing import Json, Writing
from mappings.hl7v2_fhir.vocabulary import TERMINOLOGY

_PROCESSING = TERMINOLOGY + "v2-0103"
_TEST = (TERMINOLOGY + "v3-ActReason", "HTEST")

#: MSH-10 has 20 characters up to 2.6 and 199 since 2.7 (HL7 2.9.2.10).
_SHORT_ID, _LONG_ID = 20, 199


class Kind(NamedTuple):
    """A type of message: MSH-9."""

    code: str
    trigger: str
    structure: str


def msh(w: Writing, kind: Kind) -> str:
    """The MSH. Ends are the destination's options, else what a MessageHeader says."""
    said = next(iter(w.of("MessageHeader")), {})
    if said:
        w.use(said)
        w.skip(said, "eventCoding", "eventUri", "focus")
    source, target = w.item(said, "source"), w.item(said, "destination")
    options = w.options
    fields: Fields = {
        3: leaf(options.sending_application) or _end(w, source),
        4: leaf(options.sending_facility) or _facility(w, said, "sender"),
        5: leaf(options.receiving_application) or _end(w, target),
        6: leaf(options.receiving_facility) or _facility(w, target, "receiver", said),
        7: time_of_message(w),
        9: leaves(kind),
        10: leaf(control_id(w)),
        11: processing(w),
        12: options.version,
        18: "UNICODE UTF-8",
    }
    if options.since("2.4"):
        fields[21] = _profiles(w)
    return segment("MSH", fields).replace("MSH|||", "MSH|^~\\&|", 1)


def evn(w: Writing, trigger: str, occurred: str = "") -> str:
    """The EVN: event, when it was recorded, and when it happened."""
    return segment("EVN", {1: "" if w.options.since("2.7") else trigger, 2: time_of_message(w), 6: occurred})


def time_of_message(w: Writing) -> str:
    """The Bundle's timestamp, else when the engine took it."""
    return stamp(w, w.bundle, "timestamp", "Bundle.timestamp") or received(w)


def control_id(w: Writing) -> str:
    """The Bundle's identifier, else its or the header's id; too long or absent, digits that name the whole content."""
    header = next(iter(w.of("MessageHeader")), {})
    most = _LONG_ID if w.options.since("2.7") else _SHORT_ID
    for found in (w.text(w.item(w.bundle, "identifier"), "value"), w.text(w.bundle, "id"), w.text(header, "id")):
        if found and len(found) <= most and found.isprintable():
            return found
    content = json.dumps([w.bundle, w.resources], default=str, sort_keys=True)
    return blake2b(content.encode("utf-8", "surrogatepass"), digest_size=_SHORT_ID // 2).hexdigest()


def processing(w: Writing) -> str:
    """MSH-11: T or D where anything that was sent is tagged so, else P: test data never passes for production."""
    codes = set()
    for resource in (w.bundle, *w.resources):
        meta = w.item(resource, "meta")
        for tag in [*w.items(meta, "tag"), *w.items(meta, "security")]:
            if tag.get("system") == _PROCESSING and tag.get("code") in ("T", "D"):
                codes.add(tag["code"])
            elif (tag.get("system"), tag.get("code")) == _TEST:
                codes.add("T")
    return "T" if "T" in codes else "D" if codes else "P"


def _end(w: Writing, end: Json) -> str:
    """An application (HD): its name, and its address where that is more than a place."""
    found = authority(w, w.text(end, "endpoint"))
    name = w.text(end, "name")
    w.skip(end, "_endpoint", "software", "version")
    return leaves((name or found.namespace, found.universal, found.kind))


def _facility(w: Writing, element: Json, name: str, owner: Json | None = None) -> str:
    found, reference = w.target(element, name, owner or element)
    return leaf(w.text(found, "name") or w.text(reference, "display"))


def _profiles(w: Writing) -> str:
    """MSH-21: each profile of the option as EI; in 2.4 the field is an ID."""
    found = w.options.profile
    if not w.options.since("2.5"):
        return repeated(leaf(part.split("^")[0]) for part in found)
    return repeated(leaves(part.split("^")) for part in found)
