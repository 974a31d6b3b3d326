"""Groups: a result belongs to its order and specimen, a note to what stands before it, and none is lost."""

from __future__ import annotations

from typing import Any

import pytest
from result_messages import HEAD, PID, convert, of

from tests.unit.rules.segments import findings, good, message, obr, obx, only, segment, urls

OUL = HEAD.replace("ORU^R01", "OUL^R22")
SPM = segment("SPM", n2="S1", n4="SER")
SODIUM = "NA^Sodium^L"


def notes(resource: dict[str, Any]) -> list[str]:
    return [note["text"] for note in resource.get("note", ())]


def results_of(report: dict[str, Any]) -> list[str]:
    return [one["reference"] for one in report.get("result", ())]


def test_results_before_any_order_belong_to_the_patient_and_to_no_report() -> None:
    made = message(obx(), obr(), obx(n3=SODIUM))
    loose, ordered = of("Observation", made)
    assert loose["subject"] == ordered["subject"]
    assert results_of(only("DiagnosticReport", made)) == [f"Observation/{ordered['id']}"]


def test_results_without_any_order_are_written() -> None:
    made = message(obx(), obx(n3=SODIUM))
    assert len(of("Observation", made)) == 2 and not of("DiagnosticReport", made)


def test_a_note_belongs_to_the_segment_before_it() -> None:
    made = message(
        "NTE|1||of the patient", "ORC|RE", "NTE|1||of the order", obr(), "NTE|1||of the request", obx(),
        "NTE|1||of the result", SPM, "NTE|1||of the specimen", obx(n3=SODIUM), "NTE|1||of its result",
    )  # fmt: skip
    (extension,) = only("Patient", made)["extension"]
    assert extension["valueAnnotation"]["text"] == "of the patient"
    assert notes(only("ServiceRequest", made)) == ["of the order", "of the request"]
    assert notes(only("Specimen", made)) == ["of the specimen"]
    assert [notes(found) for found in of("Observation", made)] == [["of the result"], ["of its result"]]


def test_the_lines_of_a_note_are_one_text_and_another_kind_of_note_is_another() -> None:
    lines = ("NTE|1|L|first", "NTE|2|L|", "NTE|3|L|third~fourth", "NTE|4|L|own|RE^Remark^HL70364")
    (found,) = of("Observation", message(obr(), obx(), *lines))
    assert notes(found) == ["first\n\nthird\nfourth", "own"]


def test_results_behind_a_specimen_are_its_own_and_in_the_report() -> None:
    made = message(obr(), obx(), SPM, obx(n3=SODIUM), segment("SPM", n2="S2"), obx(n3="CL^Chloride^L"))
    specimens = [found.get("specimen", {}).get("reference") for found in of("Observation", made)]
    assert specimens == [None, *urls("Specimen", made)]
    assert results_of(only("DiagnosticReport", made)) == urls("Observation", made)


def test_a_single_specimen_is_that_of_every_result() -> None:
    made = message(obr(), obx(), SPM)
    (specimen,) = urls("Specimen", made)
    assert only("Observation", made)["specimen"] == {"reference": specimen}
    assert only("DiagnosticReport", made)["specimen"] == [{"reference": specimen}]
    assert only("ServiceRequest", made)["specimen"] == [{"reference": specimen}]


def test_the_specimen_of_obr_15_where_no_spm_is() -> None:
    source = "BLD&Blood&HL70070^^clotted^LA&Left arm^^VEN&Venipuncture"
    found = only("Specimen", message(obr(n15=source, n14="20260105080000"), obx()))
    assert found["type"]["coding"][0]["code"] == "BLD" and found["note"] == [{"text": "clotted"}]
    assert found["collection"]["bodySite"]["coding"][0]["code"] == "LA"
    assert found["collection"]["method"]["coding"][0]["code"] == "VEN"
    assert found["receivedTime"] == "2026-01-05T08:00:00-06:00"


def test_spm_comes_before_obr_15() -> None:
    assert only("Specimen", message(obr(n15="BLD"), SPM, obx()))["type"]["coding"][0]["code"] == "SER"


def test_an_order_without_orc_has_its_report_and_request() -> None:
    made = message(obr(), obx())
    assert only("ServiceRequest", made)["status"] == "completed" and only("DiagnosticReport", made)["status"] == "final"
    assert findings(made) == []


