"""Statuses: what HL7 tables 0085, 0123, 0038 and 0119 say, and never a better one."""

from __future__ import annotations

import base64
import string
from typing import Any

import orjson
import pytest
from result_messages import of

from tests.unit.rules.segments import findings, message, obr, observations, obx, only, segment

V2 = "http://terminology.hl7.org/CodeSystem/v2-"


def alternate(resource: dict[str, Any]) -> dict[str, Any]:
    """The v2 code that is kept beside a status."""
    (extension,) = resource["_status"]["extension"]
    assert extension["url"] == "http://hl7.org/fhir/StructureDefinition/alternate-codes"
    found: dict[str, Any] = extension["valueCodeableConcept"]
    return found


@pytest.mark.parametrize("said", [*string.ascii_uppercase, "", '""', "f", "FINAL", "0", "F1"])
def test_no_code_but_four_makes_a_result_final(said: str) -> None:
    """F and V say so, U finalises, N was not asked: its absence is final."""
    (found,) = observations(obx(n11=said))
    assert (found["status"] == "final") == (said in ("F", "N", "U", "V"))


@pytest.mark.parametrize("said", ["", '""'])
def test_no_result_status_is_unknown_and_reported(said: str) -> None:
    made = message(obr(n25="O"), obx(n11=said))
    assert only("Observation", made)["status"] == "unknown"
    assert findings(made) == ["status_missing OBX[1]-11"]


def test_a_cancelled_result_keeps_its_v2_code_and_says_why_it_has_no_value() -> None:
    (found,) = observations(obx(n5="", n11="X"))
    assert found["status"] == "cancelled"
    assert alternate(found)["coding"] == [{"system": V2 + "0085", "code": "X"}]
    assert found["dataAbsentReason"]["coding"][0]["code"] == "unknown"


def test_a_result_that_was_not_asked_says_so() -> None:
    (found,) = observations(obx(n5="", n11="N"))
    assert found["dataAbsentReason"]["coding"][0]["code"] == "not-asked"


@pytest.mark.parametrize("said", ["X", "N"])
def test_a_value_is_kept_whatever_the_status_says(said: str) -> None:
    (found,) = observations(obx(n11=said))
    assert found["valueQuantity"] == {"value": "4.10"} and "dataAbsentReason" not in found


def patch_of(*more: str, value: str = "") -> dict[str, Any]:
    """The JSON Patch of a result with status U, by path."""
    made = message(obr(), obx(n5=value, n11="U"), *more)
    operations = orjson.loads(base64.b64decode(only("Binary", made)["data"]))
    assert not of("Observation", made)
    return {operation["path"]: operation["value"] for operation in operations}


@pytest.mark.parametrize("value", ["", '""', " "])
def test_u_finalises_the_stored_result_and_never_touches_its_value(value: str) -> None:
    found = patch_of(value=value)
    assert found.keys() == {"/status", "/_status"}
    assert found["/status"] == "final"


def test_u_replaces_the_v2_code_that_was_kept_beside_the_stored_status() -> None:
    """A stored R is preliminary with R beside it, which a final result must not keep."""
    assert alternate({"_status": patch_of()["/_status"]})["coding"][0]["code"] == "U"


def test_notes_behind_u_are_not_lost() -> None:
    assert patch_of("NTE|1||seen by two")["/note"] == [{"text": "seen by two"}]


def test_u_finds_the_stored_result_by_the_same_id() -> None:
    stored = only("Observation", message(obr(), obx(n11="P")))["id"]
    report = only("DiagnosticReport", message(obr(), obx(n5="", n11="U")))
    assert report["result"] == [{"reference": f"Observation/{stored}"}]


def test_u_with_a_value_is_written_as_a_final_result() -> None:
    (found,) = observations(obx(n11="U"))
    assert (found["status"], found["valueQuantity"]) == ("final", {"value": "4.10"})
    assert alternate(found)["coding"][0]["code"] == "U"


def test_a_report_status_without_an_exact_fhir_code_keeps_the_v2_code() -> None:
    """A: some results are there, not all; FHIR's partial says more."""
    found = only("DiagnosticReport", message(obr(n25="A"), obx()))
    assert found["status"] == "partial" and alternate(found)["coding"] == [{"system": V2 + "0123", "code": "A"}]


