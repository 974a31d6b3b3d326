"""When a specimen was collected: the time of a result that has none, and of the order for a specimen that has none."""

from __future__ import annotations

from mappings.hl7v2_fhir.reading import Reading
from mappings.hl7v2_fhir.vocabulary import Json

_TIMES = {
    "collectedDateTime": "effectiveDateTime",
    "_collectedDateTime": "_effectiveDateTime",
    "collectedPeriod": "effectivePeriod",
}


def when_collected(reading: Reading, specimen: Json) -> Json:
    """The time of a specimen that has been written, as elements of a result: `effectiveDateTime` and so on."""
    collection = reading.resources[specimen["reference"]].get("collection", {})
    return {ours: collection[its] for its, ours in _TIMES.items() if its in collection}


def complete_collection(reading: Reading, specimen: Json, effective: Json) -> None:
    """Give a specimen without a time the order's: OBR-7 and 8 are when it was collected (HL7 v2.5.1, 4.5.3.7)."""
    if not effective or when_collected(reading, specimen):
        return
    written = reading.resources[specimen["reference"]]
    said = {its: effective[ours] for its, ours in _TIMES.items() if ours in effective}
    written["collection"] = {**written.get("collection", {}), **said}
