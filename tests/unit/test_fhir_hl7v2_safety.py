"""What a receiver could be harmed by is held: another patient's data, orders that forbid, deletions, empty results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from engine.errors import Held
from engine.formats.hl7v2 import Message, read
from engine.ports import Conversion
from mappings import fhir_hl7v2
from mappings.lookup import CodeTables

TABLES = CodeTables()
P, Q = {"reference": "Patient/p"}, {"reference": "Patient/q"}
Json = dict[str, Any]


def convert(parsed: Any, make: Callable[..., Any] = fhir_hl7v2.oru, **options: Any) -> Message:
    context = Conversion("unit", timezone="UTC", sender="lee", received_at=1_767_600_000_000_000, options=options)
    return read(make(parsed, TABLES, context).payload)


def held(parsed: Any, match: str, make: Callable[..., Any] = fhir_hl7v2.oru, **options: Any) -> None:
    with pytest.raises(Held, match=match) as raised:
        convert(parsed, make, **options)
    assert raised.value.code == "not_convertible"


def bundle(*resources: Json, kind: str = "transaction") -> Json:
    return {"resourceType": "Bundle", "type": kind, "entry": [{"resource": one} for one in resources]}


def patient(key: str, **more: Any) -> Json:
    number = {"system": "urn:oid:2.999.1", "value": key}
    return {"resourceType": "Patient", "id": key, "identifier": [number], **more}


def result(key: str = "o", **more: Any) -> Json:
    return {"resourceType": "Observation", "id": key, "status": "final", "code": {"text": key}, "valueString": "x",
            **more}  # fmt: skip


def report(*keys: str, **more: Any) -> Json:
    results = [{"reference": f"Observation/{key}"} for key in keys]
    return {"resourceType": "DiagnosticReport", "id": "r", "status": "final", "code": {"text": "R"}, "result": results,
            **more}  # fmt: skip


def request(kind: str = "ServiceRequest", **more: Any) -> Json:
    return {"resourceType": kind, "id": "s", "status": "active", "intent": "order", "code": {"text": "T"}, **more}


def shot(**more: Any) -> Json:
    return {"resourceType": "Immunization", "id": "i", "status": "completed", "vaccineCode": {"text": "V"}, **more}


def names(message: Message) -> list[str]:
    return [row[0] for row in message.rows if row[0]][1:]


# another patient's data


@pytest.mark.parametrize("there", [(), (patient("q"),)], ids=["absent", "sent"])
@pytest.mark.parametrize(
    "resources",
    [
        (report("o", subject=P), result(subject=Q)),
        (report("o", subject=P), result(subject={"identifier": {"system": "urn:oid:2.999.1", "value": "q"}})),
        (report("o", subject=P), result(subject={"reference": "http://example.org/fhir/Patient/p"})),
        (report("o"), result(subject=P, hasMember=[{"reference": "Observation/m"}]), result("m", subject=Q)),
        (
            report("o", subject=P),
            result(specimen={"reference": "Specimen/x"}),
            {"resourceType": "Specimen", "id": "x", "subject": Q},
        ),
        (report("o", subject=P, basedOn=[{"reference": "ServiceRequest/s"}]), result(), request(subject=Q)),
        (
            report("o", subject=P, encounter={"reference": "Encounter/e"}),
            result(),
            {"resourceType": "Encounter", "id": "e", "status": "finished", "subject": Q},
        ),
        (
            report("o", subject=P),
            result(derivedFrom=[{"reference": "Observation/d"}]),
            result("d", subject=Q),
        ),
        (result("a", subject=P), result("b", subject={"reference": "Patient/nowhere"})),
        (result("a", subject={"reference": "Patient/here"}), result("b", subject={"reference": "Patient/nowhere"})),
        (result("a", subject={"reference": "Patient/nowhere"}), result("b", subject=P)),
    ],
)  # fmt: skip
def test_a_result_never_stands_under_another_patient(resources: tuple[Json, ...], there: tuple[Json, ...]) -> None:
    if resources[1].get("derivedFrom") and there:
        resources = (*resources[:2], resources[2])
    held(bundle(patient("p"), *there, *resources), "several patients")


@pytest.mark.parametrize(
    "subject",
    [
        P,
        {"reference": "Patient/p/_history/2"},
        {"identifier": {"system": "urn:oid:2.999.1", "value": "p"}},
        {"identifier": {"value": "p"}, **P},
        {"display": "P"},
        None,
    ],
)
def test_every_way_to_name_the_one_patient_is_that_patient(subject: Json | None) -> None:
    more: Json = {"subject": subject} if subject else {}
    message = convert(bundle(patient("p"), report("o", subject=P), result(**more)))
    assert names(message) == ["PID", "OBR", "OBX"] and message.get("PID-3.1") == "p"


@pytest.mark.parametrize(
    ("make", "kind", "name"),
    [
        (fhir_hl7v2.oml, "ServiceRequest", "subject"),
        (fhir_hl7v2.rde, "MedicationRequest", "subject"),
        (fhir_hl7v2.vxu, "Immunization", "patient"),
        (fhir_hl7v2.mdm, "DocumentReference", "subject"),
    ],
)
def test_a_patient_who_was_not_sent_is_not_the_one_who_was(make: Callable[..., Any], kind: str, name: str) -> None:
    status = {"Immunization": "completed", "DocumentReference": "current"}.get(kind, "active")
    resource = {"resourceType": kind, "id": "s", "status": status, "intent": "order"}
    assert "PID" not in names(convert(bundle(patient("p"), {**resource, name: Q}), make))
    assert convert(bundle(patient("p"), {**resource, name: P}), make).get("PID-3.1") == "p"


def test_a_visit_of_another_patient_is_held() -> None:
    visit = {"resourceType": "Encounter", "id": "e", "status": "finished", "class": {"code": "IMP"}, "subject": Q}
    assert "PID" not in names(convert(bundle(patient("p"), visit), fhir_hl7v2.adt))
    order = request(subject=P, encounter={"reference": "Encounter/e"})
    held(bundle(patient("p"), order, visit), "several patients", fhir_hl7v2.oml)
    held(bundle(patient("p"), patient("q")), "several patients", fhir_hl7v2.adt, event="A08")


@pytest.mark.parametrize("name", ["supportingInfo", "specimen", "basedOn"])
def test_what_an_order_points_to_is_of_its_patient(name: str) -> None:
    kind = {"supportingInfo": "Observation", "specimen": "Specimen", "basedOn": "ServiceRequest"}[name]
    other = {**request(kind, subject=Q), "id": "x"}
    if kind != "Observation":
        other["identifier"] = [{"value": "7"}]
    order = request(subject=P) | {name: [{"reference": f"{kind}/x"}]}
    held(bundle(patient("p"), order, other), "several patients", fhir_hl7v2.oml)


# modifier elements (those that FHIR R4 marks `?!`)


@pytest.mark.parametrize("said", [True, "true", 1])
@pytest.mark.parametrize(("make", "kind"), [(fhir_hl7v2.oml, "ServiceRequest"), (fhir_hl7v2.rde, "MedicationRequest")])
def test_what_must_not_be_done_is_not_ordered(make: Callable[..., Any], kind: str, said: Any) -> None:
    held(request(kind, doNotPerform=said), "doNotPerform", make)
    assert convert(request(kind, doNotPerform=False), make).get("ORC-1") == "NW"


@pytest.mark.parametrize("intent", [None, [], "Order", "proposal", {"code": "order"}])
@pytest.mark.parametrize(("make", "kind"), [(fhir_hl7v2.orm, "ServiceRequest"), (fhir_hl7v2.omp, "MedicationRequest")])
def test_an_order_says_that_it_is_one(make: Callable[..., Any], kind: str, intent: Any) -> None:
    order = request(kind, intent=intent)
    if intent is None:
        del order["intent"]
    held(order, "a draft, a plan", make)


@pytest.mark.parametrize(
    "more", [{"active": False}, {"active": "false"}, {"link": [{"type": "replaced-by", "other": Q}]}]
)
def test_a_patient_record_that_is_not_in_use_is_held(more: Json) -> None:
    held(bundle(patient("p", **more), result(subject=P)), "not in use")
    assert convert(bundle(patient("p", active=True), result(subject=P))).get("PID-3.1") == "p"


@pytest.mark.parametrize(
    "owner",
    [
        (report("o", encounter={"reference": "Encounter/x"}), result(), {"resourceType": "Encounter", "id": "x"}),
        (result(specimen={"reference": "Specimen/x"}), {"resourceType": "Specimen", "id": "x"}),
    ],
)
def test_what_was_entered_in_error_is_not_written_as_true(owner: tuple[Json, ...]) -> None:
    *others, last = owner
    held(bundle(*others, {**last, "status": "entered-in-error"}), "in error")
    convert(bundle(*others, {**last, "status": "finished"}))


def test_a_medicine_entered_in_error_is_held() -> None:
    order = request("MedicationRequest", medicationReference={"reference": "Medication/m"})
    held(bundle(order, {"resourceType": "Medication", "id": "m", "status": "entered-in-error"}), "in error",
         fhir_hl7v2.rde)  # fmt: skip


@pytest.mark.parametrize("event", ["A01", "A03", "A04"])
@pytest.mark.parametrize("status", ["cancelled", "entered-in-error"])
def test_a_visit_that_never_was_is_no_admission(event: str, status: str) -> None:
    visit = {"resourceType": "Encounter", "id": "e", "status": status, "class": {"code": "IMP"}}
    held(bundle(patient("p"), visit), "cancelled|in error", fhir_hl7v2.adt, event=event)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, ("CP", "A")),
        ({"isSubpotent": False}, ("CP", "A")),
        ({"isSubpotent": True}, ("PA", "A")),
        ({"status": "not-done"}, ("NA", "A")),
        ({"status": "not-done", "statusReason": {"text": "R"}}, ("RE", "A")),
        ({"status": "entered-in-error"}, ("", "D")),
        ({"status": "entered-in-error", "isSubpotent": True}, ("", "D")),
    ],
)
def test_a_vaccination_says_what_was_done(more: Json, expected: tuple[str, str]) -> None:
    message = convert(shot(**more), fhir_hl7v2.vxu)
    assert (message.get("RXA-20") or "", message.get("RXA-21") or "") == expected


@pytest.mark.parametrize("more", [{"status": "Completed"}, {"status": []}, {"isSubpotent": "true"}])
def test_a_vaccination_of_which_nothing_is_certain_is_held(more: Json) -> None:
    held(shot(**more), "vaccination", fhir_hl7v2.vxu)


# Bundles


@pytest.mark.parametrize("method", ["DELETE", "PATCH", "GET", "delete", 1])
@pytest.mark.parametrize("content", [{"resource": result()}, {}])
def test_a_deletion_is_no_result(method: Any, content: Json) -> None:
    parsed = bundle(result("other"))
    parsed["entry"].append({"request": {"method": method, "url": "Observation/o"}, **content})
    held(parsed, "deletion")


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_what_is_created_or_put_is_converted(method: str) -> None:
    parsed = bundle(result())
    parsed["entry"][0]["request"] = {"method": method, "url": "Observation"}
    assert names(convert(parsed)) == ["OBR", "OBX"]


@pytest.mark.parametrize("kind", ["searchset", "history", "transaction-response", "batch-response", "", "Message"])
def test_a_bundle_that_tells_of_the_past_is_no_message(kind: str) -> None:
    held(bundle(result(), kind=kind), "Bundle")


@pytest.mark.parametrize("kind", ["transaction", "batch", "message", "document", "collection"])
def test_a_bundle_that_is_sent_to_be_taken_is_converted(kind: str) -> None:
    assert names(convert(bundle(result(), kind=kind))) == ["OBR", "OBX"]


@pytest.mark.parametrize("entry", [1, None, {}, {"resource": 1}, {"resource": {}}, {"fullUrl": "urn:uuid:1"}])
def test_an_entry_that_is_no_resource_is_held(entry: Any) -> None:
    parsed = bundle(result())
    parsed["entry"].append(entry)
    held(parsed, "no resource")


def test_one_id_with_two_contents_is_held_and_with_one_is_written_once() -> None:
    held(bundle(result(), result(valueString="y")), "twice")
    same_url = bundle(result("a"), result("b"))
    for entry in same_url["entry"]:
        entry["fullUrl"] = "urn:uuid:1"
    held(same_url, "twice")
    assert names(convert(bundle(result(), result()))) == ["OBR", "OBX"]


# results


def test_members_of_each_other_are_written_once() -> None:
    a = result("a", hasMember=[{"reference": "Observation/b"}])
    b = result("b", hasMember=[{"reference": "Observation/a"}])
    alone = result("c", hasMember=[{"reference": "Observation/c"}])
    message = convert(bundle(a, b, alone))
    assert [row[3] for row in message.rows if row[0] == "OBX"] == ["^c", "^a", "^b"]


@pytest.mark.parametrize("status", ["final", "preliminary", "amended"])
def test_a_message_without_any_result_is_held(status: str) -> None:
    held(report("nowhere", status=status), "no result")
    assert names(convert(report(status="cancelled"))) == ["OBR"]
    assert names(convert(report(status=status, conclusion="said"))) == ["OBR", "NTE"]
