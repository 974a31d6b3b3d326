"""DG1 behind a request: the Condition that is its reason."""

from __future__ import annotations

from mappings.hl7v2_fhir.reading import Reading
from mappings.hl7v2_fhir.resources.diagnosis import diagnosis
from mappings.hl7v2_fhir.structure import Noted

_ELEMENTS = {
    "ServiceRequest": "reasonReference",
    "MedicationRequest": "reasonReference",
    "MedicationAdministration": "reasonReference",
    "MedicationDispense": "supportingInformation",
}


def reasoned(reading: Reading, dg1: Noted) -> None:
    """Write the Condition as everywhere, and refer to it from the order that it follows."""
    before = reading.latest.pop("Condition", None)
    diagnosis(reading, dg1)
    made = reading.latest.get("Condition")
    order = reading.around.get("order")
    if made is None:
        if before is not None:
            reading.latest["Condition"] = before
    elif order:
        main = reading.resources[order["reference"]]
        if name := _ELEMENTS.get(main["resourceType"]):
            main.setdefault(name, []).append({"reference": f"Condition/{made['id']}"})
