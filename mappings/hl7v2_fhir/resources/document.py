"""TXA with what follows it as DocumentReference: which document, how final and how available, who, and its content.

A notification that only changes a document's state carries no content: it changes that state and nothing else, so that
what an earlier message brought is not lost.
"""

from __future__ import annotations

import base64

import orjson

from mappings.hl7v2_fhir.datatypes.codes import concept, concepts, status_extension
from mappings.hl7v2_fhir.datatypes.identifiers import entity
from mappings.hl7v2_fhir.datatypes.tables import suggested
from mappings.hl7v2_fhir.datatypes.times import put_time
from mappings.hl7v2_fhir.ids import JOIN, stable
from mappings.hl7v2_fhir.microbiology import Family
from mappings.hl7v2_fhir.reading import Reading, Row, compact
from mappings.hl7v2_fhir.resources.attached import attachments
from mappings.hl7v2_fhir.resources.document_people import authenticator, authors, custodian, provenance
from mappings.hl7v2_fhir.resources.instants import moment
from mappings.hl7v2_fhir.resources.observation import Setting, observations
from mappings.hl7v2_fhir.resources.order import Numbers
from mappings.hl7v2_fhir.standing import put_notes
from mappings.hl7v2_fhir.structure import Order
from mappings.hl7v2_fhir.vocabulary import OWN, TERMINOLOGY, Json, absent_extension, codes_of, codings_of, own_text

COMPLETION = codes_of("document-status")
AVAILABILITY = codes_of("document-availability")
CONFIDENTIALITY = codings_of("document-confidentiality")

_STATE_ONLY = frozenset({"T03", "T07"})
"""Events about a document that an earlier message brought; without OBX they have none of its content."""
_RELATION = {"T05": "appends", "T06": "appends", "T09": "replaces", "T10": "replaces"}
_CANCELLED = "T11"
_EXACT = frozenset({"AU"})  # what `final` says completely


def document(reading: Reading, order: Order, numbers: Numbers, setting: Setting, family: Family) -> Json | None:
    """One TXA: the DocumentReference, and the Observations of what is neither text nor document."""
    row, event = order.row, reading.texts(reading.header[9], 2)[1]
    number = entity(reading, row[12].split(reading.repetition, 1)[0])
    found: Json = {"resourceType": "DocumentReference", "id": _identity(reading, number, row)}
    found["masterIdentifier"] = number
    _states(reading, found, row, event, order.where)
    if event in _STATE_ONLY and not order.results and number:
        _change(reading, found, row)
        return None
    content, others = attachments(reading, order.results)
    _describe(reading, found, row, order.where)
    _who(reading, found, row, setting)
    found["relatesTo"] = _relations(reading, row, event)
    found["context"] = _context(reading, row, event, setting, family, order)
    found["content"] = [{"attachment": part} for part in content] or [_nothing(reading, row, order.where)]
    made = reading.put(compact(found))
    if others:
        scope = reading.scope("Observation", found["id"])
        related = observations(reading, others, setting, scope)
        reading.resources[made["reference"]].setdefault("context", {}).setdefault("related", []).extend(related)
    rest = {id(result) for result in others}
    notes = [*order.notes, *(note for result in order.results if id(result) not in rest for note in result.notes)]
    if notes:
        put_notes(reading, reading.resources[made["reference"]], notes)
    provenance(reading, row, made, order.where)
    return made


def _identity(reading: Reading, number: Json | None, row: Row) -> str:
    if number:
        return stable("DocumentReference", number["system"], number["value"])
    reading.find("document_without_number", "TXA-12")
    name = (reading.sender, reading.own_name, reading.text(row[2]))
    return stable("DocumentReference", reading.numbered(JOIN.join(name)))


def _states(reading: Reading, found: Json, row: Row, event: str, where: str) -> None:
    """TXA-19 and TXA-17. Unavailable (UN) has no FHIR status: the element then holds the v2 code only."""
    available, completed = reading.part(row[19]), reading.part(row[17])
    if event == _CANCELLED:
        found["status"] = "entered-in-error"
    elif not available:
        found["status"] = "current"  # the IG: where TXA-19 says nothing
    elif status := AVAILABILITY.get(available):
        found["status"] = status
    if available and available != "AV":
        known = available in AVAILABILITY or available == "UN"
        found["_status"] = status_extension(available, "v2-0273", known)
        if not known:
            reading.find("status_unknown", where + "-19")
    if event == _CANCELLED:
        found["docStatus"] = "entered-in-error"
    elif status := COMPLETION.get(completed):
        found["docStatus"] = status
    if completed and completed not in _EXACT:
        found["_docStatus"] = status_extension(completed, "v2-0271", completed in COMPLETION)
        if completed not in COMPLETION:
            reading.find("status_unknown", where + "-17")


