"""SPM, and in versions before it OBR-15, as Specimen."""

from __future__ import annotations

from operator import itemgetter

from mappings.hl7v2_fhir.datatypes.codes import concept, concepts
from mappings.hl7v2_fhir.datatypes.identifiers import extended, pair
from mappings.hl7v2_fhir.datatypes.notes import annotated
from mappings.hl7v2_fhir.datatypes.quantities import composite
from mappings.hl7v2_fhir.datatypes.times import put_period, put_time
from mappings.hl7v2_fhir.ids import stable
from mappings.hl7v2_fhir.reading import Reading, Row, compact
from mappings.hl7v2_fhir.resources.container import put_container
from mappings.hl7v2_fhir.resources.people import practitioners
from mappings.hl7v2_fhir.standing import map_named
from mappings.hl7v2_fhir.structure import Noted
from mappings.hl7v2_fhir.vocabulary import Json

_more = itemgetter(5, 6, 9, 10, 11, 13, 15, 16, 19, 21, 22, 23, 25, 26, 27, 28, 29, 32, 33)
"""The fields of an SPM that few have; its map says what they become."""


def specimen(reading: Reading, spm: Noted, subject: Json | None, order: str) -> Json:
    """Write the Specimen of an SPM; a reference to it. `order` scopes a specimen without a number of its own."""
    row = spm.row
    where = f"SPM[{spm.number}]"
    numbers = _numbers(reading, row[2])
    own = (numbers[0]["system"], numbers[0]["value"]) if numbers else (order, row[1] or str(spm.number))
    numbers += [made for part in reading.repetitions(row[31]) if (made := extended(reading, part))] if row[31] else []
    kind = reading.dialect.cached(concept, reading, row[4])
    found: Json = {"resourceType": "Specimen", "id": _identity(reading, own, kind), "identifier": numbers}
    if row[30]:
        found["accessionIdentifier"] = extended(reading, row[30].split(reading.repetition, 1)[0])
    found["status"] = {"Y": "available", "N": "unavailable"}.get(reading.text(row[20]))
    found["type"] = kind
    found["subject"] = subject
    put_time(reading, found, "receivedTime", row[18], where + "-18")
    if row[3]:
        found["parent"] = [{"identifier": parent} for parent in _numbers(reading, row[3])]
    found["collection"] = _collection(reading, row, where)
    found["condition"] = concepts(reading, row[24]) if row[24] else []
    found["note"] = annotated(reading, spm.notes)
    if row[14]:
        found["note"] = [
            {"text": text} for part in reading.repetitions(row[14]) if (text := reading.text(part))
        ] + found["note"]
    if any(_more(row)):
        if row[21] and found["status"] != "available":
            found["status"] = "unsatisfactory"
        map_named(reading, "SPM", "SPM-Specimen").fill(reading, row, found, where)
    for sac in spm.details:
        put_container(reading, found, sac)
    return _written(reading, compact(found))


def _identity(reading: Reading, own: tuple[str, ...], kind: Json | None) -> str:
    """The id by the number; where the message has it for another type of specimen already, by the type as well."""
    key = stable("Specimen", *own)
    there = reading.resources.get(f"Specimen/{key}", {}).get("type")
    if not kind or not there or _named(kind) == _named(there):
        return key
    return stable("Specimen", *own, _named(kind))


def _named(kind: Json) -> str:
    """The code of a type, else its words."""
    return str(kind["coding"][0]["code"] if "coding" in kind else kind.get("text", ""))


def _written(reading: Reading, found: Json) -> Json:
    """Put the specimen; where the message has it already, what is new and the notes still join it."""
    made = reading.put(found)
    there = reading.resources[made["reference"]]
    if there is not found:
        new = [note for note in found.get("note", ()) if note not in there.get("note", ())]
        for name, value in found.items():
            there.setdefault(name, value)
        if new and there["note"] is not found["note"]:
            there["note"].extend(new)
    return made