@pytest.mark.parametrize("results", [[], [obx()]])
def test_an_order_without_results_is_a_report_all_the_same(results: list[str]) -> None:
    found = only("DiagnosticReport", message(obr(n25="P"), *results))
    assert found["status"] == "preliminary" and ("result" in found) == bool(results)


def test_orders_under_one_orc_have_a_report_and_a_request_each() -> None:
    orders = (obr(), obx(), obr(n4="CBC^Blood count^L"), obx(n3="WBC^Leukocytes^L"), obr(n4="LIP^Lipids^L"))
    made = message("ORC|CM|P1^LEE|F1^LAB||CM", *orders)
    reports = of("DiagnosticReport", made)
    assert [found["code"]["text"] for found in reports] == ["Panel", "Blood count", "Lipids"]
    assert [len(results_of(found)) for found in reports] == [1, 1, 0]
    assert [found["status"] for found in of("ServiceRequest", made)] == ["completed"] * 3
    assert len({found["basedOn"][0]["reference"] for found in reports}) == 3


def test_the_same_test_twice_under_one_number_is_two_reports() -> None:
    made = message(obr(), obx(), obr(), obx())
    assert len(urls("DiagnosticReport", made)) == 2 and len(urls("Observation", made)) == 2


def test_a_specimen_oriented_message_has_the_specimen_first_and_orc_behind_obr() -> None:
    made = good(
        OUL, PID, SPM, obr(n25="F"), "ORC|RE|P1^LEE|F1^LAB||CA", obx(), obr(n3="F2^LAB", n4="CBC^Blood count^L"),
        obx(n3="WBC^Leukocytes^L"), segment("SPM", n2="S2"), obr(n3="F3^LAB"), obx(),
    )  # fmt: skip
    first, second = urls("Specimen", made)
    assert [found["specimen"]["reference"] for found in of("Observation", made)] == [first, first, second]
    assert [found["specimen"] for found in of("DiagnosticReport", made)] == [
        [{"reference": one}] for one in (first, first, second)
    ]
    assert [found["status"] for found in of("ServiceRequest", made)] == ["revoked", "completed", "completed"]


def test_results_right_behind_a_specimen_and_before_its_order_are_not_lost() -> None:
    made = good(OUL, PID, SPM, obx(n3="HEM^Hemolysis^L"), "NTE|1||slightly", obr(), obx())
    (specimen,) = urls("Specimen", made)
    found = of("Observation", made)
    assert [one["specimen"]["reference"] for one in found] == [specimen, specimen]
    assert notes(found[0]) == ["slightly"]


def test_results_and_orders_belong_to_the_patient_before_them() -> None:
    made = good(HEAD, PID, obr(), obx(), PID.replace("100^", "200^"), obr(n3="F2^LAB"), obx())
    patients = [{"reference": url} for url in urls("Patient", made)]
    for kind in ("Observation", "DiagnosticReport", "ServiceRequest"):
        assert [found["subject"] for found in of(kind, made)] == patients


def test_results_without_a_patient_are_written_and_reported() -> None:
    made = convert(HEAD, obr(), obx())
    assert "subject" not in of("Observation", made)[0]
    assert findings(made) == ["patient_missing PID"]


def test_a_segment_that_nobody_knows_separates_nothing() -> None:
    made = message(obr(), obx(), "ZRS|1|x", "NTE|1||of the result", "ZRS|2|y", obx(n3=SODIUM))
    assert len(results_of(only("DiagnosticReport", made))) == 2


def test_every_result_note_and_specimen_of_a_long_message_is_there() -> None:
    body: list[str] = []
    for order in range(5):
        body += ["ORC|RE", obr(n3=f"F{order}^LAB")]
        for number in range(20):
            body += [obx(n3=f"T{number}^Test^L", n4=str(number % 3)), f"NTE|1||note {order}/{number}"]
        body += [segment("SPM", n2=f"S{order}"), obx(n3="V^Volume^L"), f"NTE|1||volume {order}"]
    made = message(*body)
    found = of("Observation", made)
    assert (len(found), len(of("Specimen", made)), len(of("DiagnosticReport", made))) == (105, 5, 5)
    said = [text for one in found for text in notes(one)]
    assert len(set(said)) == len(said) == 105
