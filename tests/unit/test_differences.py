"""Two outputs are compared at the smallest place that differs, named as people name it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.rehearsal.differences import hl7_differences, json_differences, text_differences

BASE = (
    "MSH|^~\\&|A|B|C|D|2026||ORU^R01|1|P|2.5.1\r"
    "PID|1||7^^^X&1.2&ISO^MR~8^^^Y\r"
    "OBX|1|NM|K^Pot||4.1\r"
    "OBX|2|NM|NA^Sod||140\r"
)


def hl7(expected: str, actual: str) -> list[str]:
    return [str(found) for found in hl7_differences(expected.encode(), actual.encode())]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("|2026|", "|2027|", "MSH-7 expected 2026 actual 2027"),
        ("ORU^R01", "ORU^R02", "MSH-9.2 expected R01 actual R02"),
        ("|4.1", "|4.2", "OBX[1]-5 expected 4.1 actual 4.2"),
        ("NA^Sod", "NA^Sodium^L", "OBX[2]-3.2 expected Sod actual Sodium"),
        ("1.2&ISO", "1.3&ISO", "PID-3[1].4.2 expected 1.2 actual 1.3"),
        ("~8^^^Y", "", "PID-3[2].1 expected 8 actual (absent)"),
        ("|140", "|140|mmol/L", "OBX[2]-6 expected (absent) actual mmol/L"),
        ("OBX|2|NM|NA^Sod||140\r", "", "OBX[2] expected OBX|2|NM|NA^Sod||140 actual (absent)"),
        ("\rOBX|1", "\rNTE|1\rOBX|1", "NTE expected (absent) actual NTE|1"),
        ("^~\\&", "^~\\#", "MSH-2 expected |^~\\& actual |^~\\#"),
    ],
)
def test_hl7_differs_at_a_path(old: str, new: str, says: str) -> None:
    assert old in BASE
    assert says in hl7(BASE, BASE.replace(old, new, 1))


def test_the_order_of_segments_counts() -> None:
    moved = "MSH|^~\\&|A\rOBX|1\rPID|1\r"
    assert hl7("MSH|^~\\&|A\rPID|1\rOBX|1\r", moved) == ["segments expected MSH PID OBX actual MSH OBX PID"]


def test_line_ends_do_not_count() -> None:
    assert hl7(BASE, BASE.replace("\r", "\n")) == []
    assert hl7(BASE, BASE.replace("\r", "\r\n")) == []


MARKS = st.text(alphabet="MSHPID|^~\\&ab1\r", max_size=60)


@given(MARKS, MARKS)
def test_what_differs_is_never_called_equal(one: str, other: str) -> None:
    assert hl7(one, one) == []
    head = "MSH|^~\\&|\r"
    if [_said(line) for line in _lines(one)] != [_said(line) for line in _lines(other)]:
        assert hl7(head + one, head + other) != []


def _lines(text: str) -> list[str]:
    return [line for line in text.split("\r") if line.strip()]


def _said(line: str) -> str:
    """What a segment says: empty parts at the end of a field, a component or a repetition say nothing."""
    return line.rstrip("|^~&")


def pointers(expected: str, actual: str) -> list[str]:
    return [str(found) for found in json_differences(expected.encode(), actual.encode())]


@pytest.mark.parametrize(
    ("expected", "actual", "says"),
    [
        ('{"a": {"b": 1}}', '{"a": {"b": 2}}', ["/a/b expected 1 actual 2"]),
        ('{"a": [1, 2]}', '{"a": [1]}', ["/a/1 expected 2 actual (absent)"]),
        ('{"a/b": 1, "c~d": 2}', "{}", ["/a~1b expected 1 actual (absent)", "/c~0d expected 2 actual (absent)"]),
        ("{}", '{"new": null}', ["/new expected (absent) actual null"]),
        ('{"v": 1.10}', '{"v": 1.1}', ["/v expected 1.10 actual 1.1"]),
        ('{"v": 1.0}', '{"v": 1}', ["/v expected 1.0 actual 1"]),
        ('{"v": "1"}', '{"v": 1}', ['/v expected "1" actual 1']),
        ('{"v": true}', '{"v": 1}', ["/v expected true actual 1"]),
        ('{"a": 1, "b": 2}', '{"b": 2, "a": 1}', []),
        ("[]", "{}", ["/ expected [] actual {}"]),
        ("not json", "{}", ["line 1 expected not json actual {}"]),
    ],
)
def test_json_differs_at_a_pointer(expected: str, actual: str, says: list[str]) -> None:
    assert pointers(expected, actual) == says


def test_text_differs_at_a_line() -> None:
    found = [str(difference) for difference in text_differences(b"a\nb", b"a\nc\nd")]
    assert found == ["line 2 expected b actual c", "line 3 expected (absent) actual d"]
