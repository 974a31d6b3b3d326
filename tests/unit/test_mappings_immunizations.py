"""Vaccinations: what counts as given, who says so, doses, and the results that an Immunization has elements for."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fhir_rules import faults
from result_messages import PID, convert, of

HEAD = r"MSH|^~\&|EHR|LAB|IIS|STATE|20260105083000||VXU^V04|1|P|2.5.1"
ORC = "ORC|RE||IZ-1^LAB"


def rxa(code: str = "08^Hep B^CVX", amount: str = "0.50", **fields: str) -> str:
    row = ["RXA", "0", "1", "20260105", "", code, amount, *[""] * 22]
    for name, value in fields.items():
        row[int(name[1:])] = value
    return "|".join(row).rstrip("|")


def made(*segments: str) -> tuple[dict[str, Any], list[dict[str, Any]], list[str]]:
    """The first Immunization, the Observations, the findings."""
    converted = convert(HEAD, PID, *segments)
    assert faults(json.loads(converted.payload)) == []
    findings = [f"{found.code} {found.where}" for found in converted.findings]
    return of("Immunization", converted)[0], of("Observation", converted), findings


def obx(code: str, value: str, kind: str = "CE", sub: str = "1", status: str = "F", rest: str = "") -> str:
    return f"OBX|1|{kind}|{code}|{sub}|{value}||||||{status}{rest}"


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, "completed"),
        ({"n20": "CP"}, "completed"),
        ({"n20": "PA"}, "completed"),
        ({"n20": "RE"}, "not-done"),
        ({"n20": "NA"}, "not-done"),
        ({"n18": "00^Parental decision^NIP002"}, "not-done"),
        ({"n20": "CP", "n21": "D"}, "entered-in-error"),
        ({"n20": "RE", "n21": "D"}, "entered-in-error"),
        ({"n20": "CP", "n21": "U"}, "completed"),
        ({"n20": "ZZ"}, None),
    ],
)
def test_status(fields: dict[str, str], status: str | None) -> None:
    found, _, findings = made(ORC, rxa(**fields))
    assert found.get("status") == status
    assert findings == ([] if status else ["status_unknown RXA[1]-20"])


def test_no_vaccine_is_never_a_given_dose() -> None:
    assert made(ORC, rxa("998^No vaccine administered^CVX", "999", n20="CP"))[0]["status"] == "not-done"


def test_a_partial_dose_says_so() -> None:
    found = made(ORC, rxa(n20="PA"))[0]
    assert found["isSubpotent"] is True
    assert found["subpotentReason"][0]["coding"][0]["code"] == "partial"


def test_every_reason_for_refusal_is_kept() -> None:
    found = made(ORC, rxa(n18="00^Parents^NIP002~03^Patient^NIP002", n20="RE"))[0]
    assert found["statusReason"]["text"] == "Parents"
    assert found["extension"][0]["valueCodeableConcept"]["text"] == "Patient"


@pytest.mark.parametrize(
    ("said", "primary", "origin"),
    [("00^New^NIP001", True, None), ("01^History^NIP001", False, "01"), ("07^School^NIP001", False, "school"),
     ("", None, None), ("^Given abroad", None, None)],
)  # fmt: skip
def test_who_says_so(said: str, primary: bool | None, origin: str | None) -> None:
    found = made(ORC, rxa(n9=said))[0]
    assert found.get("primarySource") is primary
    assert found.get("reportOrigin", {"coding": [{"code": None}]})["coding"][0]["code"] == origin
    assert ("note" in found) is ("abroad" in said)


@pytest.mark.parametrize(("amount", "value"), [("0.50", "0.50"), ("999", None), ("", None), (".5", "0.5"), ("1", "1")])
def test_an_unknown_amount_is_none(amount: str, value: str | None) -> None:
    found = made(ORC, rxa(amount=amount, n7="mL^milliliter^UCUM"))[0]
    assert found.get("doseQuantity", {}).get("value") == value
    if value:
        assert found["doseQuantity"]["code"] == "mL"


def test_a_time_that_is_none_is_kept_as_text() -> None:
    found, _, findings = made(ORC, rxa(n3="20261345"))
    assert found["occurrenceString"] == "20261345"
    assert findings == ["time_invalid RXA[1]-3"]
    assert made(ORC, rxa(n3=""))[0]["occurrenceString"] == "unknown"


def test_a_correction_has_the_id_of_what_it_corrects() -> None:
    first = made(ORC, rxa(n15="LOT1"))[0]
    assert made(ORC, rxa(n15="LOT2", n21="U"))[0]["id"] == first["id"] != made("ORC|RE||IZ-2^LAB", rxa())[0]["id"]


def test_a_number_that_says_there_is_none_does_not_make_two_doses_one() -> None:
    doses = ("ORC|RE||9999^CDC", rxa(), "ORC|RE||9999^CDC", rxa(n3="20250105"))
    first, second = of("Immunization", convert(HEAD, PID, *doses))
    assert first["id"] != second["id"]
    assert made("ORC|RE||9999^CDC", rxa(n3="20250105"))[0]["id"] == second["id"]


def test_vaccinations_without_orders_are_all_there() -> None:
    converted = convert(HEAD, PID, rxa(), "RXR|IM|LA", "NTE|1||First", rxa("03^MMR^CVX"), "RXR|SC^Subcutaneous^HL70162")
    first, second = of("Immunization", converted)
    assert (first["route"]["coding"][0]["code"], second["route"]["coding"][0]["code"]) == ("IM", "SC")
    assert first["note"] == [{"text": "First"}]
    assert first["site"]["coding"][0]["system"].endswith("v2-0163")


def test_eligibility_and_funding_are_elements() -> None:
    how = "|||20260105|||VXC40^Immunization level^CDCPHINVS"
    found, observed, _ = made(
        ORC, rxa(), obx("64994-7", "V02^Medicaid^HL70064", rest=how), obx("30963-3", "P^Public^L")
    )
    (eligible,) = found["programEligibility"]
    assert eligible["coding"][0]["code"] == "V02"
    assert len(eligible["extension"]) == 2
    assert found["fundingSource"]["text"] == "Public"
    assert observed == []


@pytest.mark.parametrize(
    "line",
    [
        obx("64994-7", "Medicaid", kind="ST"),
        obx("64994-7", "V02^Medicaid^HL70064", status="P"),
        obx("29769-7", "soon", kind="TS"),
        obx("30963-3", "P^Public^L", rest="|||||16^Who^Ever"),
        obx("30956-7", "17^HIB^CVX"),
        obx("59784-9", "1^Varicella^SCT"),
    ],
)
def test_what_no_element_says_whole_is_an_observation_of_the_vaccination(line: str) -> None:
    found, observed, _ = made(ORC, rxa(), line)
    assert [one["partOf"] for one in observed] == [[{"reference": "Immunization/" + found["id"]}]]
    assert not {"programEligibility", "fundingSource", "education"} & found.keys()


def test_statements_are_told_apart_by_sub_id_or_by_repetition() -> None:
    dates = ("30956-7", "29768-9", "29769-7")
    values = ("17^HIB^CVX", "20191030", "20260105")
    for subs in (("1", "2"), ("", "")):
        lines = [
            obx(code, value, "CE" if "^" in value else "TS", sub)
            for sub in subs
            for code, value in zip(dates, values, strict=True)
        ]
        found, observed, _ = made(ORC, rxa(), *lines)
        assert [one["documentType"] for one in found["education"]] == ["HIB", "HIB"]
        assert all(one["publicationDate"] == "2019-10-30" for one in found["education"])
        assert observed == []


def test_a_reaction_is_an_observation_that_the_vaccination_refers_to() -> None:
    found, (observed,), _ = made(ORC, rxa(), obx("31044-1", "39579001^Anaphylaxis^SCT", rest="|||20260105"))
    assert found["reaction"] == [{"detail": {"reference": "Observation/" + observed["id"]}, "date": "2026-01-05"}]


@pytest.mark.parametrize("kind", ["RSP^K11", "RSP^K22", "VXR^V03"])
def test_a_registry_s_answer_has_the_same_vaccinations(kind: str) -> None:
    head = HEAD.replace("VXU^V04", kind)
    converted = convert(head, "MSA|AA|Q1", "QAK|Q1|OK", PID, ORC, rxa(), "ORC|RE||IZ-2^LAB", rxa())
    assert len(of("Immunization", converted)) == 2
    assert of("MessageHeader", converted)[0]["response"] == {"identifier": "Q1", "code": "ok"}
    assert of("Immunization", converted)[0]["id"] == made(ORC, rxa())[0]["id"]
