"""What a FHIR message says of itself, and when two say the same."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine.formats.fhir import FACTS, Fhir
from engine.model import Identifier, Identity

MRN = {"system": "urn:oid:1.2.3", "value": "4711", "type": {"coding": [{"code": "MR"}]}}
PATIENT = {"resourceType": "Patient", "id": "p1", "identifier": [MRN]}
TAG = {"system": "http://terminology.hl7.org/CodeSystem/v2-0103", "code": "D"}
HTEST = {"system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": "HTEST"}


def observation(**more: Any) -> dict[str, Any]:
    return {"resourceType": "Observation", "status": "final", "code": {"text": "glucose"}, **more}


def report(**more: Any) -> dict[str, Any]:
    return {**observation(), "resourceType": "DiagnosticReport", **more}


def bundle(*resources: dict[str, Any], kind: str = "transaction", method: str = "PUT", **more: Any) -> dict[str, Any]:
    entries = []
    for resource in resources:
        url = f"{resource['resourceType']}/{resource.get('id', '')}".rstrip("/")
        entries.append({"fullUrl": f"urn:x:{url}", "resource": resource, "request": {"method": method, "url": url}})
    return {"resourceType": "Bundle", "type": kind, "entry": entries, **more}


def identified(message: dict[str, Any]) -> Identity:
    return Fhir(validate="off").identify(json.dumps(message).encode())


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (observation(), "Observation"),
        (bundle(PATIENT, observation(), report()), "Bundle/transaction/DiagnosticReport"),
        (bundle(PATIENT, {"resourceType": "Immunization"}, kind="batch"), "Bundle/batch/Immunization"),
        (bundle({"resourceType": "Organization"}, PATIENT), "Bundle/transaction/Patient"),
        (bundle(kind="collection"), "Bundle/collection"),
        ({"resourceType": "Bundle", "type": 7, "entry": "x"}, "Bundle/-"),
    ],
)
def test_its_type_says_what_it_is_about(message: dict[str, Any], kind: str) -> None:
    assert identified(message).type == kind


HEAD = {
    "resourceType": "MessageHeader",
    "id": "h1",
    "eventCoding": {"code": "R01"},
    "source": {"name": "LAB", "endpoint": "http://lab.example"},
    "destination": [{"name": "EHR", "endpoint": "http://ehr.example"}],
}


@pytest.mark.parametrize(
    ("message", "control_id"),
    [
        (bundle(identifier={"system": "urn:x", "value": "B1"}), "B1"),
        (bundle(HEAD, kind="message"), "h1"),
        (bundle(HEAD, kind="message", identifier={"value": "B1"}), "B1"),
        (observation(id="o1", meta={"versionId": "3"}), "Observation/o1/_history/3"),
        (observation(id="o1"), ""),
        (observation(meta={"versionId": "3"}), ""),
    ],
)
def test_what_its_sender_calls_it(message: dict[str, Any], control_id: str) -> None:
    assert identified(message).control_id == control_id


def test_who_sends_it_and_to_whom() -> None:
    found = identified(bundle(HEAD, kind="message", timestamp="2026-01-05T12:00:00Z"))
    assert (found.sender, found.receiver) == (("LAB", ""), ("EHR", "http://ehr.example"))
    assert (found.sent_at, found.format, found.version) == ("2026-01-05T12:00:00Z", "fhir", "R4")
    own = identified(bundle(identifier={"system": "urn:lab", "value": "1"}, meta={"source": "urn:app"}))
    assert own.sender == ("urn:app", "urn:lab")


@pytest.mark.parametrize(
    ("message", "processing"),
    [
        (observation(), ""),
        (observation(meta={"tag": [TAG]}), "D"),
        (bundle(observation(), observation(meta={"security": [HTEST]})), "T"),
        (bundle(observation(meta={"tag": [{**TAG, "code": "P"}]}), observation(meta={"tag": [TAG]})), "D"),
        (bundle(meta={"tag": [{**TAG, "code": "P"}]}), "P"),
        (observation(meta={"tag": [{"system": "urn:own", "code": "T"}]}), ""),
    ],
)
def test_one_resource_of_a_test_makes_it_all_a_test(message: dict[str, Any], processing: str) -> None:
    assert identified(message).processing == processing


OURS = Identifier("4711", "urn:oid:1.2.3", "MR")


@pytest.mark.parametrize(
    ("message", "patients"),
    [
        (PATIENT, (OURS,)),
        (bundle(PATIENT, observation(subject={"reference": "Patient/p1"})), (OURS,)),
        (observation(subject={"reference": "Patient/p1", "identifier": MRN}), (OURS,)),
        (observation(subject={"reference": "Patient/17/_history/2"}), (Identifier("17", "Patient"),)),
        (observation(subject={"reference": "https://e.example/fhir/Patient/17"}),
         (Identifier("17", "https://e.example/fhir/Patient"),)),
        ({"resourceType": "Patient", "id": "17"}, (Identifier("17", "Patient"),)),
        (observation(subject={"reference": "Group/1"}), ()),
        (observation(), ()),
        (observation(subject=["x"]), ()),
    ],
)  # fmt: skip
def test_its_patients_by_identifier_else_by_reference(
    message: dict[str, Any], patients: tuple[Identifier, ...]
) -> None:
    assert identified(message).patients == patients


@pytest.mark.parametrize(
    ("system", "authority"),
    [
        ("https://interlock.example/authority/test", "INTERLOCK-TEST"),
        ("urn:interlock:authority:lab:NORTH", "NORTH"),
        ("urn:oid:1.2.3", "urn:oid:1.2.3"),
    ],
)
def test_a_system_is_compared_by_the_name_that_its_sender_gave(system: str, authority: str) -> None:
    (found,) = identified({"resourceType": "Patient", "identifier": [{"system": system, "value": "1"}]}).patients
    assert found.authority.partition("&")[0] == authority


def test_a_merge_is_ordered_against_both_patients() -> None:
    old = {"resourceType": "Patient", "id": "p0", "identifier": [{"system": "urn:oid:1.2.3", "value": "1"}]}
    merged = {**PATIENT, "link": [{"type": "replaces", "other": {"reference": "Patient/p0"}}]}
    found = identified(bundle(merged, old))
    assert (found.patients, found.prior_patients, found.barrier) == ((OURS,), (Identifier("1", "urn:oid:1.2.3"),), True)
    assert not identified(bundle(PATIENT, old)).barrier


def test_order_numbers_the_fillers_before_the_placers() -> None:
    filler = {"system": "urn:lab", "value": "F1", "type": {"coding": [{"code": "FILL"}]}}
    placer = {"system": "urn:ehr", "value": "P1", "type": {"coding": [{"code": "PLAC"}]}}
    request = {"resourceType": "ServiceRequest", "identifier": [{"system": "urn:ehr", "value": "P2"}]}
    done = report(identifier=[placer, filler], basedOn=[{"identifier": {"system": "urn:ehr", "value": "P3"}}])
    found = [(one.value, one.type) for one in identified(bundle(request, done)).orders]
    assert found == [("F1", "FILL"), ("P1", "PLAC"), ("P3", "PLAC"), ("P2", "PLAC")]


@pytest.mark.parametrize(
    ("message", "restates"),
    [
        (observation(), False),
        (observation(id="o1"), True),
        (bundle(observation(), method="POST"), False),
        (bundle(observation(id="o1")), True),
        (bundle(observation(), method="DELETE"), True),
    ],
)
def test_what_says_how_things_stand_may_say_so_again(message: dict[str, Any], restates: bool) -> None:
    assert identified(message).restates is restates


def test_facts_are_those_of_the_list_and_hold_every_value() -> None:
    high = {"coding": [{"code": "HH"}]}
    glucose = observation(code={"coding": [{"code": "2345-7"}]}, component=[{"interpretation": [high]}])
    message = bundle(HEAD, glucose, report(category=[{"coding": [{"code": "LAB"}]}]), PATIENT, meta={"source": "urn:s"})
    facts = identified(message).facts
    assert set(facts) == set(FACTS)
    assert {name: facts[name] for name in ("bundle", "focus", "event", "abnormal", "code", "category", "status")} == {
        "bundle": ("transaction",), "focus": ("DiagnosticReport",), "event": ("R01",), "abnormal": ("HH",),
        "code": ("2345-7",), "category": ("LAB",), "status": ("final",),
    }  # fmt: skip
    assert (facts["method"], facts["source"], facts["other_patient_authority"]) == (("PUT",), ("urn:s",), ())
    assert "4711" not in repr(facts)


@pytest.mark.parametrize(
    "message", [{"resourceType": "Patient", "id": "1"}, observation(subject={"reference": "Patient/1"})]
)
def test_a_patient_without_an_identifier_is_nobodys(message: dict[str, Any]) -> None:
    assert identified(message).facts["other_patient_authority"] == ("none",)


def test_a_social_security_number_is_seen_by_its_system_or_type() -> None:
    for identifier in ({"system": "http://hl7.org/fhir/sid/us-ssn"}, {"type": {"coding": [{"code": "SS"}]}}):
        message = {"resourceType": "Patient", "identifier": [{**identifier, "value": "1"}]}
        assert identified(message).facts["social_security"] == ("1",)


def canonical(message: dict[str, Any]) -> bytes:
    return Fhir(validate="off").canonical(json.dumps(message).encode())


def test_the_same_content_in_another_order_at_another_time_is_the_same() -> None:
    first = bundle(observation(id="o1", meta={"lastUpdated": "1"}), timestamp="1", identifier={"value": "1"}, id="a")
    again = dict(reversed(bundle(observation(id="o1", meta={}), timestamp="2", identifier={"value": "2"}).items()))
    assert canonical(first) == canonical(again)


def test_a_digit_a_type_or_a_place_makes_it_another_content() -> None:
    fhir = Fhir(validate="off")
    written = [b"1.1", b"1.10", b'"1.10"', b"110", b"[1.1]", b"true", b"1.1e400"]
    found = {fhir.canonical(b'{"resourceType":"Observation","value":%b}' % each) for each in written}
    assert len(found) == len(written)
    assert canonical(bundle(PATIENT, observation())) != canonical(bundle(observation(), PATIENT))


def test_two_messages_are_never_mixed_up_by_what_is_remembered() -> None:
    fhir = Fhir(validate="off")
    kinds = [fhir.identify(b'{"resourceType":"%b"}' % kind).type for kind in (b"Patient", b"Group", b"Patient")]
    assert kinds == ["Patient", "Group", "Patient"]