@pytest.mark.parametrize("result", ["P", "R", "S", "I", "O", "", "Q"])
@pytest.mark.parametrize(("said", "status"), [("F", "final"), ("C", "corrected")])
def test_a_report_that_is_better_than_its_results_is_kept_and_reported(said: str, status: str, result: str) -> None:
    made = message(obr(n25=said), obx(n11=result))
    assert only("DiagnosticReport", made)["status"] == status
    assert "status_better_than_results OBR[1]-25" in findings(made)


@pytest.mark.parametrize("result", ["F", "C", "A", "X", "D", "V", "U"])
def test_a_report_that_is_as_good_as_its_results_is_not_reported(result: str) -> None:
    assert findings(message(obr(n25="F"), obx(n11=result))) == []


@pytest.mark.parametrize("said", ["", '""'])
@pytest.mark.parametrize(
    ("results", "status"),
    [
        ("F", "final"), ("V", "final"), ("FX", "final"), ("FA", "corrected"), ("P", "preliminary"),
        ("R", "preliminary"), ("I", "registered"), ("IF", "partial"), ("X", "cancelled"), ("FQ", "unknown"),
        ("Q", "unknown"), ("", "unknown"), ("U", "final"),
    ],
)  # fmt: skip
def test_an_empty_report_status_is_what_the_results_say(results: str, status: str, said: str) -> None:
    made = message(obr(n25=said), *(obx(n11=one) for one in results))
    assert only("DiagnosticReport", made)["status"] == status
    assert ("status_missing OBR[1]-25" in findings(made)) == (status == "unknown")


@pytest.mark.parametrize(
    ("results", "status"),
    [("D", "entered-in-error"), ("DW", "entered-in-error"), ("DF", "corrected"), ("XW", "cancelled")],
)
def test_results_entered_in_error_make_no_report_final(results: str, status: str) -> None:
    found = only("DiagnosticReport", message(obr(n25=""), *(obx(n11=one) for one in results)))
    assert found["status"] == status


def order(orc: str, **fields: str) -> dict[str, Any]:
    return only("ServiceRequest", message(orc, obr(**fields), obx()))


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("CA", "revoked"), ("DC", "revoked"), ("RP", "revoked"), ("CM", "completed"), ("ER", "entered-in-error"),
        ("HD", "on-hold"), ("IP", "active"), ("SC", "active"), ("A", "active"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("control", ["", "NW", "CR", "RE"])
def test_the_order_status_is_that_of_orc_5_whatever_orc_1_says(said: str, status: str, control: str) -> None:
    assert order(segment("ORC", n1=control, n5=said))["status"] == status


@pytest.mark.parametrize("control", ["NW", "OK", "RO", "RQ", "AF", "PR", "PY", "RL"])
def test_a_control_code_that_orders_is_active(control: str) -> None:
    assert order(f"ORC|{control}")["status"] == "active"


@pytest.mark.parametrize("control", ["CA", "HD"])
def test_a_request_to_cancel_or_hold_is_not_yet_done(control: str) -> None:
    assert order(f"ORC|{control}")["status"] == "active"


@pytest.mark.parametrize(
    ("control", "status"),
    [
        ("CR", "revoked"), ("DC", "revoked"), ("DR", "revoked"), ("OC", "revoked"), ("OD", "revoked"),
        ("DF", "revoked"), ("OH", "on-hold"), ("HR", "on-hold"), ("FU", "completed"),
    ],
)  # fmt: skip
def test_a_control_code_that_tells_what_was_done_is_the_status(control: str, status: str) -> None:
    assert order(f"ORC|{control}")["status"] == status


@pytest.mark.parametrize("orc", ["ORC|RE", "ORC|XO", "ORC|ZZ", "ORC", 'ORC|""||||""'])
@pytest.mark.parametrize(("report", "status"), [("F", "completed"), ("C", "completed"), ("P", "unknown")])
def test_an_order_that_says_nothing_is_completed_only_by_its_report(orc: str, report: str, status: str) -> None:
    assert order(orc, n25=report)["status"] == status


def test_an_order_status_outside_table_0038_is_unknown_and_kept() -> None:
    found = order("ORC|RE||||ZZ")
    assert found["status"] == "unknown" and alternate(found) == {"text": "ZZ"}


@pytest.mark.parametrize(("said", "intent"), [("", "order"), ("L", "order"), ("G", "reflex-order")])
def test_the_intent_is_an_order_or_what_the_laboratory_added(said: str, intent: str) -> None:
    assert order("ORC|RE", n11=said)["intent"] == intent
