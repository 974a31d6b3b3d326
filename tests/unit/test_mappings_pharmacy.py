"""Pharmacy: as many resources as segments, two versions of one order, amounts as written, nothing better than said."""

from __future__ import annotations

from typing import Any

import pytest
from result_messages import PID, convert, of

from engine.errors import Held
from engine.model import Converted

HEAD = r"MSH|^~\&|EHR|LEE|PHA|NSL|20260105083000-0600||RDE^O11|1|P|2.5.1"
ORC = "ORC|NW|P1^EHR|F1^PHA"
RXO = "RXO|^Amoxicillin|500||mg^^UCUM"
RXE = "RXE||308191^Amoxicillin^RXN|1|2|CAP"


def made_of(*segments: str, kind: str = "RDE^O11") -> Converted:
    return convert(HEAD.replace("RDE^O11", kind), PID, *segments)


def one(resource: str, *segments: str, kind: str = "RDE^O11") -> dict[str, Any]:
    (found,) = of(resource, made_of(*segments, kind=kind))
    return found


def rxa(status: str = "", action: str = "", start: str = "20260105140000-0600") -> str:
    return "|".join(
        ["RXA", "1", "1", start, "", "308191^Amoxicillin^RXN", "500", "mg^^UCUM", *[""] * 12, status, action]
    )


def test_the_order_and_what_the_pharmacy_made_of_it_are_two_requests() -> None:
    original, encoded = of("MedicationRequest", made_of(ORC, RXO, RXE))
    assert (original["intent"], encoded["intent"]) == ("original-order", "filler-order")
    assert encoded["basedOn"] == [{"reference": f"MedicationRequest/{original['id']}"}]


def test_an_encoded_order_alone_is_the_order() -> None:
    assert one("MedicationRequest", ORC, RXE)["intent"] == "order"


def test_as_many_requests_dispensings_and_administrations_as_segments() -> None:
    made = made_of(ORC, RXO, RXE, "RXD|1|A^A^L|20260105|1", "RXD|2|A^A^L|20260106|1", ORC, RXE, kind="RDS^O13")
    assert len(of("MedicationRequest", made)) == 3 and len(of("MedicationDispense", made)) == 2


@pytest.mark.parametrize(
    ("orc", "status"),
    [
        ("ORC|NW|P1", "active"), ("ORC|CA|P1", "active"), ("ORC|DC|P1", "active"), ("ORC|CR|P1", "cancelled"),
        ("ORC|DR|P1", "stopped"), ("ORC|OH|P1", "on-hold"), ("ORC|UA|P1", "unknown"), ("ORC|RE|P1", "unknown"),
        ("ORC|NW|P1|||CM", "completed"), ("ORC|NW|P1|||HD", "on-hold"), ("ORC|NW|P1|||ER", "entered-in-error"),
        ("ORC|NW|P1|||ZZ", "unknown"),
    ],
)  # fmt: skip
def test_the_status_of_a_request(orc: str, status: str) -> None:
    assert one("MedicationRequest", orc, RXE)["status"] == status


def test_a_request_to_stop_is_a_task() -> None:
    task = one("Task", "ORC|DC|P1", RXE)
    assert task["status"] == "requested" and task["code"]["coding"][0]["code"] == "abort"


@pytest.mark.parametrize(
    ("least", "most", "dose"),
    [
        ("1", "", {"doseQuantity": {"value": "1", "unit": "CAP"}}),
        ("1", "1", {"doseQuantity": {"value": "1", "unit": "CAP"}}),
        ("1", "2.50", {"doseRange": {"low": {"value": "1", "unit": "CAP"}, "high": {"value": "2.50", "unit": "CAP"}}}),
        ("", "2", {"doseRange": {"high": {"value": "2", "unit": "CAP"}}}),
    ],
)
def test_least_and_most(least: str, most: str, dose: dict[str, Any]) -> None:
    found = one("MedicationRequest", ORC, f"RXE||A^A^L|{least}|{most}|CAP")
    assert found["dosageInstruction"][0]["doseAndRate"] == [dose]


def test_an_amount_that_is_no_number_is_kept_and_reported() -> None:
    made = made_of(ORC, "RXE||A^A^L|five||mL")
    (found,) = of("MedicationRequest", made)
    extension = found["dosageInstruction"][0]["doseAndRate"][0]["doseQuantity"]["extension"]
    assert extension[0]["valueString"] == "five"
    assert [finding.code for finding in made.findings] == ["number_invalid"]


def test_components_are_ingredients_and_keep_their_notes() -> None:
    made = made_of(
        ORC, "NTE|1||order", RXE, "NTE|1||rxe", "RXC|B|D5W^Dextrose^L|1000|mL^^UCUM|5|%^^UCUM", "NTE|1||base",
        "RXC|A|KCL^Potassium^L|20|meq^^UCUM", "NTE|1||additive",
    )  # fmt: skip
    (medication,), (found,) = of("Medication", made), of("MedicationRequest", made)
    amounts = [part["strength"]["numerator"]["value"] for part in medication["ingredient"]]
    assert amounts == ["1000", "20"]
    assert [note["text"] for note in found["note"]] == ["order", "rxe", "base", "additive"]
    assert found["medicationReference"]["reference"] == f"Medication/{medication['id']}"


