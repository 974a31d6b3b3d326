"""Orders: what asks, what answers, when, under which number; a cancellation is never lost and never taken for done."""

from __future__ import annotations

from typing import Any

import pytest
from result_messages import CONTEXT, PID, TABLES, convert, of

from engine.errors import Held
from engine.formats.hl7v2 import read
from mappings.hl7v2_fhir.datatypes.timing import of_tq, of_tq1, schedule
from mappings.hl7v2_fhir.reading import PADDING, Reading

HEAD = r"MSH|^~\&|EHR|LEE|LIS|NSL|20260105083000-0600||OML^O21|1|P|2.5.1"
OBR = "OBR|1|P1^EHR||K^Potassium^L"


def order(*segments: str) -> dict[str, Any]:
    return of("ServiceRequest", convert(HEAD, PID, *segments))[0]


def timing(**fields: str) -> tuple[dict[str, Any], list[str]]:
    """The Timing of a TQ1 with fields by number, and what of it is kept as text."""
    row = ["TQ1", *PADDING]
    for name, value in fields.items():
        row[int(name[1:])] = value
    reading = Reading(read(HEAD.encode()), TABLES, CONTEXT)
    found = schedule(reading, of_tq1(reading, row, "TQ1[1]"))
    return found.timing, found.left


@pytest.mark.parametrize(
    ("control", "status", "task", "state"),
    [
        ("CA", "active", "abort", "requested"), ("CR", "revoked", "abort", "completed"),
        ("UC", "unknown", "abort", "rejected"), ("OC", "revoked", "abort", "completed"),
        ("HD", "active", "suspend", "requested"), ("OH", "on-hold", "suspend", "completed"),
        ("RL", "active", "resume", "requested"), ("XO", "active", "change", "requested"),
        ("RP", "active", "replace", "requested"), ("OK", "active", "fulfill", "accepted"),
        ("UA", "unknown", "fulfill", "rejected"), ("NA", "active", "fulfill", "accepted"),
        ("DE", "unknown", "DE", "failed"),
    ],
)  # fmt: skip
def test_a_control_is_a_task_about_the_order(control: str, status: str, task: str, state: str) -> None:
    made = convert(HEAD, PID, f"ORC|{control}|P1^EHR", OBR)
    (request,), (found,) = of("ServiceRequest", made), of("Task", made)
    assert request["status"] == status and found["status"] == state
    assert task in [coding["code"] for coding in found["code"]["coding"]]
    assert found["focus"]["reference"] == f"ServiceRequest/{request['id']}"


@pytest.mark.parametrize("control", ["NW", "RE", "CH", "RO", "SC"])
def test_a_new_order_asks_nothing_beside_itself(control: str) -> None:
    assert of("Task", convert(HEAD, PID, f"ORC|{control}|P1^EHR", OBR)) == []


def test_an_unknown_control_is_a_draft_and_reported() -> None:
    made = convert(HEAD, PID, "ORC|ZZ|P1^EHR", OBR)
    assert of("Task", made)[0]["status"] == "draft" and of("ServiceRequest", made)[0]["status"] == "unknown"
    assert [found.code for found in made.findings] == ["control_unknown"]


def test_question_and_answer_are_one_task() -> None:
    asked, answered = (
        of("Task", convert(HEAD, PID, f"ORC|{control}|P1^EHR|{filler}", OBR))[0]
        for control, filler in (("CA", ""), ("CR", "F1^LAB"))
    )
    assert asked["id"] == answered["id"] and asked["status"] != answered["status"]


def test_an_order_and_its_results_are_one_request() -> None:
    """The placer's number names the request, also where results have the filler's number as well."""
    results = HEAD.replace("OML^O21", "ORU^R01")
    made = convert(results, PID, "OBR|1|P1^EHR|F1^LAB|K^Potassium^L|||||||||||||||||||||F", "OBX|1|NM|K||4|||||F")
    assert of("ServiceRequest", made)[0]["id"] == order("ORC|NW|P1^EHR", OBR)["id"]


def test_a_cancellation_by_number_is_kept() -> None:
    made = convert(HEAD, PID, "ORC|OC|P1^EHR||||||||||||||DUP^Ordered twice^L", "NTE|1||by phone")
    (found,), (task,) = of("ServiceRequest", made), of("Task", made)
    assert found["status"] == "revoked" and found["note"] == [{"text": "by phone"}]
    assert found["id"] != order("ORC|NW|P1^EHR", OBR)["id"]  # it would overwrite the order with less
    assert task["statusReason"]["text"] == "Ordered twice"
    assert task["focus"] == {"reference": f"ServiceRequest/{found['id']}"}


def test_an_order_that_nobody_can_identify_is_refused() -> None:
    with pytest.raises(Held) as raised:
        convert(HEAD, PID, "ORC|CA")
    assert raised.value.code == "not_convertible" and raised.value.where == "ORC[1]-2"


