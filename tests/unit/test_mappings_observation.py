"""One result: every rule of status, value, unit, range, flag and note as a case of its own."""

from __future__ import annotations

from typing import Any

import pytest
from result_messages import HEAD, OBR, PID, convert, obx, of, result

UCUM = "http://unitsofmeasure.org"
V3 = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation"


@pytest.mark.parametrize(
    ("said", "status", "kept"),
    [
        ("A", "amended", ""),
        ("B", "amended", "B"),
        ("C", "corrected", ""),
        ("D", "entered-in-error", "D"),
        ("F", "final", ""),
        ("I", "registered", "I"),
        ("N", "final", "N"),
        ("O", "registered", "O"),
        ("P", "preliminary", ""),
        ("R", "preliminary", "R"),
        ("S", "preliminary", "S"),
        ("U", "final", "U"),
        ("V", "final", "V"),
        ("W", "entered-in-error", "W"),
        ("X", "cancelled", "X"),
    ],
)
def test_status(said: str, status: str, kept: str) -> None:
    found, findings = result(obx(status=said))
    assert found["status"] == status
    assert _kept(found) == kept
    assert not [finding for finding in findings if "OBX" in finding]


def _kept(found: dict[str, Any]) -> str:
    extension = found.get("_status", {}).get("extension", [{}])[0]
    return extension.get("valueCodeableConcept", {}).get("coding", [{}])[0].get("code", "")


def test_an_unknown_status_is_unknown_and_kept_as_text() -> None:
    found, findings = result(obx(status="Q"))
    assert found["status"] == "unknown"
    assert found["_status"]["extension"][0]["valueCodeableConcept"] == {"text": "Q"}
    assert "status_unknown OBX[1]-11" in findings


def test_no_status_is_never_final() -> None:
    found, findings = result(obx(status=""))
    assert found["status"] == "unknown" and "_status" not in found
    assert "status_missing OBX[1]-11" in findings


@pytest.mark.parametrize(
    ("text", "digits"),
    [
        ("1.10", "1.10"),
        (".5", "0.5"),
        ("+3", "3"),
        ("-.5", "-0.5"),
        ("007", "7"),
        ("0", "0"),
        ("5.", "5"),
        ("12.000", "12.000"),
    ],
)
def test_a_number_keeps_its_digits(text: str, digits: str) -> None:
    assert result(obx(value=text, unit="g"))[0]["valueQuantity"] == {"value": digits, "unit": "g"}


@pytest.mark.parametrize("text", ["1,000", "<5", "Neg", "1E5", "1.2.3", "--1", "٣", "+", ".", "1 2", "NaN", "0x10"])
def test_what_is_no_number_stays_text(text: str) -> None:
    found, findings = result(obx(value=text, unit="g"))
    assert found["valueString"] == text and "valueQuantity" not in found
    assert findings == ["not_a_number OBX[1]-5"]
    assert found["extension"][0]["valueCodeableConcept"]["text"] == "g"


@pytest.mark.parametrize(
    ("value", "element", "expected"),
    [
        (">^100", "valueQuantity", {"value": "100", "unit": "g", "comparator": ">"}),
        ("<=^.5", "valueQuantity", {"value": "0.5", "unit": "g", "comparator": "<="}),
        ("=^7", "valueQuantity", {"value": "7", "unit": "g"}),
        ("^7", "valueQuantity", {"value": "7", "unit": "g"}),
        ("^3^-^5", "valueRange", {"low": {"value": "3", "unit": "g"}, "high": {"value": "5", "unit": "g"}}),
        ("^1^:^128", "valueRatio", {"numerator": {"value": "1", "unit": "g"}, "denominator": {"value": "128"}}),
        ("^1^/^2", "valueRatio", {"numerator": {"value": "1", "unit": "g"}, "denominator": {"value": "2"}}),
        ("^2^+", "valueString", "2+"),
        ("<>^5", "valueString", "<>5"),
        (">^1^:^128", "valueString", ">1:128"),
    ],
)
def test_structured_numeric(value: str, element: str, expected: Any) -> None:
    found, findings = result(obx("SN", value, "g"))
    assert found[element] == expected
    assert findings == []


