"""OBX-5 by its type: nothing is dropped, nothing is made up, and what does not follow its type is text."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.rules.segments import observations, obx, reports, value_of

CODED = ("CE", "CWE", "CNE", "CF")


# numbers


@pytest.mark.parametrize(
    ("text", "digits"),
    [("1.10", "1.10"), (".5", "0.5"), ("+3", "3"), ("-0.50", "-0.50"), ("100000000000000000.001",) * 2],
)
def test_a_number_keeps_every_digit(text: str, digits: str) -> None:
    assert value_of("NM", text) == {"valueQuantity": {"value": digits}}


def test_spaces_around_a_number_are_no_part_of_it() -> None:
    assert value_of("NM", " 4.10 ") == {"valueQuantity": {"value": "4.10"}}


@pytest.mark.parametrize("text", ["1,000", "<5", "Neg", "1e3", "4 mg", "4/5", "Infinity"])
def test_what_is_no_number_is_text_and_reported_and_never_nothing_or_zero(text: str) -> None:
    assert value_of("NM", text) == {"valueString": text}
    assert reports("NM", text) == ["not_a_number OBX[1]-5"]


# structured numbers


@pytest.mark.parametrize("comparator", ["<", "<=", ">", ">="])
def test_the_four_comparators_of_fhir(comparator: str) -> None:
    assert value_of("SN", f"{comparator}^10") == {"valueQuantity": {"value": "10", "comparator": comparator}}


def test_equal_is_no_comparator_and_not_equal_is_text() -> None:
    assert value_of("SN", "=^10") == {"valueQuantity": {"value": "10"}}
    assert value_of("SN", "<>^10") == {"valueString": "<>10"}


@pytest.mark.parametrize("mark", [":", "/"])
def test_a_titre_is_a_ratio(mark: str) -> None:
    assert value_of("SN", f"^1^{mark}^128") == {
        "valueRatio": {"numerator": {"value": "1"}, "denominator": {"value": "128"}}
    }


def test_a_dash_is_a_range_and_a_plus_is_text() -> None:
    assert value_of("SN", "^3^-^5.0") == {"valueRange": {"low": {"value": "3"}, "high": {"value": "5.0"}}}
    assert value_of("SN", "^2^+") == {"valueString": "2+"}


@pytest.mark.parametrize(("kind", "value", "text"), [("SN", "^5^-^3.1", "5-3.1"), ("NR", "5^3.1", "5^3.1")])
def test_a_range_that_falls_is_text_and_reported(kind: str, value: str, text: str) -> None:
    """rng-2: the low end is not above the high end."""
    assert value_of(kind, value) == {"valueString": text}
    assert reports(kind, value) == ["not_structured OBX[1]-5"]


@pytest.mark.parametrize(("value", "text"), [(">", ">"), ("^x^-^5", "x-5"), ("about^5", "about5"), ("^1^x^2", "1x2")])
def test_what_is_not_structured_is_text_and_reported(value: str, text: str) -> None:
    assert value_of("SN", value) == {"valueString": text}
    assert reports("SN", value) == ["not_structured OBX[1]-5"]


def test_a_number_with_its_unit_is_a_quantity() -> None:
    expected = {"value": "2.50", "unit": "mg", "system": "http://unitsofmeasure.org", "code": "mg"}
    assert value_of("CQ", "2.50^mg&mg&UCUM") == {"valueQuantity": expected}


@pytest.mark.parametrize(
    ("value", "range_"),
    [
        ("1.0^2.50", {"low": {"value": "1.0"}, "high": {"value": "2.50"}}),
        ("1.0^", {"low": {"value": "1.0"}}),
        ("^2.50", {"high": {"value": "2.50"}}),
        ("2^2", {"low": {"value": "2"}, "high": {"value": "2"}}),
    ],
)
def test_a_numeric_range_may_be_open(value: str, range_: dict[str, Any]) -> None:
    assert value_of("NR", value) == {"valueRange": range_}


def test_an_array_of_numbers_is_sampled_data_with_its_gaps() -> None:
    (found,) = observations(obx(n2="NA", n5="1.10^^-3"))
    assert found["valueSampledData"]["data"] == "1.10 E -3"
    assert found["valueSampledData"]["_period"]["extension"][0]["valueCode"] == "unknown"
    assert value_of("NA", "1^x^3") == {"valueString": "1^x^3"}


# codes


@pytest.mark.parametrize("kind", CODED)
def test_a_coded_value_has_up_to_three_codings_with_versions(kind: str) -> None:
    value = "10828004^Positive^SCT^P^Pos^L^2025^1^As said^6576-8^Third^LN^2.78"
    found = value_of(kind, value)["valueCodeableConcept"]
    assert [(one["system"], one["code"], one["display"], one["version"]) for one in found["coding"]] == [
        ("http://snomed.info/sct", "10828004", "Positive", "2025"),
        ("urn:interlock:codesystem:lab:L", "P", "Pos", "1"),
        ("http://loinc.org", "6576-8", "Third", "2.78"),
    ]
    assert found["text"] == "As said"


@pytest.mark.parametrize(
    ("value", "text"),
    [("A^Alpha^L^B^Beta^L", "Alpha"), ("A^^L^B^Beta^L", "Beta"), ("A^Alpha^L^^^^^^Said", "Said"),
     ("^Words only", "Words only")],
)  # fmt: skip
def test_the_text_of_a_code_is_cwe_9_else_its_display(value: str, text: str) -> None:
    assert value_of("CWE", value)["valueCodeableConcept"]["text"] == text


def test_a_user_defined_code_is_a_concept_without_a_system() -> None:
    assert value_of("IS", "POS") == {"valueCodeableConcept": {"coding": [{"code": "POS"}], "text": "POS"}}


# text


@pytest.mark.parametrize("kind", ["ST", "TX", "FT"])
def test_repetitions_of_a_text_are_its_lines(kind: str) -> None:
    assert value_of(kind, "one~~three") == {"valueString": "one\n\nthree"}


@pytest.mark.parametrize("kind", ["ST", "TX", "FT"])
@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (r"a\F\b\S\c\T\d\R\e\E\f", "a|b^c&d~e\\f"), (r"a\.br\b", "a\nb"), (r"\X4142\\X0A\c", "AB\nc"),
        (r"\H\loud\N\ soft", "loud soft"), (r"a\.sp2\b", "a\n\nb"),
    ],
)  # fmt: skip
def test_escapes_of_a_text_are_decoded(kind: str, raw: str, text: str) -> None:
    assert value_of(kind, raw) == {"valueString": text}


@pytest.mark.parametrize("kind", ["TX", "FT"])
def test_consecutive_text_results_of_one_test_are_one_text(kind: str) -> None:
    lines = [obx(n1=str(n), n2=kind, n3="RPT^Report^L", n5=line) for n, line in enumerate(("a", "", "b"), 1)]
    (found,) = observations(*lines)
    assert found["valueString"] == "a\n\nb"


def test_consecutive_short_strings_are_results_of_their_own() -> None:
    assert [found["valueString"] for found in observations(*(obx(n2="ST", n5=one) for one in "ab"))] == ["a", "b"]


# times


@pytest.mark.parametrize("kind", ["TS", "DTM", "DT"])
def test_every_kind_of_time_stamp_is_a_date_time(kind: str) -> None:
    assert value_of(kind, "20260105") == {"valueDateTime": "2026-01-05"}


@pytest.mark.parametrize(("raw", "time"), [("0715", "07:15:00"), ("071530", "07:15:30"), ("071530.25", "07:15:30.25")])
def test_a_time_of_day_has_seconds(raw: str, time: str) -> None:
    assert value_of("TM", raw) == {"valueTime": time}


@pytest.mark.parametrize(
    ("raw", "period"),
    [
        ("20250101^20260105", {"start": "2025-01-01", "end": "2026-01-05"}),
        ("20250101", {"start": "2025-01-01"}),
        ("^20260105", {"end": "2026-01-05"}),
        ("2026^20260105", {"start": "2026", "end": "2026-01-05"}),
        ("20260106000000-0600^20260106010000-0500",
         {"start": "2026-01-06T00:00:00-06:00", "end": "2026-01-06T01:00:00-05:00"}),
        ("20260105233000-0600^20260106003000-0500",
         {"start": "2026-01-05T23:30:00-06:00", "end": "2026-01-06T00:30:00-05:00"}),
    ],
)  # fmt: skip
def test_a_range_of_times_is_a_period(raw: str, period: dict[str, str]) -> None:
    assert value_of("DR", raw) == {"valuePeriod": period}


@pytest.mark.parametrize("raw", ["20260105^20250101", "20260106003000-0600^20260106010000-0500", "2027^20260105"])
def test_a_period_that_ends_before_it_starts_is_text_and_reported(raw: str) -> None:
    """per-1, judged by the moment where both ends have one."""
    assert value_of("DR", raw) == {"valueString": raw}
    assert reports("DR", raw) == ["not_a_time OBX[1]-5"]