def _numbers(reading: Reading, raw: str) -> list[Json]:
    """The numbers of EIP repetitions: the placer's and the filler's."""
    found = []
    for repetition in reading.repetitions(raw):
        for index, kind in ((1, "FILL"), (0, "PLAC")):
            if made := pair(reading, repetition, index, kind):
                found.append(made)
    return found


def _collection(reading: Reading, row: Row, where: str) -> Json:
    start, _, end = row[17].partition(reading.component)
    found: Json = {}
    if end:
        put_period(reading, found, "collectedPeriod", start, end, where + "-17")
    else:
        put_time(reading, found, "collectedDateTime", start, where + "-17")
    if row[12]:
        found["quantity"] = composite(reading, row[12])
    if row[7]:
        found["method"] = concept(reading, row[7])
    if row[8]:
        found["bodySite"] = concept(reading, row[8])
    return compact(found)


def source(reading: Reading, obr: Row, subject: Json | None, order: str, number: int) -> Json | None:
    """Write the Specimen of OBR-15 (SPS: type, additives, text, site, modifier, method); None when it says nothing."""
    parts = [part.replace(reading.subcomponent, reading.component) for part in reading.parts(obr[15], 6)]
    kind = concept(reading, parts[0])
    collection: Json = {}
    if site := concept(reading, parts[3]):
        collection["bodySite"] = site
    if method := concept(reading, parts[5]):
        collection["method"] = method
    text = reading.text(parts[2])
    if not (kind or collection or text or parts[1]):
        return None
    if obr[8]:
        put_period(reading, collection, "collectedPeriod", obr[7], obr[8], f"OBR[{number}]-7")
    else:
        put_time(reading, collection, "collectedDateTime", obr[7], f"OBR[{number}]-7")
    found: Json = {"resourceType": "Specimen", "id": stable("Specimen", order, "OBR-15")}
    found["type"] = kind
    found["subject"] = subject
    put_time(reading, found, "receivedTime", obr[14], f"OBR[{number}]-14")
    found["collection"] = collection
    if additive := concept(reading, parts[1]):
        found["container"] = [{"additiveCodeableConcept": additive}]
    found["note"] = [{"text": text}] if text else []
    return reading.put(compact(found))


def put_received(reading: Reading, specimen: Json, obr: Row, number: int) -> None:
    """OBR-14, where the specimen does not say itself when it was received."""
    resource = reading.resources[specimen["reference"]]
    if "receivedTime" not in resource:
        put_time(reading, resource, "receivedTime", obr[14], f"OBR[{number}]-14")


def collected(
    reading: Reading, obr: Row, subject: Json | None, order: str, made: list[Json], number: int
) -> Json | None:
    """OBR-9, 10, 14, 15 and 39 of an order: added to its one specimen, else a Specimen; None when they say nothing."""
    if not any((obr[9], obr[10], obr[14], obr[15], obr[39])) or len(made) > 1:
        return None
    reference = made[0] if made else source(reading, obr, subject, order, number) if obr[15] else None
    if reference is None:
        found: Json = {"resourceType": "Specimen", "id": stable("Specimen", order, "OBR-15"), "subject": subject}
        reference = reading.put(compact(found))
    resource = reading.resources[reference["reference"]]
    collection = resource.get("collection", {})
    if people := practitioners(reading, obr[10]):
        collection.setdefault("collector", people[0])
    if amount := composite(reading, obr[9]):
        collection.setdefault("quantity", amount)
    if not made and "collectedDateTime" not in collection and "collectedPeriod" not in collection:
        put_time(reading, collection, "collectedDateTime", obr[7], f"OBR[{number}]-7")
    if collection:
        resource["collection"] = collection
    put_received(reading, reference, obr, number)
    for comment in concepts(reading, obr[39]):
        resource.setdefault("note", []).append({"text": comment.get("text") or comment["coding"][0]["code"]})
    return None if made else reference
