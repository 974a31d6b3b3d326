"""OBX-6, 7 and 8: units with a code only beside its system, ranges that mean one thing, flags by table 0078."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.rules.segments import findings, message, obr, observations, obx

UCUM = "http://unitsofmeasure.org"
V3 = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation"
V2 = "http://terminology.hl7.org/CodeSystem/v2-0078"
UNITS = (
    *("mg/dL", "mg/dL^^UCUM", "mg/dL^milligram^UCUM", "X^Local^L^mg/dL^mg/dL^UCUM", "mg/dl^^ISO+", "zz^Zed^ISO+"),
    *("MG^Milligram^99L", "^only words^UCUM", "mg dL^^UCUM", "mg/dL^^2.16.840.1.113883.6.8", '""', "^^UCUM"),
)


# units


def unit(raw: str) -> dict[str, Any]:
    (found,) = observations(obx(n6=raw))
    return {name: part for name, part in found["valueQuantity"].items() if name != "value"}


@pytest.mark.parametrize(
    ("raw", "shown"),
    [("mg/dL", "mg/dL"), ("MG^Milligram^99L", "Milligram"), ("MG^^99L", "MG"), ('""', None), ("", None)],
)
def test_a_unit_is_shown_by_its_text_else_its_code(raw: str, shown: str | None) -> None:
    assert unit(raw) == ({"unit": shown} if shown else {})


@pytest.mark.parametrize("system", ["UCUM", "2.16.840.1.113883.6.8"])
def test_a_ucum_unit_has_code_and_system(system: str) -> None:
    assert unit(f"mg/dL^milligram^{system}") == {"unit": "milligram", "system": UCUM, "code": "mg/dL"}


def test_the_alternate_unit_counts_where_it_is_ucum() -> None:
    assert unit("X^Local^L^mg/dL^mg/dL^UCUM") == {"unit": "Local", "system": UCUM, "code": "mg/dL"}


@pytest.mark.parametrize(
    ("raw", "code"), [("mm_hg^^ISO+", "mm[Hg]"), ("MMOL/L^^ISO+", "mmol/L"), ("10.e9/l^^ISO+", "10*9/L")]
)
def test_an_iso_unit_has_the_ucum_code_that_is_certain(raw: str, code: str) -> None:
    assert unit(raw)["code"] == code


def test_an_iso_unit_without_a_certain_code_is_text_and_reported() -> None:
    assert unit("zz^Zed^ISO+") == {"unit": "Zed"}
    assert findings(message(obr(), obx(n6="zz^Zed^ISO+"))) == ["unit_unknown OBX[1]-6"]


@pytest.mark.parametrize("raw", UNITS)
def test_no_unit_has_a_code_without_its_system(raw: str) -> None:
    """qty-3."""
    found = unit(raw)
    assert ("code" in found) == ("system" in found)
    assert "code" not in found or (found["system"] == UCUM and " " not in found["code"])


@pytest.mark.parametrize(
    ("kind", "value"), [("ST", "high"), ("NM", "<5"), ("CE", "A^Alpha^L"), ("SN", "^2^+"), ("NM", "")]
)
def test_a_unit_that_no_quantity_carries_is_kept(kind: str, value: str) -> None:
    (found,) = observations(obx(n2=kind, n5=value, n6="mg/dL^milligram^UCUM"))
    (extension,) = found["extension"]
    assert extension["valueCodeableConcept"]["coding"][0] == {"system": UCUM, "code": "mg/dL", "display": "milligram"}


# reference ranges


def ranges(raw: str, **fields: str) -> list[dict[str, Any]]:
    (found,) = observations(obx(n7=raw, **fields))
    parts: list[dict[str, Any]] = found.get("referenceRange", [])
    return parts


@pytest.mark.parametrize(
    ("raw", "low", "high"),
    [
        ("3.50-5.10", "3.50", "5.10"), ("0-5", "0", "5"), ("<5", None, "5"), ("<=5", None, "5"), (">95", "95", None),
        (">=95", "95", None), ("70-", "70", None), ("5-5", "5", "5"), ("1500-8000", "1500", "8000"),
    ],
)  # fmt: skip
def test_a_range_that_means_one_thing_has_its_bounds_with_their_digits(
    raw: str, low: str | None, high: str | None
) -> None:
    (found,) = ranges(raw)
    assert found["text"] == raw
    assert (found.get("low", {}).get("value"), found.get("high", {}).get("value")) == (low, high)


@pytest.mark.parametrize(
    "raw",
    ["-5-5", "-5--1", "1-2-3", "2024-01-15", "20240101-20240131", "2024-01", "01-02", "1/2-3/4", "10:00-12:00", "5-3",
     "<-5", "< 5 mg", "3.5-5.1 g/L", "-", "<", "1,000-2,000", "negative", "M: 3-5", "3.5 to 5"],
)  # fmt: skip
def test_a_range_that_may_mean_another_thing_is_text(raw: str) -> None:
    """Negative numbers, lists, dates, times, units and words."""
    assert ranges(raw) == [{"text": raw}]


def test_the_bounds_have_the_unit_of_the_result() -> None:
    (found,) = ranges("3-5", n6="mmol/L^^UCUM")
    assert found["low"] == {"value": "3", "unit": "mmol/L", "system": UCUM, "code": "mmol/L"}
    assert found["high"] == {**found["low"], "value": "5"}


@pytest.mark.parametrize("raw", ["", '""', " "])
def test_an_empty_range_is_none(raw: str) -> None:
    """obs-3."""
    assert ranges(raw) == []


# flags


def flags(raw: str) -> list[dict[str, Any]]:
    (found,) = observations(obx(n8=raw))
    concepts: list[dict[str, Any]] = found.get("interpretation", [])
    return concepts


@pytest.mark.parametrize(
    "code",
    ["L", "H", "LL", "HH", "<", ">", "N", "A", "AA", "U", "D", "B", "W", "S", "R", "I", "POS", "NEG", "IND", "DET",
     "ND", "RR", "WR", "NR", "E", "EX", "HU", "LU", "CAR", "IE", "NS", "SDD", "NCL", "UNE", "EXP"],
)  # fmt: skip
def test_a_flag_is_a_code_of_the_fhir_value_set(code: str) -> None:
    ((coding,),) = (concept["coding"] for concept in flags(code))
    assert (coding["system"], coding["code"]) == (V3, code)


@pytest.mark.parametrize("code", ["AC", "HM", "OBX", "QCF", "TOX", "MS", "VS"])
def test_a_flag_that_is_inactive_there_keeps_the_v2_system(code: str) -> None:
    assert flags(code)[0]["coding"][0]["system"] == V2


@pytest.mark.parametrize(
    ("raw", "codes"), [("N~H", ["N", "H"]), ('""~H', ["H"]), ("H~~A", ["H", "A"]), ("HH~A~<", ["HH", "A", "<"])]
)
def test_repeated_flags_are_concepts_of_their_own(raw: str, codes: list[str]) -> None:
    assert [concept["coding"][0]["code"] for concept in flags(raw)] == codes


@pytest.mark.parametrize(("code", "display"), [("R", "Resistant"), ("S", "Susceptible"), ("I", "Intermediate")])
def test_susceptibility_flags_mean_what_they_mean_in_microbiology(code: str, display: str) -> None:
    assert flags(code)[0]["coding"] == [{"system": V3, "code": code, "display": display}]


@pytest.mark.parametrize("raw", ["h", "HIGH", "*", "critical"])
def test_a_flag_outside_table_0078_is_text_and_reported(raw: str) -> None:
    assert flags(raw) == [{"text": raw}]
    assert findings(message(obr(), obx(n8=raw))) == ["flag_unknown OBX[1]-8"]


def test_a_flag_of_another_system_is_its_code() -> None:
    assert flags("X^Own^99L")[0]["coding"] == [
        {"system": "urn:interlock:codesystem:lab:99L", "code": "X", "display": "Own"}
    ]


@pytest.mark.parametrize("raw", ["", '""', "~", "^^HL70078"])
def test_a_flag_that_says_nothing_is_none(raw: str) -> None:
    assert flags(raw) == []
