"""ED, RP, empty values, repetitions: documents reach the report, and a value never says why it is absent."""

from __future__ import annotations

import base64
from itertools import product
from typing import Any

import pytest
from result_messages import HEAD, PID, of

from tests.unit.rules.segments import findings, good, message, obr, observations, obx, only, reports, value_of

TYPES = (
    *("NM", "SN", "CQ", "NR", "NA", "MA", "DR", "TM", "TS", "DTM", "DT", "CE", "CWE", "CNE", "CF", "IS", "ED", "RP"),
    *("ST", "TX", "FT", "ID", "EI", "XCN", "", "QQ"),
)


# documents


def document(kind: str, value: str) -> tuple[dict[str, Any], list[dict[str, Any]], list[str]]:
    """The result, the documents of the report, and what was reported."""
    made = message(obr(), obx(n2=kind, n3="RPT^Report^L", n5=value))
    return only("Observation", made), only("DiagnosticReport", made).get("presentedForm", []), findings(made)


@pytest.mark.parametrize(
    ("value", "content_type", "data"),
    [
        ("L^application^pdf^Base64^JVBERi0xLjQK", "application/pdf", b"%PDF-1.4\n"),
        ("L^AP^PDF^Base64^JVBERi0xLjQK", "application/pdf", b"%PDF-1.4\n"),
        ("L^^^Base64^JVBERi0xLjQK", "application/pdf", b"%PDF-1.4\n"),
        ("L^IM^JPEG^Base64^AAEC", "image/jpeg", bytes((0, 1, 2))),
        ("L^TEXT^plain^Hex^48690A", "text/plain", b"Hi\n"),
        ("L^TEXT^HTML^A^<b>x</b>", "text/html", b"<b>x</b>"),
        (r"L^TEXT^plain^A^a\T\b^c", "text/plain", b"a&b^c"),
    ],
)  # fmt: skip
def test_a_document_goes_to_the_report_with_its_type(value: str, content_type: str, data: bytes) -> None:
    result, (form,), reported = document("ED", value)
    assert (form["contentType"], base64.b64decode(form["data"], validate=True)) == (content_type, data)
    assert form["title"] == "Report" and reported == []
    assert result["dataAbsentReason"]["coding"][0]["code"] == "unsupported"


@pytest.mark.parametrize(
    "value",
    [
        "L^application^pdf^Base64^not base64!",
        "L^application^pdf^Base64^JVBE*Ri0xLjQK",
        "L^application^pdf^Hex^XYZ",
        "L^a^b^Z^data",
    ],
)
def test_data_that_is_not_encoded_as_it_says_is_kept_as_text_and_reported(value: str) -> None:
    _, (form,), reported = document("ED", value)
    assert form["contentType"] == "text/plain"
    assert base64.b64decode(form["data"]).decode() == value.split("^")[4]
    assert reported == ["attachment_invalid OBX[1]-5"]


def test_a_pointer_is_a_document_by_its_address() -> None:
    _, (form,), _ = document("RP", "https://pacs.example/1^PACS^image^jpeg")
    assert form == {"contentType": "image/jpeg", "url": "https://pacs.example/1", "title": "Report"}


def test_a_pointer_that_is_no_address_is_kept_in_the_title() -> None:
    _, (form,), _ = document("RP", "shelf 12^PACS")
    assert form == {"title": "Report shelf 12"}


def test_every_repeated_document_is_kept() -> None:
    _, forms, _ = document("ED", "L^IM^JPEG^Base64^AAEC~L^IM^PNG^Base64^AAED")
    assert [form["contentType"] for form in forms] == ["image/jpeg", "image/png"]


def test_a_document_outside_any_report_stays_with_its_result() -> None:
    made = good(HEAD, PID, obx(n2="ED", n5="L^IM^JPEG^Base64^AAEC"))
    (extension,) = only("Observation", made)["extension"]
    assert extension["url"] == "http://hl7.org/fhir/5.0/StructureDefinition/extension-Observation.value"
    assert extension["valueAttachment"]["data"] == "AAEC"


# absence


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("value", ["", '""'])
def test_an_empty_or_null_value_of_any_type_is_no_value(kind: str, value: str) -> None:
    assert value_of(kind, value).keys() == {"dataAbsentReason"}
    assert reports(kind, value) == []


@pytest.mark.parametrize(
    ("status", "reason"),
    [("F", "unknown"), ("P", "unknown"), ("C", "unknown"), ("D", "unknown"),
     ("I", "temp-unknown"), ("O", "temp-unknown")]
)  # fmt: skip
def test_a_result_without_a_value_says_why(status: str, reason: str) -> None:
    assert value_of("NM", "", n11=status)["dataAbsentReason"]["coding"][0]["code"] == reason


def test_no_result_has_a_value_and_a_reason_for_its_absence() -> None:
    """obs-6, for every type with every kind of content: the structural rules see each bundle."""
    contents = (
        "",
        '""',
        "^",
        "~",
        "4",
        "4~5",
        '4~""',
        "x^y^L",
        ">^5",
        "20260105",
        "^^^",
        "  ",
        "L^IM^JPEG^Base64^AAEC",
    )
    for status in "FXNP":
        cases = [obx(n2=kind, n5=content, n11=status) for kind, content in product(TYPES, contents)]
        found = observations(*cases, "NTE|1||the last one")
        absent = [one for one in found if "dataAbsentReason" in one]
        assert absent and len(absent) < len(found)
        assert not [one for one in absent if [name for name in one if name.startswith(("value", "component"))]]


# repetitions


@pytest.mark.parametrize(
    ("kind", "value", "element"),
    [
        ("NM", "4~5", "valueQuantity"), ("SN", ">^4~^5^-^6", "valueRange"), ("CE", "A^^L~B^^L", "valueCodeableConcept"),
        ("CWE", "A^^L~B^^L", "valueCodeableConcept"), ("IS", "A~B", "valueCodeableConcept"),
        ("TS", "2025~2026", "valueDateTime"),
        ("DT", "2025~2026", "valueDateTime"), ("TM", "0715~0716", "valueTime"),
        ("DR", "2024^2025~2025^2026", "valuePeriod"),
        ("NR", "1^2~2^3", "valueRange"), ("NA", "1^2~2^3", "valueSampledData"), ("CQ", "1^g~2^g", "valueQuantity"),
        ("EI", "1^A~2^A", "valueString"), ("QQ", "1~2", "valueString"),
    ],
)  # fmt: skip
def test_every_repetition_of_a_value_is_a_component(kind: str, value: str, element: str) -> None:
    found = value_of(kind, value)
    assert found.keys() == {"component"}
    assert len(found["component"]) == 2 and element in found["component"][1]


def test_a_repetition_that_is_no_number_is_kept_beside_those_that_are() -> None:
    parts = value_of("NM", "4~<5")["component"]
    assert (parts[0]["valueQuantity"], parts[1]["valueString"]) == ({"value": "4"}, "<5")


def test_a_type_that_nobody_knows_is_text_and_reported() -> None:
    assert value_of("QQ", "a^b") == {"valueString": "a^b"}
    assert reports("QQ", "a^b") == ["type_unknown OBX[1]-5"]


def test_the_number_of_results_is_that_of_the_message() -> None:
    contents = [obx(n2=kind, n3=f"T{n}^Test^L", n5="4") for n, kind in enumerate(TYPES)]
    assert len(of("Observation", message(obr(), *contents))) == len(TYPES)
