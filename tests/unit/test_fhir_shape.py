"""The shape of a message: what is wrong with it, where, and never a value; and that the check changes nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine.formats.fhir import Fhir, read
from engine.formats.fhir.shape import Version, shape

GLUCOSE: dict[str, Any] = {
    "resourceType": "Observation",
    "id": "o1",
    "status": "final",
    "code": {"text": "glucose"},
    "valueQuantity": {"value": 1.5, "unit": "mg/dL"},
    "extension": [{"url": "urn:unknown", "valueString": "kept"}],
}


def found(message: dict[str, Any], version: Version = "R4") -> list[tuple[str, str]]:
    return [(one.where, one.code) for one in shape(message, version)]


def bundle(*resources: dict[str, Any]) -> dict[str, Any]:
    entries = [{"resource": one, "request": {"method": "POST", "url": one["resourceType"]}} for one in resources]
    return {"resourceType": "Bundle", "type": "transaction", "entry": entries}


@pytest.mark.parametrize(
    ("more", "where", "code"),
    [
        ({"code": None}, "Observation.code", "structure"),
        ({"nonsense": 1}, "Observation.nonsense", "structure"),
        ({"status": ["final"]}, "Observation.status", "value"),
        ({"status": "Final"}, "Observation.status", "code-invalid"),
        ({"note": []}, "Observation.note", "structure"),
        ({"note": [{}]}, "Observation.note[0]", "structure"),
        ({"note": [{"text": " "}]}, "Observation.note[0].text", "structure"),
        ({"valueString": "two values"}, "Observation", "value"),
        ({"effectiveDateTime": "2026-01-05T12:00:00"}, "Observation.effectiveDateTime", "value"),
        ({"component": [{"valueString": "x"}]}, "Observation.component[0].code", "required"),
        ({"valueQuantity": {"value": 1, "comparator": "~"}}, "Observation.valueQuantity.comparator", "code-invalid"),
        ({"contained": [{"resourceType": "Nonsense"}]}, "Observation", "structure"),
    ],
)
def test_a_fault_is_named_with_its_place(more: dict[str, Any], where: str, code: str) -> None:
    assert (where, code) in found({**GLUCOSE, **more})
    place = where.replace("Observation", "Bundle.entry[1].resource")
    assert (place, code) in found(bundle(GLUCOSE, {**GLUCOSE, **more}))


def test_what_is_right_is_right_in_every_version() -> None:
    for version in ("R4", "R5", "STU3"):
        assert found(GLUCOSE, version) == []
    assert found(bundle(GLUCOSE, GLUCOSE)) == []


def test_each_version_has_its_own_types_and_elements() -> None:
    assert found({"resourceType": "DeviceUseStatement", "status": "active"}, "R5") == [
        ("DeviceUseStatement", "structure")
    ]
    assert found({**GLUCOSE, "triggeredBy": [{"type": "reflex", "observation": {"reference": "a/b"}}]}, "R5") == []
    assert found({**GLUCOSE, "triggeredBy": [{"type": "reflex", "observation": {"reference": "a/b"}}]}) != []


def test_a_type_that_the_models_of_R4B_would_judge_wrongly_is_not_judged_by_them() -> None:
    assert found({"resourceType": "EffectEvidenceSynthesis", "status": "draft"}) == []
    assert found({"resourceType": "Evidence", "status": "draft", "name": "only in R4"}) == []
    assert found({"resourceType": "CodeableConcept"}) == [("CodeableConcept", "structure")]
    assert found({"resourceType": "Nonsense"}) == [("Nonsense", "structure")]


def test_the_frame_of_a_bundle_is_judged_too() -> None:
    assert found({"resourceType": "Bundle", "type": "transactions"}) == [("Bundle.type", "code-invalid")]
    assert found({"resourceType": "Bundle", "type": "batch", "entry": [{"request": {"method": "PUT"}}]}) == [
        ("Bundle.entry[0].request.url", "required")
    ]
    assert found({"resourceType": "Bundle", "type": "batch", "entry": ["x"]}) != []


@pytest.mark.parametrize(
    ("data", "right"), [("JVBERi0=", True), ("JVBE\nRi0=", True), ("JVBERi0", False), ("%PDF", False)]
)
def test_attached_data_is_base64_or_it_is_a_fault(data: str, right: bool) -> None:
    attached = {"resourceType": "Binary", "contentType": "application/pdf", "data": data}
    assert (found(attached) == []) is right


def test_no_value_and_no_odd_name_is_told() -> None:
    odd = {**GLUCOSE, "status": "Jane Doe", "Jane Doe": 1, "effectiveDateTime": "Jane Doe"}
    assert len(shape(odd, "R4")) == 3
    assert "Jane" not in str([(one.where, one.text, one.subject) for one in shape(odd, "R4")])


def test_the_check_leaves_the_message_as_it_was() -> None:
    raw = json.dumps(bundle(GLUCOSE)).replace("1.5", "1.50").encode()
    message, untouched = read(raw), read(raw)
    assert shape(message, "R4") == []
    assert message == untouched
    assert str(message["entry"][0]["resource"]["valueQuantity"]["value"]) == "1.50"


def test_a_format_checks_as_its_channel_wants() -> None:
    raw = b'{"resourceType":"Observation"}'
    assert Fhir(validate="off").identify(raw).type == "Observation"
    assert Fhir("STU3").identify(json.dumps(GLUCOSE).encode()).version == "STU3"