def _change(reading: Reading, found: Json, row: Row) -> None:
    """Change the stored document's states and authenticator, and nothing else (JSON Patch, FHIR R4 3.1.0.4)."""
    url = f"DocumentReference/{found['id']}"
    states: Json = {name: found[name] for name in ("status", "_status", "docStatus", "_docStatus") if name in found}
    if signed := authenticator(reading, row):
        states["authenticator"] = signed
    patch = orjson.dumps([{"op": "add", "path": "/" + name, "value": value} for name, value in states.items()])
    binary = {
        "resourceType": "Binary",
        "contentType": "application/json-patch+json",
        "data": base64.b64encode(patch).decode(),
    }
    reading.count("Binary")
    reading.entries[url] = {"resource": binary, "request": {"method": "PATCH", "url": url}}


def _describe(reading: Reading, found: Json, row: Row, where: str) -> None:
    """Type, title, times, labels."""
    found["identifier"] = [found["masterIdentifier"]] if found["masterIdentifier"] else []
    if name := reading.text(row[16]):
        found["identifier"].append({"system": reading.dialect.senders_own + ":file", "value": name})
    found["type"] = next(iter(suggested(reading, row[2], "0270")), None)
    moment(reading, found, "date", row[6], where + "-6")
    titles = [text for part in reading.repetitions(row[25]) if (text := reading.text(part))]
    found["description"] = "\n".join(titles)
    if label := reading.part(row[18]):
        known = CONFIDENTIALITY.get(label)
        own = {"system": TERMINOLOGY + "v2-0272", "code": label}
        found["securityLabel"] = [{"coding": [known, own]} if known else {"text": label}]
    found["extension"] = [
        {"url": OWN + "v2-folder", "valueCodeableConcept": folder} for folder in concepts(reading, row[24])
    ]
    times = [text for part in reading.repetitions(row[8]) if (text := reading.text(part))]
    found["extension"] += [own_text("v2-edit-time", text) for text in times]


def _who(reading: Reading, found: Json, row: Row, setting: Setting) -> None:
    found["subject"] = setting.subject
    found["author"] = authors(reading, row)
    found["authenticator"] = authenticator(reading, row)
    found["custodian"] = custodian(reading, row[27])


def _relations(reading: Reading, row: Row, event: str) -> list[Json]:
    """TXA-13 of an addendum or a replacement; the document is known by its number."""
    parent = entity(reading, row[13].split(reading.repetition, 1)[0]) if event in _RELATION else None
    if parent is None:
        return []
    return [{"code": _RELATION[event], "target": {"type": "DocumentReference", "identifier": parent}}]


def _context(reading: Reading, row: Row, event: str, setting: Setting, family: Family, order: Order) -> Json:
    """Encounter, times, specialty; the orders that it answers, and a parent that no event explains."""
    found: Json = {}
    if encounter := setting.shared.get("encounter"):
        found["encounter"] = [encounter]
    period: Json = {}
    put_time(reading, period, "start", row[4], order.where + "-4")
    found["period"] = period
    found["practiceSetting"] = concept(reading, row[28].split(reading.repetition, 1)[0])
    found["related"] = _related(reading, row, event)
    return compact(found)


def _related(reading: Reading, row: Row, event: str) -> list[Json]:
    """TXA-14 and TXA-15, and each order of this message that has one of these numbers; where they name none, all."""
    placers = [made for raw in reading.repetitions(row[14]) if (made := entity(reading, raw, "PLAC"))]
    fillers = [made for raw in reading.repetitions(row[15]) if (made := entity(reading, raw, "FILL"))]
    wanted = {(number["type"]["coding"][0]["code"], number["value"]) for number in (*placers, *fillers)}
    requests = {url: one for url, one in reading.resources.items() if url.startswith("ServiceRequest/")}
    found: list[Json] = [{"reference": url} for url, one in requests.items() if not wanted or wanted & _numbers(one)]
    said = {number for made in found for number in _numbers(requests[made["reference"]])}
    for number in (*placers, *fillers):
        if (number["type"]["coding"][0]["code"], number["value"]) not in said:
            found.append({"type": "ServiceRequest", "identifier": number})
    if event not in _RELATION and (parent := entity(reading, row[13].split(reading.repetition, 1)[0])):
        found.append({"type": "DocumentReference", "identifier": parent})
    return found


def _numbers(request: Json) -> set[tuple[str, str]]:
    return {
        (number["type"]["coding"][0]["code"], number["value"])
        for number in request.get("identifier", ())
        if "type" in number
    }


def _nothing(reading: Reading, row: Row, where: str) -> Json:
    """What is known of content that the message does not hold."""
    attachment: Json = {}
    if reading.part(row[3]) in ("TX", "FT", "TEXT"):
        attachment["contentType"] = "text/plain"
    put_time(reading, attachment, "creation", row[7], where + "-7")
    return {"attachment": attachment or {"extension": [absent_extension("unknown")]}}