def test_the_time_of_a_cancellation_is_not_that_of_the_order() -> None:
    said = "|||||||20260105090000-0600"
    assert order("ORC|NW|P1^EHR" + said, OBR)["authoredOn"] == "2026-01-05T09:00:00-06:00"
    made = convert(HEAD, PID, "ORC|CA|P1^EHR" + said, OBR)
    assert "authoredOn" not in of("ServiceRequest", made)[0]
    assert of("Task", made)[0]["authoredOn"] == "2026-01-05T09:00:00-06:00"


def test_answers_at_order_entry_support_the_request_and_are_no_report() -> None:
    made = convert(HEAD, PID, "ORC|NW|P1^EHR", OBR, "OBX|1|NM|8302-2^Height^LN||168|cm||||||F")
    assert of("DiagnosticReport", made) == []
    (answer,) = of("Observation", made)
    assert of("ServiceRequest", made)[0]["supportingInfo"] == [{"reference": f"Observation/{answer['id']}"}]


def test_previous_results_are_results_of_an_earlier_order() -> None:
    visit = "PV1|1|I|W^1^1|||||||||||||||||V1^^^LEE^VN"
    prior = ("ORC|PR", "OBR|2||F9^LAB|HGB^Hb^L|||20251201||||||||||||||||||F", "OBX|1|NM|HGB^Hb^L||13.10|||||F")
    made = convert(HEAD, PID, visit, "ORC|NW|P1^EHR", OBR, *prior)
    (report,) = of("DiagnosticReport", made)
    new, old = of("ServiceRequest", made)
    assert report["status"] == "final" and "encounter" not in report
    assert new["status"] == "active" and old["status"] == "completed"


def test_a_diagnosis_behind_the_request_is_its_reason() -> None:
    made = convert(HEAD, PID, "ORC|NW|P1^EHR", OBR, "DG1|1||R50.9^Fever^I10C", "OBR|2|P2^EHR||NA^Sodium^L")
    (condition,) = of("Condition", made)
    first, second = of("ServiceRequest", made)
    assert first["reasonReference"] == [{"reference": f"Condition/{condition['id']}"}]
    assert "reasonReference" not in second


def test_insurances_of_the_patient_pay_for_the_order() -> None:
    made = convert(HEAD, PID, "IN1|1|A^Plan A|1^^^P|Payer", "IN1|2|B^Plan B|2^^^P|Payer", "ORC|NW|P1^EHR", OBR)
    assert len(of("ServiceRequest", made)[0]["insurance"]) == 2


def test_each_note_stays_with_its_order() -> None:
    made = convert(
        HEAD, PID, "ORC|NW|P1^EHR", "NTE|1||of the order", "TQ1|1||BID", OBR, "NTE|1||of the test", "SPM|1|S1",
        "NTE|1||of the specimen", "SAC|||C1", "NTE|1||of the tube",
    )  # fmt: skip
    assert [note["text"] for note in of("ServiceRequest", made)[0]["note"]] == ["of the order", "of the test"]
    assert [note["text"] for note in of("Specimen", made)[0]["note"]] == ["of the specimen", "of the tube"]


def test_a_note_has_its_author_and_time() -> None:
    (note,) = order("ORC|NW|P1^EHR", OBR, "NTE|1||words||5^Nurse^Nora|20260105090000-0600")["note"]
    assert note["time"] == "2026-01-05T09:00:00-06:00" and note["authorReference"]["reference"].startswith("Practi")


def test_orders_follow_their_specimen() -> None:
    head = HEAD.replace("O21", "O33")
    made = convert(head, PID, "SPM|1|S1", "ORC|NW|P1^EHR", OBR, "ORC|NW|P2^EHR", "OBR|2|P2^EHR||NA^Sodium^L",
                   "SPM|2|S2", "SAC|||C2", "ORC|NW|P3^EHR", "OBR|3|P3^EHR||CL^Chloride^L")  # fmt: skip
    first, second = of("Specimen", made)
    requests = of("ServiceRequest", made)
    assert [one["specimen"][0]["reference"][-36:] for one in requests] == [first["id"], first["id"], second["id"]]
    assert "container" not in first and second["container"][0]["identifier"][0]["value"] == "C2"


def test_a_rejected_specimen_is_unsatisfactory() -> None:
    spm = "|".join(["SPM", "1", "S1", "", "BLD", *[""] * 16, "RC^Clotted^HL70490"])
    made = convert(HEAD, PID, "ORC|NW|P1^EHR", OBR, spm)
    assert of("Specimen", made)[0]["status"] == "unsatisfactory"