def test_a_second_route_is_an_alternative_and_no_second_dose() -> None:
    found = one("MedicationRequest", ORC, RXE, "RXR|PO^Oral^HL70162", "RXR|NG^Nasogastric^HL70162")
    (dosage,) = found["dosageInstruction"]
    assert dosage["route"]["text"] == "Oral" and dosage["extension"][0]["valueString"] == "Nasogastric"


def test_each_timing_is_a_dosage() -> None:
    found = one("MedicationRequest", ORC, RXE, "TQ1|1||QAM", "TQ1|2||PRN")
    first, second = found["dosageInstruction"]
    assert (first["sequence"], second["sequence"]) == ("1", "2")
    assert first["timing"]["repeat"] == {"when": ["MORN"]} and second["asNeededBoolean"] is True


def test_a_timing_behind_the_order_counts_for_all_its_segments() -> None:
    first, second = of("MedicationRequest", made_of(ORC, "TQ1|1||BID", RXO, RXE, "TQ1|1||TID"))
    shown = [one["dosageInstruction"][0]["timing"]["code"]["text"] for one in (first, second)]
    assert shown == ["BID", "TID"]


def test_a_missing_medication_says_so() -> None:
    made = made_of(ORC, "RXE|||1")
    assert "extension" in of("MedicationRequest", made)[0]["medicationCodeableConcept"]
    assert [finding.code for finding in made.findings] == ["code_missing"]


def test_a_dispensing_without_its_time_is_not_completed() -> None:
    done = one("MedicationDispense", "ORC|RE|P1", "RXD|1|A^A^L|20260105|30", kind="RDS^O13")
    assert done["status"] == "completed"
    open_ = one("MedicationDispense", "ORC|RE|P1", "RXD|1|A^A^L||30", kind="RDS^O13")
    assert open_["status"] == "unknown"
    held = one("MedicationDispense", "ORC|RE|P1|||HD", "RXD|1|A^A^L|20260105|30", kind="RDS^O13")
    assert held["status"] == "on-hold"


@pytest.mark.parametrize(("code", "done"), [("N", False), ("G", True), ("T", True), ("7", None)])
def test_a_substitution_is_only_what_is_said(code: str, done: bool | None) -> None:
    rxd = f"RXD|1|A^A^L|20260105|30|||||||{code}"
    assert one("MedicationDispense", "ORC|RE|P1", rxd, kind="RDS^O13")["substitution"].get("wasSubstituted") is done


@pytest.mark.parametrize(
    ("status", "action", "order", "expected"),
    [
        ("CP", "", "", "completed"), ("RE", "", "", "not-done"), ("NA", "", "", "not-done"), ("PA", "", "", "stopped"),
        ("", "", "", "unknown"), ("", "", "CM", "completed"), ("", "", "IP", "in-progress"),
        ("CP", "D", "", "entered-in-error"), ("ZZ", "", "CM", "unknown"),
    ],
)  # fmt: skip
def test_the_status_of_an_administration(status: str, action: str, order: str, expected: str) -> None:
    found = one("MedicationAdministration", f"ORC|RE|P1|||{order}", rxa(status, action), kind="RAS^O17")
    assert found["status"] == expected


def test_two_administrations_are_two_and_a_correction_updates_one() -> None:
    first, second = of(
        "MedicationAdministration", made_of("ORC|RE|P1", rxa("CP"), rxa("CP", start="20260105220000"), kind="RAS^O17")
    )
    again = one("MedicationAdministration", "ORC|RE|P1", rxa("CP", "D"), kind="RAS^O17")
    assert first["id"] == again["id"] != second["id"]


def test_a_dose_to_give_is_an_instance_of_the_order() -> None:
    found = one("MedicationRequest", "ORC|RE|P1^EHR", "RXG|1||^^^20260105140000-0600|A^A^L|1", kind="RGV^O15")
    assert found["intent"] == "instance-order" and "identifier" not in found
    assert found["basedOn"][0]["identifier"]["value"] == "P1"
    assert found["dosageInstruction"][0]["timing"] == {"event": ["2026-01-05T14:00:00-06:00"]}


def test_a_cancellation_by_number_does_not_overwrite_the_prescription() -> None:
    made = made_of("ORC|OC|P1^EHR|F1^PHA", kind="RRE^O12")
    (found,) = of("MedicationRequest", made)
    assert found["status"] == "cancelled" and found["id"] != one("MedicationRequest", ORC, RXE)["id"]


def test_an_order_that_nobody_can_identify_is_refused() -> None:
    with pytest.raises(Held) as raised:
        made_of("ORC|CA", kind="RRE^O12")
    assert raised.value.code == "not_convertible"


def test_a_diagnosis_is_the_reason_and_a_weight_supports() -> None:
    made = made_of(ORC, RXE, "DG1|1||I10^Hypertension^I10C", "OBX|1|NM|29463-7^Weight^LN||70.50|kg||||||F")
    (found,) = of("MedicationRequest", made)
    assert found["reasonReference"] and found["supportingInformation"]


def test_a_verifier_and_who_entered_it_are_in_the_provenance() -> None:
    found = one("Provenance", ORC + "||||||20260105080000-0600|7^Clerk^Carl", RXE + "|" * 9 + "6^Verifier^Vera")
    assert [agent["type"]["coding"][0]["code"] for agent in found["agent"]] == ["enterer", "verifier"]