def test_a_structured_numeric_that_is_none_is_reported() -> None:
    found, findings = result(obx("SN", "^about five"))
    assert found["valueString"] == "about five"
    assert findings == ["not_structured OBX[1]-5"]


def test_a_coded_value_has_up_to_three_codings_with_versions_and_text() -> None:
    value = "10828004^Positive^SCT^P^Pos^L^2025^1^As said^C3^Third^LN"
    concept = result(obx("CWE", value))[0]["valueCodeableConcept"]
    assert [coding["code"] for coding in concept["coding"]] == ["10828004", "P", "C3"]
    assert concept["coding"][0]["system"] == "http://snomed.info/sct"
    assert concept["coding"][0]["version"] == "2025"
    assert concept["coding"][1]["system"] == "urn:interlock:codesystem:lab:L"
    assert concept["text"] == "As said"


def test_a_display_without_a_code_is_text() -> None:
    assert result(obx("CE", "^Mixed flora"))[0]["valueCodeableConcept"] == {"text": "Mixed flora"}


@pytest.mark.parametrize(
    ("system", "uri"),
    [
        ("LN", "http://loinc.org"),
        ("2.16.840.1.113883.6.96", "http://snomed.info/sct"),
        ("1.2.3.4", "urn:oid:1.2.3.4"),
        ("HL70136", "http://terminology.hl7.org/CodeSystem/v2-0136"),
        ("I10C", "http://hl7.org/fhir/sid/icd-10-cm"),
        ("99NSL", "urn:interlock:codesystem:lab:99NSL"),
        ("My codes", "urn:interlock:codesystem:lab:My%20codes"),
        ("https://codes.example/x", "https://codes.example/x"),
    ],
)
def test_code_systems(system: str, uri: str) -> None:
    concept = result(obx("CE", f"A^Alpha^{system}"))[0]["valueCodeableConcept"]
    assert concept["coding"][0]["system"] == uri


def test_a_code_without_a_system_gets_none() -> None:
    assert result(obx("CE", "A^Alpha"))[0]["valueCodeableConcept"] == {
        "coding": [{"code": "A", "display": "Alpha"}],
        "text": "Alpha",
    }


def test_repetitions_of_a_coded_value_are_components() -> None:
    found, _ = result(obx("CE", "A^Alpha^L~B^Beta^L"))
    assert [part["valueCodeableConcept"]["text"] for part in found["component"]] == ["Alpha", "Beta"]
    assert not [name for name in found if name.startswith("value")] and "dataAbsentReason" not in found


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        ("ST", "one~two", "one\ntwo"),
        ("FT", r"a\.br\b", "a\nb"),
        ("TX", "  indented", "  indented"),
        ("ST", r"5 \T\ 6 \S\ 7", "5 & 6 ^ 7"),
        ("ST", "a^b", "a^b"),
        ("EI", "1^LAB", "1^LAB"),
        ("", "untyped", "untyped"),
    ],
)
def test_text(kind: str, value: str, text: str) -> None:
    assert result(obx(kind, value))[0]["valueString"] == text


def test_lines_of_one_text_are_one_result() -> None:
    made = convert(
        HEAD, PID, OBR, *(f"OBX|{n}|TX|RPT^Report^L||{line}||||||F" for n, line in enumerate(("a", "", "b"), 1))
    )
    assert [found["valueString"] for found in of("Observation", made)] == ["a\n\nb"]


