"""RXA of a pharmacy message as MedicationAdministration: what was given, or why it was not."""

from __future__ import annotations

from mappings.hl7v2_fhir.datatypes.codes import status_extension
from mappings.hl7v2_fhir.datatypes.times import put_period, put_time
from mappings.hl7v2_fhir.ids import JOIN, stable
from mappings.hl7v2_fhir.reading import Reading, Row
from mappings.hl7v2_fhir.resources.dispense import put_orderer
from mappings.hl7v2_fhir.resources.dosage import Part, dose
from mappings.hl7v2_fhir.resources.medication import put_medication
from mappings.hl7v2_fhir.resources.prescription import Rx, begin, notes_of
from mappings.hl7v2_fhir.resources.request import put_security
from mappings.hl7v2_fhir.standing import map_named
from mappings.hl7v2_fhir.vocabulary import (
    ADMINISTRATION_ORDER_STATUS,
    ADMINISTRATION_STATUS,
    Json,
    absent_extension,
)

_DOSAGE = ("text", "site", "route", "method", "extension")
"""What MedicationAdministration.dosage has of a Dosage, beside dose and rate."""


def administration(reading: Reading, part: Part, rx: Rx) -> Json:
    """Write the MedicationAdministration of an RXA; a reference to it."""
    segment = part.segment
    row = segment.row
    said = [reading.part(row[number]) for number in (1, 2, 3)]
    named = reading.numbered(JOIN.join(("RXA", *rx.key, *said)))
    found = begin(reading, "MedicationAdministration", stable("MedicationAdministration", named), rx)
    _status(reading, found, row, rx)
    put_medication(reading, found, segment, part.components, (named,))
    found["subject"] = rx.setting.subject or {"extension": [absent_extension("unknown")]}
    if "encounter" in rx.setting.shared:
        found["context"] = rx.setting.shared["encounter"]
    if rx.observations:
        found["supportingInformation"] = list(rx.observations)
    _when(reading, found, row, segment.where)
    map_named(reading, "RXA", "RXA-MedicationAdministration").fill(reading, row, found, segment.where)
    if rx.request:
        found["request"] = rx.request
    elif rx.numbers.all:
        found["request"] = {"type": "MedicationRequest", "identifier": rx.numbers.all[0]}
    if rx.request is None:
        put_orderer(reading, found, rx)
    if dosage := _dosage(reading, part):
        found["dosage"] = dosage
    if notes := notes_of(reading, part, rx):
        found["note"] = notes + found.get("note", [])
    reference = reading.put(found)
    put_security(reading, found, rx.orc)
    return reference


def _status(reading: Reading, found: Json, row: Row, rx: Rx) -> None:
    """RXA-21 delete, RXA-20, else ORC-5; without any of them it is not known, and never taken for done."""
    said, order = reading.part(row[20]), reading.part(rx.orc[5])
    if reading.part(row[21]) == "D":
        found["status"] = "entered-in-error"
    elif said:
        found["status"] = ADMINISTRATION_STATUS.get(said, "unknown")
        if said != "CP":
            found["_status"] = status_extension(said, "v2-0322", said in ADMINISTRATION_STATUS)
        if said not in ADMINISTRATION_STATUS:
            reading.find("status_unknown", "RXA-20")
    else:
        found["status"] = ADMINISTRATION_ORDER_STATUS.get(order, "unknown")


def _when(reading: Reading, found: Json, row: Row, where: str) -> None:
    """effective[x], which is required."""
    if reading.part(row[4]) and reading.part(row[4]) != reading.part(row[3]):
        put_period(reading, found, "effectivePeriod", row[3], row[4], where + "-3")
    else:
        put_time(reading, found, "effectiveDateTime", row[3], where + "-3")
    if not any(name.lstrip("_").startswith("effective") for name in found):
        found["effectivePeriod"] = {"extension": [absent_extension("unknown")]}


def _dosage(reading: Reading, part: Part) -> Json:
    """One dosage; mad-1 wants a dose or a rate in it."""
    said = dose(reading, part)
    found: Json = {name: said[name] for name in _DOSAGE if name in said}
    rates = said.get("doseAndRate", [{}])[0]
    if "doseQuantity" in rates:
        found["dose"] = rates["doseQuantity"]
    if "rateRatio" in rates:
        found["rateRatio"] = rates["rateRatio"]
    words = [str(one.get("text") or one["coding"][0]["code"]) for one in said.get("additionalInstruction", ())]
    if words:
        found["text"] = "\n".join(words)
    if found and not found.keys() & {"dose", "rateRatio"}:
        found["dose"] = {"extension": [absent_extension("unknown")]}
    return found