@pytest.mark.parametrize(
    ("pattern", "repeat"),
    [
        ("Q8H", {"frequency": 1, "period": 8, "periodUnit": "h"}),
        ("Q6M", {"frequency": 1, "period": 6, "periodUnit": "min"}),
        ("Q2L", {"frequency": 1, "period": 2, "periodUnit": "mo"}),
        ("QOD", {"frequency": 1, "period": 2, "periodUnit": "d"}),
        ("BID", {"frequency": 2, "period": 1, "periodUnit": "d"}),
        ("5ID", {"frequency": 5, "period": 1, "periodUnit": "d"}),
        ("QJ24", {"frequency": 1, "period": 1, "periodUnit": "wk", "dayOfWeek": ["tue", "thu"]}),
        ("ACM", {"when": ["ACM"]}), ("QHS", {"when": ["HS"]}), ("QAM~QPM", {"when": ["MORN", "EVE"]}),
        ("Once", {"count": 1}),
        ("^DW^1^3", {"dayOfWeek": ["mon", "tue", "wed"]}),
        ("^^^^8^hr", {"frequency": 1, "period": "8", "periodUnit": "h"}),
        ("^^^^^^^PCM^1^h", {"when": ["PCM"], "offset": 60}),
    ],
)  # fmt: skip
def test_a_pattern_that_is_certain(pattern: str, repeat: dict[str, Any]) -> None:
    found, left = timing(f3=pattern)
    said = found["repeat"]
    assert {**said, **({"period": "8"} if pattern.startswith("^^^^8") else {})} == repeat and not left


@pytest.mark.parametrize("pattern", ["3 times daily", "Q0H", "QJ9", "BID~QOD", "^^^^8^moons", "C"])
def test_any_other_pattern_is_a_code_or_text_and_no_repetition(pattern: str) -> None:
    found, left = timing(f3=pattern)
    assert "repeat" not in found and ("code" in found or left)


def test_as_needed_and_a_condition() -> None:
    found = order("ORC|NW|P1^EHR", "TQ1|1||PRNQ4H", OBR)
    assert found["asNeededBoolean"] is True and found["occurrenceTiming"]["repeat"]["period"] == "4"
    assert order("ORC|NW|P1^EHR", "TQ1|1|||||||||if hot", OBR)["asNeededCodeableConcept"] == {"text": "if hot"}


def test_a_start_and_a_duration_have_an_end() -> None:
    bounds = timing(f7="20260105080000-0600", f6="3^d")[0]["repeat"]["boundsPeriod"]
    assert bounds == {"start": "2026-01-05T08:00:00-06:00", "end": "2026-01-08T08:00:00-06:00"}
    assert timing(f7="20260105", f6="3^d")[1] == ["duration 3 d"]  # a day has no hour to count from
    assert timing(f6="3^d")[0]["repeat"]["boundsDuration"]["code"] == "d"


def test_a_start_alone_is_when_and_with_an_end_a_period() -> None:
    assert "occurrenceDateTime" in order("ORC|NW|P1^EHR", "TQ1|1||||||20260105", OBR)
    assert "occurrencePeriod" in order("ORC|NW|P1^EHR", "TQ1|1||||||20260105|20260106", OBR)


def test_a_second_timing_is_kept_as_text() -> None:
    made = convert(HEAD, PID, "ORC|NW|P1^EHR", "TQ1|1||BID", "TQ1|2||QOD", OBR)
    found = of("ServiceRequest", made)[0]
    assert found["occurrenceTiming"]["code"]["text"] == "BID"
    assert [one["valueString"] for one in found["extension"]] == ["timing QOD"]
    assert [one.code for one in made.findings] == ["timing_kept"]


def test_the_old_quantity_and_timing() -> None:
    reading = Reading(read(HEAD.encode()), TABLES, CONTEXT)
    found = schedule(reading, of_tq(reading, "2&mL^BID&0800,2000^D5^20260105^^S^^^^^^10", "ORC-7"))
    assert found.priority == "S" and found.quantity["unit"] == "mL"
    assert found.timing["repeat"]["timeOfDay"] == ["08:00:00", "20:00:00"] and found.timing["repeat"]["count"] == 10


def test_a_priority_that_fhir_has_no_code_for_is_kept() -> None:
    found = order("ORC|NW|P1^EHR", "OBR|1|P1^EHR||K^Potassium^L|P")
    assert "priority" not in found
    assert found["extension"][0]["valueCodeableConcept"]["coding"][0]["code"] == "P"


def test_confidentiality_labels_the_order_alone() -> None:
    made = convert(HEAD.replace("|P|", "|T|"), PID, "|".join(["ORC", "NW", "P1^EHR", *[""] * 25, "R"]), OBR)
    (found,), (patient,) = of("ServiceRequest", made), of("Patient", made)
    assert found["meta"]["security"][0]["code"] == "R" and found["meta"]["tag"] == patient["meta"]["tag"]
    assert "security" not in patient["meta"]