@pytest.mark.parametrize(
    "second",
    [
        "OBX|2|TX|OTHER^Report^L||b||||||F",
        "OBX|2|TX|RPT^Report^L|2|b||||||F",
        "OBX|2|TX|RPT^Report^L||b||||||P",
        "OBX|2|ST|RPT^Report^L||b||||||F",
        "NTE|1||between\rOBX|2|TX|RPT^Report^L||b||||||F",
    ],
)
def test_other_lines_are_other_results(second: str) -> None:
    made = convert(HEAD, PID, OBR, "OBX|1|TX|RPT^Report^L||a||||||F", second)
    assert [found["valueString"] for found in of("Observation", made)] == ["a", "b"]


@pytest.mark.parametrize(
    ("kind", "value", "element", "expected"),
    [
        ("TS", "20260105071530", "valueDateTime", "2026-01-05T07:15:30-06:00"),
        ("DTM", "20260105071530.25+0100", "valueDateTime", "2026-01-05T07:15:30.25+01:00"),
        ("DT", "20260105", "valueDateTime", "2026-01-05"),
        ("TM", "0715", "valueTime", "07:15:00"),
        ("TM", "071530.5", "valueTime", "07:15:30.5"),
        ("DR", "2025^2026", "valuePeriod", {"start": "2025", "end": "2026"}),
        ("NR", "1.0^2.50", "valueRange", {"low": {"value": "1.0"}, "high": {"value": "2.50"}}),
        ("NR", "^2.50", "valueRange", {"high": {"value": "2.50"}}),
    ],
)
def test_times_and_ranges(kind: str, value: str, element: str, expected: Any) -> None:
    found, findings = result(obx(kind, value))
    assert found[element] == expected
    assert findings == []


@pytest.mark.parametrize(
    ("kind", "value"), [("DT", "20241345"), ("TS", "00000000"), ("TM", "2500"), ("DTM", "yesterday")]
)
def test_what_is_no_time_stays_text(kind: str, value: str) -> None:
    found, findings = result(obx(kind, value))
    assert found["valueString"] == value
    assert findings == ["not_a_time OBX[1]-5"]


def test_an_unknown_type_is_text_and_reported() -> None:
    found, findings = result(obx("QQ", "what"))
    assert found["valueString"] == "what"
    assert findings == ["type_unknown OBX[1]-5"]


@pytest.mark.parametrize(
    ("status", "reason"), [("F", "unknown"), ("N", "not-asked"), ("X", "unknown"), ("I", "temp-unknown")]
)
@pytest.mark.parametrize("value", ["", '""'])
def test_no_value_has_a_reason(status: str, reason: str, value: str) -> None:
    found, _ = result(obx(value=value, status=status))
    assert found["dataAbsentReason"]["coding"][0]["code"] == reason
    assert not [name for name in found if name.startswith("value")]


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ("mg/dL", {"unit": "mg/dL"}),
        ("mg/dL^milligram^UCUM", {"unit": "milligram", "system": UCUM, "code": "mg/dL"}),
        ("X^Local^L^mg/dL^mg/dL^UCUM", {"unit": "Local", "system": UCUM, "code": "mg/dL"}),
        ("mg/dl^^ISO+", {"unit": "mg/dl", "system": UCUM, "code": "mg/dL"}),
        ("MG^Milligram^99L", {"unit": "Milligram"}),
    ],
)
def test_a_unit_has_a_code_only_with_its_system(unit: str, expected: dict[str, str]) -> None:
    found, findings = result(obx(value="1", unit=unit))
    assert found["valueQuantity"] == {"value": "1", **expected}
    assert findings == []


