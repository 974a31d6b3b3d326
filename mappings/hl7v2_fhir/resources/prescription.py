"""RXO, RXE and RXG as MedicationRequest: the prescriber's order, the pharmacy's version of it, and one dose to give.

RXO is the original order and RXE what the pharmacy made of it, two requests of which the second is based on the first;
alone, RXE is the order. RXG asks for one administration, nothing is handed over or given by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mappings.hl7v2_fhir.datatypes.codes import concepts, status_extension
from mappings.hl7v2_fhir.datatypes.names import addresses
from mappings.hl7v2_fhir.datatypes.notes import annotated
from mappings.hl7v2_fhir.ids import JOIN, stable
from mappings.hl7v2_fhir.reading import PADDING, Reading, Row
from mappings.hl7v2_fhir.resources.dosage import Part, dosages
from mappings.hl7v2_fhir.resources.medication import put_medication
from mappings.hl7v2_fhir.resources.observation import Setting
from mappings.hl7v2_fhir.resources.order import Numbers, put_priority, requester_of
from mappings.hl7v2_fhir.resources.people import not_at_home, practitioners, producer, put_telecom
from mappings.hl7v2_fhir.resources.request import parents_of, put_order_fields, put_security
from mappings.hl7v2_fhir.standing import map_named
from mappings.hl7v2_fhir.vocabulary import (
    MEDICATION_CONTROL,
    MEDICATION_STATUS,
    Json,
    absent_extension,
    own_text,
)


@dataclass(slots=True)
class Rx:
    """What the pharmacy segments of one order share."""

    orc: Row
    where: str  # of the ORC
    numbers: Numbers
    key: tuple[str, ...]
    setting: Setting
    notes: list[Json]  # of the ORC
    observations: list[Json]
    original: Json | None = None  # the RXO's request
    request: Json | None = None  # the last request of the order
    others: list[tuple[str, Json]] = field(default_factory=list)  # people with their roles, for the Provenance


#: By segment: DEA number, verifier, prescription number, pharmacy, its address and telephone; 0 where it has none.
_FIELDS: Mapping[str, tuple[int, int, int, int, int, int]] = {
    "RXO": (14, 15, 0, 32, 33, 36),
    "RXE": (13, 14, 15, 40, 41, 45),
    "RXG": (0, 0, 0, 27, 28, 0),
}


def begin(reading: Reading, kind: str, key: str, rx: Rx) -> Json:
    """A resource with the numbers of its order; subject and visit are put where each type has them."""
    found: Json = {"resourceType": kind, "id": key}
    if rx.numbers.all:
        found["identifier"] = list(rx.numbers.all)
    return found


def prescription(reading: Reading, part: Part, rx: Rx) -> Json:
    """Write the MedicationRequest of an RXO, RXE or RXG; a reference to it."""
    segment = part.segment
    name, row = segment.name, segment.row
    more = [reading.part(row[1]), reading.part(row[2])] if name == "RXG" else []
    named = reading.numbered(JOIN.join((name, *rx.key, *more)))
    found = begin(reading, "MedicationRequest", stable("MedicationRequest", named), rx)
    if name == "RXG":
        found.pop("identifier", None)  # the numbers are those of the order that it is based on
    _status(reading, found, rx)
    map_named(reading, name, f"{name}-MedicationRequest").fill(reading, row, found, segment.where)
    found.setdefault("intent", "order" if rx.original is None else "filler-order")
    put_medication(reading, found, segment, part.components, (named,))
    found["subject"] = rx.setting.subject or {"extension": [absent_extension("unknown")]}
    if "encounter" in rx.setting.shared:
        found["encounter"] = rx.setting.shared["encounter"]
    if rx.observations:
        found["supportingInformation"] = list(rx.observations)
    _order(reading, found, rx)
    _people(reading, found, row, _FIELDS[name], rx)
    _based_on(reading, found, name, rx)
    _dosage(reading, found, part, rx)
    if notes := _notes(reading, part, rx):
        found["note"] = notes + found.get("note", [])
    rx.request = reading.put(found)
    if name == "RXO":
        rx.original = rx.request
    put_security(reading, found, rx.orc)
    return rx.request


def cancelled(reading: Reading, rx: Rx) -> Json:
    """An ORC about a medication that no request follows; a reference to its MedicationRequest.

    It is not the request that it is about, which it would overwrite with less: it has that one's numbers.
    """
    named = reading.numbered(JOIN.join(("ORC", *rx.key)))
    found = begin(reading, "MedicationRequest", stable("MedicationRequest", named), rx)
    _status(reading, found, rx)
    found["intent"] = "order"
    found["medicationCodeableConcept"] = {"extension": [absent_extension("unknown")]}
    found["subject"] = rx.setting.subject or {"extension": [absent_extension("unknown")]}
    _order(reading, found, rx)
    _people(reading, found, PADDING, (0, 0, 0, 0, 0, 0), rx)
    _based_on(reading, found, "ORC", rx)
    if rx.notes:
        found["note"] = rx.notes
    rx.request = reading.put(found)
    put_security(reading, found, rx.orc)
    return rx.request


def _status(reading: Reading, found: Json, rx: Rx) -> None:
    """ORC-5; only when it is empty ORC-1; without either it is not known."""
    said, control = reading.part(rx.orc[5]), reading.part(rx.orc[1])
    if not said:
        found["status"] = MEDICATION_CONTROL.get(control, "unknown")
        return
    found["status"] = MEDICATION_STATUS.get(said, "unknown")
    if said not in MEDICATION_STATUS:
        reading.find("status_unknown", rx.where + "-5")
        found["_status"] = status_extension(said, "v2-0038", False)


def _order(reading: Reading, found: Json, rx: Rx) -> None:
    """What ORC says."""
    put_order_fields(reading, found, rx.orc, rx.where)
    if reasons := concepts(reading, rx.orc[16]):
        found["statusReason"] = reasons[0]
        found["extension"] = [one for one in found["extension"] if not one["url"].endswith("request-statusReason")]
        if not found["extension"]:
            del found["extension"]
    if group := rx.numbers.group(reading, rx.orc):
        found["groupIdentifier"] = group
    if entered := practitioners(reading, rx.orc[10]):
        found["recorder"] = entered[0]
    map_named(reading, "ORC", "ORC-MedicationRequest").fill(reading, rx.orc, found, rx.where)


def _people(reading: Reading, found: Json, row: Row, fields: tuple[int, int, int, int, int, int], rx: Rx) -> None:
    """Who asks, who verified, which pharmacy, under which prescription number."""
    dea, verifier, number, pharmacy, address, telephone = fields
    prescribers = practitioners(reading, row[dea]) if dea else []
    if requester := requester_of(reading, PADDING, rx.orc) or next(iter(prescribers), None):
        found["requester"] = requester
        if prescribers and prescribers[0] != requester and (text := reading.part(row[dea])):
            found.setdefault("extension", []).append(own_text("v2-prescriber-number", text))
    if verifier:
        verifiers = [("verifier", person) for person in practitioners(reading, row[verifier])]
        rx.others += (one for one in verifiers if one not in rx.others)
    if number and (value := reading.part(row[number])):
        found.setdefault("identifier", []).append(prescription_number(reading, value))
    if pharmacy and (place := producer(reading, row[pharmacy])):
        found.setdefault("dispenseRequest", {})["performer"] = place
        shop = reading.resources[place["reference"]]
        if address and (where := addresses(reading, row[address])):
            shop.setdefault("address", not_at_home(where))
        if telephone:
            put_telecom(reading, place, row[telephone])


def prescription_number(reading: Reading, value: str) -> Json:
    """RXE-15, RXD-7: a number of the pharmacy that sends the message."""
    system = reading.dialect.authority("prescription", "", "")
    return {"type": {"text": "Prescription number"}, "system": system, "value": value}


def _based_on(reading: Reading, found: Json, name: str, rx: Rx) -> None:
    """RXE on the order's RXO, RXG on the prescription; else on the parent order (ORC-8), by its numbers."""
    before = rx.original if name == "RXE" else rx.request if name == "RXG" else None
    if before:
        found["basedOn"] = [before]
    elif numbers := (rx.numbers.all[:1] if name == "RXG" else parents_of(reading, rx.orc, PADDING)):
        found["basedOn"] = [{"type": "MedicationRequest", "identifier": number} for number in numbers]


def _dosage(reading: Reading, found: Json, part: Part, rx: Rx) -> None:
    made, left, priority = dosages(reading, part, rx.orc[7])
    put_priority(reading, found, priority)
    if made:
        found["dosageInstruction"] = made
    found.setdefault("extension", []).extend(own_text("v2-timing", text) for text in dict.fromkeys(left))
    if not found["extension"]:
        del found["extension"]


def _notes(reading: Reading, part: Part, rx: Rx) -> list[Json]:
    """The notes of the order, of the segment, and of those that belong to it, in that order."""
    found = list(rx.notes)
    for one in (part.segment, *part.timings, *part.routes, *part.components, *part.limits):
        found += annotated(reading, one.notes)
    return found


def notes_of(reading: Reading, part: Part, rx: Rx) -> list[Json]:
    """As `prescription` has them, for what was dispensed or given."""
    return _notes(reading, part, rx)
