"""PV1 and MSH: a visit that is none makes no Encounter; test data never passes for production."""

from __future__ import annotations

from typing import Any

import pytest
from result_messages import HEAD, OBR, PID, of

from tests.unit.rules.segments import bundle, findings, good, message, obr, obx, only, segment

ACT = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
V2 = "http://terminology.hl7.org/CodeSystem/v2-"
VISIT = "V1^^^HOSP^VN"


def visit(**fields: str) -> dict[str, Any]:
    return only("Encounter", message(segment("PV1", **fields), obr()))


@pytest.mark.parametrize(
    ("said", "system", "code"),
    [("E", ACT, "EMER"), ("I", ACT, "IMP"), ("O", ACT, "AMB"), ("P", ACT, "PRENC"), ("R", V2 + "0004", "R"),
     ("B", V2 + "0004", "B"), ("C", V2 + "0004", "C"), ("N", V2 + "0004", "N"), ("U", V2 + "0004", "U")],
)  # fmt: skip
def test_the_class_of_a_visit(said: str, system: str, code: str) -> None:
    found = visit(n2=said, n19=VISIT)["class"]
    assert (found["system"], found["code"]) == (system, code)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"n2": "I"}, "in-progress"), ({"n2": "O"}, "in-progress"), ({"n2": "P"}, "planned"),
        ({"n2": "U", "n19": VISIT}, "unknown"), ({"n2": "I", "n45": "20260106"}, "finished"),
        ({"n2": "P", "n45": "20260106"}, "finished"), ({"n2": "I", "n45": '""'}, "in-progress"),
    ],
)  # fmt: skip
def test_the_status_of_a_visit_is_finished_by_its_discharge_else_by_its_class(
    fields: dict[str, str], status: str
) -> None:
    assert visit(**fields)["status"] == status


def test_the_visit_number_is_its_identifier() -> None:
    (found,) = visit(n2="I", n19="V1^^^HOSP")["identifier"]
    assert found["value"] == "V1" and found["type"]["coding"][0]["code"] == "VN"


@pytest.mark.parametrize("pv1", ["PV1|1|N", "PV1|1", 'PV1|1|""', "PV1|1|U", "PV1|1|HOSPITAL"])
def test_a_visit_that_says_nothing_is_no_encounter(pv1: str) -> None:
    made = message(pv1, obr(), obx())
    assert not of("Encounter", made)
    assert not any("encounter" in one for kind in ("Observation", "DiagnosticReport") for one in of(kind, made))


def test_the_visit_is_that_of_results_reports_and_requests() -> None:
    made = message("PV1|1|I", obr(), obx())
    reference = {"reference": f"Encounter/{only('Encounter', made)['id']}"}
    for kind in ("Observation", "DiagnosticReport", "ServiceRequest"):
        assert only(kind, made)["encounter"] == reference


# the header


@pytest.mark.parametrize(
    ("said", "tag"), [("T", "T"), ("D", "D"), ("T^T", "T"), ("P", None), ("P^T", None), ("", None)]
)
def test_every_resource_of_a_test_message_says_so(said: str, tag: str | None) -> None:
    made = good(HEAD.replace("|1|P|", f"|1|{said}|"), PID, "PV1|1|I", obr(n16="7^Lee"), obx(), "SPM|1|S1")
    expected = {"tag": [{"system": V2 + "0103", "code": tag}]} if tag else None
    every = [bundle(made), *(entry["resource"] for entry in bundle(made)["entry"])]
    assert len(every) == 8 and all(one.get("meta") == expected for one in every)


def test_the_control_id_identifies_the_bundle_within_its_sender() -> None:
    assert bundle(message(OBR))["identifier"] == {"system": "urn:interlock:authority:lab:message", "value": "1"}


def header(**fields: str) -> dict[str, Any]:
    """The MessageHeader of a message with nothing else."""
    usual = {"n1": r"^~\&", "n6": "LEE", "n8": "", "n9": "ORU^R01", "n10": "1", "n11": "P", "n12": "2.5.1"}
    numbers = {f"n{int(number[1:]) - 1}": text for number, text in {**usual, **fields, "n2": r"^~\&"}.items()}
    return only("MessageHeader", good(segment("MSH", **numbers)))


def test_the_event_is_the_trigger_event() -> None:
    assert header(n3="LIS")["eventCoding"] == {"system": V2 + "0003", "code": "R01"}


@pytest.mark.parametrize(
    ("fields", "endpoint"),
    [
        ({"n3": "LIS^lis.example^DNS"}, "lis.example"), ({"n3": "LIS^2.999.1^ISO"}, "urn:oid:2.999.1"),
        ({"n3": "LIS", "n24": "10.0.0.1:2575^net.example^DNS"}, "net.example"), ({"n3": "LIS"}, None), ({}, None),
    ],
)  # fmt: skip
def test_the_source_has_an_address_or_says_that_it_has_none(fields: dict[str, str], endpoint: str | None) -> None:
    found = header(**fields)["source"]
    assert found.get("endpoint") == endpoint
    if endpoint is None:
        assert found["_endpoint"]["extension"][0]["valueCode"] == "unknown"


def test_a_header_alone_is_reported() -> None:
    made = good(HEAD)
    assert [one["resourceType"] for one in (entry["resource"] for entry in bundle(made)["entry"])] == ["MessageHeader"]
    assert findings(made) == ["nothing_but_header MSH"]


def test_results_bring_neither_the_raw_message_nor_a_record_of_how_they_came() -> None:
    """The engine keeps the bytes and the attempt; a receiver's copy would be a second truth."""
    made = message("PV1|1|I", obr(), obx())
    kinds = {entry["resource"]["resourceType"] for entry in bundle(made)["entry"]}
    assert kinds.isdisjoint({"Provenance", "MessageHeader", "DocumentReference", "Binary"})
