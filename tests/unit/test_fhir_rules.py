"""The rules that judge bundles find what is planted: every defect of a list, and none in the sound original."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import fhir_rules
import pytest

from tests import fhir_validator, us_core

Resource = dict[str, Any]
CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"
INTERPRETATION = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation"
SOUND: Resource = {
    "resourceType": "Observation",
    "id": "a-1",
    "status": "final",
    "category": [{"coding": [{"system": CATEGORY, "code": "laboratory"}]}],
    "code": {"coding": [{"system": "http://loinc.org", "code": "2345-7"}]},
    "subject": {"reference": "Patient/p-1"},
    "effectiveDateTime": "2024-01-15T10:30:00-06:00",
    "valueQuantity": {"value": 1.5, "unit": "mg/dL", "system": "http://unitsofmeasure.org", "code": "mg/dL"},
    "interpretation": [{"coding": [{"system": INTERPRETATION, "code": "H"}]}],
    "referenceRange": [{"text": "1-2"}],
}
PATIENT: Resource = {"resourceType": "Patient", "id": "p-1"}


def put(name: str, value: Any) -> Callable[[Resource], None]:
    """A defect that sets an element; of a dotted name the inner one."""

    def plant(resource: Resource) -> None:
        *parents, leaf = name.split(".")
        for parent in parents:
            resource = resource[int(parent)] if parent.isdigit() else resource[parent]  # type: ignore[index]
        resource[leaf] = value

    return plant


def drop(name: str) -> Callable[[Resource], None]:
    """A defect that leaves an element out."""
    return lambda resource: resource.pop(name)


STRUCTURAL = {
    "missing status": drop("status"),
    "unknown element": put("colour", "blue"),
    "array for a single one": put("status", ["final"]),
    "status that is none": put("status", "Final"),
    "two values": put("valueString", "1.5"),
    "dateTime without zone": put("effectiveDateTime", "2024-01-15T10:30:00"),
    "dateTime without seconds": put("effectiveDateTime", "2024-01-15T10:30-06:00"),
    "date that is not possible": put("effectiveDateTime", "2024-13-15"),
    "empty string": put("valueQuantity.unit", ""),
    "empty array": put("note", []),
    "empty object": put("method", {}),
    "comparator that is none": put("valueQuantity.comparator", "~"),
    "obs-6": put("dataAbsentReason", {"text": "unknown"}),
    "obs-3": put("referenceRange", [{"appliesTo": [{"text": "adults"}]}]),
    "qty-3": lambda resource: resource["valueQuantity"].pop("system"),
    "coding system that is no URI": put("code.coding.0.system", "LN"),
    "id with an underscore": put("id", "a_1"),
    "reference that leads nowhere": put("subject.reference", "Patient/p-2"),
    "code with spaces around it": put("code.coding.0.code", " 2345-7"),
}
BY_DEFINITION = {
    "reference to a wrong type": put("encounter", {"reference": "Patient/p-1"}),
    "status outside its binding": put("status", "Final"),
    "code outside its code system": put("category.0.coding.0.code", "Laboratory"),
    "extension that nobody defined": put("extension", [{"url": "https://example.org/x", "valueString": "x"}]),
    "own extension of a wrong type": put("extension", [{"url": fhir_validator.OWN + "v2-release", "valueCode": "x"}]),
    "obs-7": put("component", [{"code": SOUND["code"], "valueString": "x"}]),
}
BY_PROFILE = {
    "us-core-lab Observation.category": drop("category"),
    "us-core-lab Observation.code": put("code.coding.0.system", "urn:local"),
    "us-core-lab Observation.subject": drop("subject"),
    "us-core-1 Observation": put("effectiveDateTime", "2024-01"),
    "us-core-2 Observation": drop("valueQuantity"),
    "us-core-3 Observation": put("valueQuantity.system", "urn:local"),
}


def bundle(resource: Resource) -> Resource:
    entries = [
        {
            "fullUrl": f"urn:uuid:{one['id']}",
            "resource": one,
            "request": {"method": "PUT", "url": f"{one['resourceType']}/{one['id']}"},
        }
        for one in (resource, PATIENT)
    ]
    return {"resourceType": "Bundle", "type": "transaction", "entry": entries}


def planted(defect: Callable[[Resource], None]) -> Resource:
    resource = copy.deepcopy(SOUND)
    defect(resource)
    return resource


def test_the_original_is_sound() -> None:
    assert fhir_rules.faults(bundle(SOUND)) == []
    assert list(us_core.laboratory_faults(SOUND)) == []


@pytest.mark.parametrize("name", STRUCTURAL)
def test_the_structural_rules_find(name: str) -> None:
    assert fhir_rules.faults(bundle(planted(STRUCTURAL[name])))


def test_the_definitions_find_nothing_in_the_original() -> None:
    assert fhir_validator.faults(SOUND) == ()


@pytest.mark.parametrize("name", BY_DEFINITION)
def test_the_definitions_find(name: str) -> None:
    assert fhir_validator.faults(planted(BY_DEFINITION[name]))


@pytest.mark.parametrize("name", BY_PROFILE)
def test_the_laboratory_profile_finds(name: str) -> None:
    assert list(us_core.laboratory_faults(planted(BY_PROFILE[name]))) == [name]


def test_a_report_without_times_breaks_its_profile() -> None:
    report = {"resourceType": "DiagnosticReport", "status": "final", "code": {"text": "x"}}
    assert {fault.split()[0] for fault in us_core.laboratory_faults(report)} == {
        *("us-core-lab", "us-core-8", "us-core-9"),
    }
