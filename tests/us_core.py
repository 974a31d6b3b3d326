"""What US Core 5.0.1 asks of laboratory results: its profiles for laboratory Observations and DiagnosticReports.

`us-core-observation-lab` and `us-core-diagnosticreport-lab` as rules of their own, because the definitions that tests
can fetch do not hold them. A rule is named as the profile names it, or after the element that must be there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

LOINC = "http://loinc.org"
UCUM = "http://unitsofmeasure.org"
CATEGORY = {
    "Observation": ("http://terminology.hl7.org/CodeSystem/observation-category", "laboratory"),
    "DiagnosticReport": ("http://terminology.hl7.org/CodeSystem/v2-0074", "LAB"),
}
REPORTED = {"partial", "preliminary", "final", "amended", "corrected", "appended"}


def laboratory_faults(resource: dict[str, Any]) -> Iterator[str]:
    """The rules of the laboratory profile that an Observation or DiagnosticReport breaks; none for other resources."""
    kind = resource["resourceType"]
    if kind not in CATEGORY:
        return
    yield from (f"us-core-lab {kind}.{broken}" for broken in _common(resource, *CATEGORY[kind]))
    rules = _observation if kind == "Observation" else _report
    yield from (f"{broken} {kind}" for broken in rules(resource))


def _common(resource: dict[str, Any], system: str, code: str) -> Iterator[str]:
    codings = [coding for concept in resource.get("category", ()) for coding in concept.get("coding", ())]
    if not any(coding.get("system") == system and coding.get("code") == code for coding in codings):
        yield "category"
    if not any(coding.get("system") == LOINC for coding in resource["code"].get("coding", ())):
        yield "code"  # the binding to LOINC is extensible
    if "reference" not in resource.get("subject", {}):
        yield "subject"


def _observation(resource: dict[str, Any]) -> Iterator[str]:
    when = resource.get("effectiveDateTime", "")
    if when and len(when) < len("2024-01-15"):
        yield "us-core-1"
    values = [name for name in resource if name.startswith("value")]
    if not values and not resource.keys() & {"component", "hasMember", "dataAbsentReason"}:
        yield "us-core-2"
    if resource.get("valueQuantity", {}).get("system", UCUM) != UCUM:
        yield "us-core-3"


def _report(resource: dict[str, Any]) -> Iterator[str]:
    if resource["status"] in REPORTED:
        if not resource.keys() & {"effectiveDateTime", "effectivePeriod"}:
            yield "us-core-8"
        if "issued" not in resource:
            yield "us-core-9"
