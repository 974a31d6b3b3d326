"""Segment maps: every shipped one compiles, and a faulty one is refused with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import Configuration
from engine.formats.hl7v2 import read
from engine.ports import Conversion
from mappings.hl7v2_fhir.reading import PADDING, Reading
from mappings.hl7v2_fhir.segment_maps import COLUMNS, read_map, shipped
from mappings.hl7v2_fhir.vocabulary import Json
from mappings.lookup import CodeTables

HEADER = ",".join(COLUMNS)
TABLES = CodeTables()


def made_of(tmp_path: Path, rows: str, segment: str) -> Json:
    path = tmp_path / "ZZ1-Basic.csv"
    path.write_text(f"{HEADER}\n{rows}\n")
    message = read(f"MSH|^~\\&|A|B|||20260101||ADT^A01|1|P|2.5\r{segment}".encode())
    resource: Json = {"resourceType": "Basic"}
    read_map(path).fill(Reading(message, TABLES, Conversion("test")), message.rows[1] + PADDING, resource, "ZZ1[1]")
    return resource


def test_every_shipped_map_compiles_and_names_elements_of_one_segment() -> None:
    assert {"AL1"} <= shipped().keys()
    for segment, maps in shipped().items():
        assert all(one.segment == segment and one.fields for one in maps)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("ZZ1-1,,code,no such way,,", "no way to make"),
        ("ZZ2-1,,code,text,,", "no field of ZZ1"),
        ("ZZ1-x,,code,text,,", "no field of ZZ1"),
        ("ZZ1-1,ZZ1-2 perhaps,code,text,,", "no condition"),
        ("ZZ1-1,,code[x].text,text,,", "no path"),
        ("ZZ1-1,,code,text,", "5 cells instead of 6"),
    ],
)
def test_a_faulty_map_is_refused_with_its_line(tmp_path: Path, row: str, said: str) -> None:
    path = tmp_path / "ZZ1-Basic.csv"
    path.write_text(f"{HEADER}\n{row}\n")
    with pytest.raises(Configuration, match=said) as raised:
        read_map(path)
    assert raised.value.where == f"{path}:2"


def test_of_two_rows_for_one_element_the_first_that_says_something_counts(tmp_path: Path) -> None:
    rows = "ZZ1-2,,code.text,part,,\nZZ1-1,,code.text,part,,"
    assert made_of(tmp_path, rows, "ZZ1|first|second")["code"] == {"text": "second"}
    assert made_of(tmp_path, rows, 'ZZ1|first|""')["code"] == {"text": "first"}
    assert "code" not in made_of(tmp_path, rows, 'ZZ1|""')


@pytest.mark.parametrize(
    ("when", "segment", "holds"),
    [
        ("ZZ1-2 = A B", "ZZ1|x|B", True),
        ("ZZ1-2 = A B", "ZZ1|x|C", False),
        ("ZZ1-2 != A B", "ZZ1|x|C", True),
        ("ZZ1-2 valued", "ZZ1|x", False),
        ("ZZ1-2 empty", "ZZ1|x", True),
        ("ZZ1-2.2 = A and ZZ1-3 empty", "ZZ1|x|y^A", True),
        ("ZZ1-2.2 = A and ZZ1-3 empty", "ZZ1|x|y^A|z", False),
    ],
)
def test_conditions(tmp_path: Path, when: str, segment: str, holds: bool) -> None:
    made = made_of(tmp_path, f"ZZ1-1,{when},status,part,,", segment)
    assert ("status" in made) is holds


def test_a_number_keeps_its_digits_and_one_that_is_none_is_kept_as_text(tmp_path: Path) -> None:
    rows = "ZZ1-1,,count,whole number,,\nZZ1-2 ZZ1-3,,amount,quantity,,"
    made = made_of(tmp_path, rows, "ZZ1|many|1.10|mg^milligram^UCUM")
    assert "count" not in made
    assert made["_count"]["extension"][0]["valueString"] == "many"
    assert made["amount"]["code"] == "mg"
