"""Master files, answers, charges, and what has no conversion: for a reason that the message says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fhir_rules import faults
from result_messages import PID, convert, of, resources

from engine.errors import Held


def head(kind: str) -> str:
    return rf"MSH|^~\&|LIS|LAB|EHR|LEE|20260105083000||{kind}|1|P|2.5.1"


def made(kind: str, *segments: str) -> tuple[list[dict[str, Any]], list[str]]:
    converted = convert(head(kind), *segments)
    assert faults(json.loads(converted.payload)) == []
    return resources(converted), [f"{found.code} {found.where}" for found in converted.findings]


@pytest.mark.parametrize(
    ("said", "code"),
    [("AA", "ok"), ("CA", "ok"), ("AE", "fatal-error"), ("CE", "fatal-error"), ("AR", "fatal-error"), ("OK", None)],
)
def test_an_answer_is_good_only_where_it_says_so(said: str, code: str | None) -> None:
    (header,), findings = made("ACK", f"MSA|{said}|M1")
    assert header["response"].get("code") == code
    assert header["response"]["identifier"] == "M1"
    assert findings == ([] if code else ["status_unknown MSA[1]-1"])


def test_errors_are_issues_of_one_outcome() -> None:
    (header,), _ = made("ACK", "MSA|AE|M1", "ERR||PID^1^3|101|E|||trace|No number", "ERR|||200|F", "ERR|OBX^2^5^103")
    (outcome,) = header["contained"]
    assert header["response"]["details"] == {"reference": "#outcome"}
    assert [(one["severity"], one["code"]) for one in outcome["issue"]] == [
        ("error", "required"),
        ("fatal", "not-supported"),
        ("error", "code-invalid"),
    ]
    assert outcome["issue"][0]["location"] == ["PID[1]-3"]
    assert outcome["issue"][0]["details"]["text"] == "No number"
    assert outcome["issue"][0]["diagnostics"] == "trace"


def test_a_severity_nobody_knows_is_an_error_and_is_kept() -> None:
    (header,), findings = made("ACK", "MSA|AE|M1", "ERR|||101|BAD")
    (issue,) = header["contained"][0]["issue"]
    assert issue["severity"] == "error"
    assert issue["_severity"]["extension"][0]["valueCodeableConcept"] == {"text": "BAD"}
    assert findings == ["code_unknown ERR[1]-4"]


def test_an_error_that_passes_may_be_sent_again() -> None:
    (header,), _ = made("ACK", "MSA|AR|M1", "ERR|||206|E")
    assert header["response"]["code"] == "transient-error"


def test_each_entry_of_a_master_file_has_its_answer() -> None:
    (header,), findings = made("MFK^M02", "MSA|AA|M1", "MFI|PRA", "MFA|MAD|E1||S|1", "MFA|MAD|E2||U|2")
    assert [one["severity"] for one in header["contained"][0]["issue"]] == ["information", "error"]
    assert findings == []


@pytest.mark.parametrize("kind", ["QBP^Q11", "QRY^A19", "VXQ^V01", "SRM^S01", "MFN^M04", "MFN^M01"])
def test_what_holds_nothing_is_held_with_the_reason(kind: str) -> None:
    with pytest.raises(Held) as raised:
        convert(head(kind), "QPD|x")
    assert raised.value.code == "not_convertible"
    assert "yet" not in str(raised.value)


def test_staff_has_the_id_that_results_know() -> None:
    found, findings = made("MFN^M02", "MFI|PRA", "MFE|MAD|1", "STF|K1|77^^^LAB^EI|Ochre^Lee||M|||CARD")
    other = convert(head("ORU^R01"), PID, "OBR|1|P|F|X^Y^L||||||||||||77^Ochre^Lee^^^^^^LAB")
    assert of("Practitioner", other)[0]["id"] == found[0]["id"]
    assert [number["value"] for number in found[0]["identifier"]] == ["77", "K1"]
    assert found[1]["practitioner"] == {"reference": "Practitioner/" + found[0]["id"]}
    assert findings == []


@pytest.mark.parametrize(
    ("action", "said", "active"),
    [("MAD", "A", True), ("MAD", "I", False), ("MDC", "A", False), ("MDL", "", False), ("MUP", "", None)],
)
def test_an_entry_that_ended_is_not_active(action: str, said: str, active: bool | None) -> None:
    found, _ = made("MFN^M02", f"MFE|{action}|1", f"STF|K1||Ochre^Lee||||{said}")
    assert found[0].get("active") is active
    assert found[1].get("active") is active


def test_a_place_has_the_id_that_visits_know() -> None:
    found, _ = made("MFN^M05", "MFE|MDL|1", "LOC|4E^12|Corner room")
    visit = of("Location", convert(head("ADT^A01"), PID, "PV1|1|I|4E^12"))
    assert {one["id"] for one in visit} == {one["id"] for one in found}
    assert found[-1]["status"] == "inactive"
    assert found[-1]["description"] == "Corner room"


def test_a_catalogue_keeps_digits_and_intervals() -> None:
    om1 = "OM1|1|GLU^Glucose^L|NM|Y"
    om2 = "OM2|1|mg/dL^^UCUM|1|mmol/L^^UCUM|0.05550|70&99^F^18&65|40&500"
    ((found,), _) = made("MFN^M08", "MFE|MAD|1", om1, om2)
    assert found["quantitativeDetails"]["conversionFactor"] == "0.05550"
    assert found["permittedDataType"] == ["Quantity"]
    first, second = found["qualifiedInterval"]
    assert first["gender"] == "female" and first["age"]["low"] == {"value": "18"}
    assert second["category"] == "critical"


def test_a_catalogue_without_a_code_says_so() -> None:
    ((found,), findings) = made("MFN^M08", "MFE|MAD|1", "OM1|1")
    assert found["code"]["extension"][0]["valueCode"] == "unknown"
    assert findings == ["code_missing OM1[1]-2"]


@pytest.mark.parametrize(
    ("said", "status"), [("CG", "billable"), ("CD", "unknown"), ("PY", "unknown"), ("", "unknown")]
)
def test_only_a_charge_is_billable(said: str, status: str) -> None:
    charge = of("ChargeItem", convert(head("DFT^P03"), PID, f"FT1|1|T1||20260105||{said}|X^Y^L"))[0]
    assert charge["status"] == status
    assert ("extension" in charge) is (said in ("CD", "PY"))


def test_a_charge_is_known_by_its_number_and_has_a_code_or_says_that_there_is_none() -> None:
    first, other, last = of(
        "ChargeItem",
        convert(head("DFT^P03"), PID, "FT1|1|T1||20260105||CG|X^Y^L|||1.50", "FT1|2||||CG", "FT1|3|T1||20260106||CG|X"),
    )
    assert first["quantity"] == {"value": "1.50"}
    assert other["code"]["extension"][0]["valueCode"] == "unknown"
    assert first["identifier"] == last["identifier"]
    again = of("ChargeItem", convert(head("DFT^P03"), PID, "FT1|1|T1||20260107||CD|X^Y^L"))[0]
    assert again["id"] == first["id"]


def test_an_order_with_a_charge_is_a_request_and_no_report() -> None:
    found = convert(head("DFT^P03"), PID, "OBR|1|P|F|X^Y^L|||||||||||||||||||||F", "FT1|1|T1||20260105||CG|X^Y^L")
    kinds = {one["resourceType"] for one in resources(found)}
    assert kinds == {"Patient", "ServiceRequest", "ChargeItem"}
