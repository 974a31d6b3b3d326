"""RXD as MedicationDispense: what a pharmacy handed over."""

from __future__ import annotations

from mappings.hl7v2_fhir.datatypes.codes import concept, status_extension
from mappings.hl7v2_fhir.datatypes.tables import suggested
from mappings.hl7v2_fhir.ids import JOIN, stable
from mappings.hl7v2_fhir.reading import PADDING, Reading
from mappings.hl7v2_fhir.resources.dosage import Part, dosages
from mappings.hl7v2_fhir.resources.medication import put_medication
from mappings.hl7v2_fhir.resources.order import requester_of
from mappings.hl7v2_fhir.resources.prescription import Rx, begin, notes_of, prescription_number
from mappings.hl7v2_fhir.resources.request import put_security
from mappings.hl7v2_fhir.standing import map_named
from mappings.hl7v2_fhir.vocabulary import (
    DISPENSE_STATUS,
    TERMINOLOGY,
    Json,
    absent_extension,
    own_text,
)

_SUBSTITUTED = {"N": False, "G": True, "T": True}
"""HL7 table 0167: what was done. The other codes say what the prescriber or a law allowed."""
_DONE = frozenset({"", "NW", "RE", "OF", "FU", "OK", "RO"})
"""Order controls that do not take back the dispensing that RXD reports."""


def dispense(reading: Reading, part: Part, rx: Rx) -> Json:
    """Write the MedicationDispense of an RXD; a reference to it."""
    segment = part.segment
    row = segment.row
    said = (reading.part(row[1]), reading.part(row[3]))
    named = reading.numbered(JOIN.join(("RXD", *rx.key, *said)))
    found = begin(reading, "MedicationDispense", stable("MedicationDispense", named), rx)
    _status(reading, found, rx, bool(said[1]))
    put_medication(reading, found, segment, part.components, (named,))
    if rx.setting.subject:
        found["subject"] = rx.setting.subject
    if "encounter" in rx.setting.shared:
        found["context"] = rx.setting.shared["encounter"]
    if rx.observations:
        found["supportingInformation"] = list(rx.observations)
    map_named(reading, "RXD", "RXD-MedicationDispense").fill(reading, row, found, segment.where)
    _authorized(reading, found, reading.part(row[7]), rx)
    _substitution(reading, found, row[11])
    made, left, _ = dosages(reading, part, rx.orc[7])
    if made:
        found["dosageInstruction"] = made
    if left:
        found.setdefault("extension", []).extend(own_text("v2-timing", text) for text in dict.fromkeys(left))
    if notes := notes_of(reading, part, rx):
        found["note"] = notes + found.get("note", [])
    reference = reading.put(found)
    put_security(reading, found, rx.orc)
    return reference


def _status(reading: Reading, found: Json, rx: Rx, dispensed: bool) -> None:
    """ORC-5; without it a dispensing with its time (RXD-3) is done, unless the control takes it back."""
    said, control = reading.part(rx.orc[5]), reading.part(rx.orc[1])
    if said:
        found["status"] = DISPENSE_STATUS.get(said, "unknown")
        if said not in DISPENSE_STATUS:
            reading.find("status_unknown", rx.where + "-5")
            found["_status"] = status_extension(said, "v2-0038", False)
    else:
        found["status"] = "completed" if dispensed and control in _DONE else "unknown"
    if reason := concept(reading, rx.orc[16].split(reading.repetition, 1)[0]):
        found["statusReasonCodeableConcept"] = reason


def _authorized(reading: Reading, found: Json, number: str, rx: Rx) -> None:
    """The prescription: of this message, else by its numbers; then who ordered is said here."""
    if rx.request:
        found["authorizingPrescription"] = [rx.request]
        if number:
            found.setdefault("identifier", []).append(prescription_number(reading, number))
        return
    numbers = [prescription_number(reading, number)] if number else rx.numbers.all
    if numbers:
        found["authorizingPrescription"] = [{"type": "MedicationRequest", "identifier": one} for one in numbers]
    put_orderer(reading, found, rx)


def put_orderer(reading: Reading, found: Json, rx: Rx) -> None:
    """ORC-12 as a performer with the function OP, as in the IG's map of ORC to MedicationAdministration."""
    if orderer := requester_of(reading, PADDING, rx.orc):
        coding = {"system": TERMINOLOGY + "v2-0443", "code": "OP", "display": "Ordering Provider"}
        found.setdefault("performer", []).append({"function": {"coding": [coding]}, "actor": orderer})


def _substitution(reading: Reading, found: Json, raw: str) -> None:
    kind = next(iter(suggested(reading, raw, "0167")), None)
    if kind is None:
        return
    done = _SUBSTITUTED.get(reading.part(raw))
    known: Json = {"wasSubstituted": done}
    absent: Json = {"_wasSubstituted": {"extension": [absent_extension("unknown")]}}
    found["substitution"] = {**(absent if done is None else known), "type": kind}