def test_an_iso_unit_that_is_not_known_is_text_and_reported() -> None:
    found, findings = result(obx(value="1", unit="zz^Zed^ISO+"))
    assert found["valueQuantity"] == {"value": "1", "unit": "Zed"}
    assert findings == ["unit_unknown OBX[1]-6"]


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("3.5-5.10", "3.5", "5.10"),
        ("3.5 - 5.1", "3.5", "5.1"),
        ("<5", None, "5"),
        ("<=5", None, "5"),
        (">95", "95", None),
        (">= 95", "95", None),
        ("70-", "70", None),
        ("-5-5", None, None),
        ("1-2-3", None, None),
        ("5-3", None, None),
        ("2020-01", None, None),
        ("01-02", None, None),
        ("negative", None, None),
        ("3.5 to 5", None, None),
        ("<5 mg", None, None),
    ],
)
def test_a_reference_range_is_parsed_only_where_it_means_one_thing(
    text: str, low: str | None, high: str | None
) -> None:
    (found,) = result(obx(unit="g", ranges=text))[0]["referenceRange"]
    assert found["text"] == text
    assert found.get("low") == (None if low is None else {"value": low, "unit": "g"})
    assert found.get("high") == (None if high is None else {"value": high, "unit": "g"})


@pytest.mark.parametrize("text", ["", '""', " "])
def test_an_empty_reference_range_is_none(text: str) -> None:
    assert "referenceRange" not in result(obx(ranges=text))[0]


def test_flags() -> None:
    found, findings = result(obx(flags="HH~A^Abnormal^HL70078~QCF~X^Own^99L~odd"))
    codings = [concept.get("coding", [{}])[0] for concept in found["interpretation"]]
    assert [coding.get("code") for coding in codings] == ["HH", "A", "QCF", "X", None]
    assert [coding.get("system") for coding in codings][:2] == [V3, V3]
    assert codings[2]["system"] == "http://terminology.hl7.org/CodeSystem/v2-0078"
    assert found["interpretation"][4] == {"text": "odd"}
    assert findings == ["flag_unknown OBX[1]-8"]


@pytest.mark.parametrize("flags", ["", '""', "^^HL70078"])
def test_a_flag_that_says_nothing_is_none(flags: str) -> None:
    assert "interpretation" not in result(obx(flags=flags))[0]


def test_notes_of_one_source_and_type_are_one_comment() -> None:
    notes = ("NTE|1|L|first", "NTE|2|L|", "NTE|3|L|  third", "NTE|4|P|other", "NTE|5|P|kind|RE^Remark^HL70364")
    found, _ = result(obx(), *notes)
    assert [note["text"] for note in found["note"]] == ["first\n\n  third", "other", "kind"]
    assert found["note"][2]["extension"][0]["valueCodeableConcept"]["coding"][0]["code"] == "RE"


def test_a_missing_code_says_so() -> None:
    found, findings = result("OBX|1|ST|||text||||||F")
    assert found["code"]["extension"][0]["valueCode"] == "unknown"
    assert findings == ["code_missing OBX[1]-3"]


def test_performers() -> None:
    fields = ["OBX", "1", "NM", "K^K^L", "", "4", "", "", "", "", "", "F", *[""] * 3, "24D1^Lab^CLIA", "9^Tech^Tom"]
    fields += [*[""] * 6, "Main Lab^L^^^^X^^^^ML", "1 Road^^Duluth", "7^Moss^Elin"]
    made = convert(HEAD, PID, OBR, "|".join(fields))
    assert [actor["reference"].split("/")[0] for actor in of("Observation", made)[0]["performer"]] == [
        "Organization",
        "Organization",
        "PractitionerRole",
        "Practitioner",
    ]
    clia = [found["identifier"][0]["system"] for found in of("Organization", made)]
    assert "urn:oid:2.16.840.1.113883.4.7" in clia
    (role,) = of("PractitionerRole", made)
    assert role["code"][0]["coding"][0]["code"] == "MDIR"


def test_control_characters_are_replaced() -> None:
    assert result(obx("ST", r"a\X00\b"))[0]["valueString"] == "a\ufffdb"


def test_what_is_remembered_of_a_sender_depends_on_the_character_set() -> None:
    for charset, expected in (("8859/1", "\u00e9"), ("UNICODE UTF-8", "\\XE9\\")):
        head = HEAD + "||||||" + charset
        (found,) = of("Observation", convert(head, PID, OBR, "OBX|1|NM|K^A\\XE9\\^L||4||||||F"))
        assert found["code"]["text"] == "A" + expected
