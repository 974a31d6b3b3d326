"""Time stamps: the precision that came, an offset that somebody stated, and nothing else."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest
from result_messages import HEAD, OBR, PID, convert, obx, of, result

from engine.ports import Conversion
from mappings.hl7v2_fhir.clock import offset_of, read_stamp, time_of_day

CHICAGO = ZoneInfo("America/Chicago")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024", "2024"),
        ("202401", "2024-01"),
        ("20240115", "2024-01-15"),
        ("20240229", "2024-02-29"),
        ("202401151030", "2024-01-15T10:30:00-06:00"),
        ("20240715103045", "2024-07-15T10:30:45-05:00"),
        ("20240115103045.1200", "2024-01-15T10:30:45.1200-06:00"),
        ("20240115103045-0500", "2024-01-15T10:30:45-05:00"),
        ("20240115103045+0530", "2024-01-15T10:30:45+05:30"),
        ("202401151030Z", "2024-01-15T10:30:00+00:00"),
    ],
)
def test_a_time_is_written_as_precisely_as_it_came(text: str, expected: str) -> None:
    assert read_stamp(text, "", CHICAGO) == (expected, "")


@pytest.mark.parametrize(
    "text",
    ["20241345", "00000000", "20230229", "2024011", "202401152430", "202401151060", "20240115103061", "x", "2024-01-15",
     "20240115103045+99", "20240115103045+1500", "2024.5", "²⁰²⁴", "20240115+"],
)  # fmt: skip
def test_an_impossible_time_is_none(text: str) -> None:
    assert read_stamp(text, "", CHICAGO) == ("", "time_invalid")


def test_an_hour_alone_is_a_date() -> None:
    assert read_stamp("2024011510", "", CHICAGO) == ("2024-01-15", "time_precision")


def test_without_any_zone_only_the_date_stands() -> None:
    assert read_stamp("20240115103045", "", None) == ("2024-01-15", "zone_unknown")


def test_the_messages_offset_comes_before_the_zone() -> None:
    assert read_stamp("20240115103045", "+01:00", CHICAGO)[0].endswith("+01:00")


@pytest.mark.parametrize(
    ("text", "offset"),
    [("202411030130", "-05:00"), ("202403100230", "-06:00")],  # twice that night; never that night
)
def test_a_time_in_a_change_of_clocks_is_reported(text: str, offset: str) -> None:
    value, fault = read_stamp(text, "", CHICAGO)
    assert value.endswith(offset) and fault == "time_ambiguous"


@pytest.mark.parametrize(
    ("text", "offset", "fault"),
    [("202404070115", "+11:00", ""), ("202404070145", "+11:00", "time_ambiguous"), ("202404070200", "+10:30", "")],
)
def test_a_zone_that_changes_by_half_an_hour(text: str, offset: str, fault: str) -> None:
    value, found = read_stamp(text, "", ZoneInfo("Australia/Lord_Howe"))
    assert (value[-6:], found) == (offset, fault)


@pytest.mark.parametrize(("text", "offset"), [("20240101+0100", "+01:00"), ("20240101", ""), ("20240101-1", "")])
def test_the_offset_of_a_stamp(text: str, offset: str) -> None:
    assert offset_of(text) == offset


@pytest.mark.parametrize("text", ["24", "2400", "1260", "115960", "0715+0100", "07:15", ""])
def test_what_is_no_time_of_day(text: str) -> None:
    assert time_of_day(text) == ""


def test_a_time_without_zone_keeps_its_original_beside_the_date() -> None:
    found, findings = result(obx() + "|||20260105071500", context=Conversion("unit", sender="lab"))
    assert found["effectiveDateTime"] == "2026-01-05"
    assert found["_effectiveDateTime"]["extension"][0]["valueString"] == "20260105071500"
    assert "zone_unknown OBX[1]-14" in findings


def test_the_offset_of_msh_7_counts_for_the_message() -> None:
    head = HEAD.replace("20260105083000", "20260105083000+0300")
    made = convert(head, PID, OBR, obx() + "|||20260105071500", context=Conversion("unit", sender="lab"))
    assert of("Observation", made)[0]["effectiveDateTime"] == "2026-01-05T07:15:00+03:00"
    assert made.findings == ()


def test_a_result_without_a_time_takes_the_orders() -> None:
    assert result(obx())[0]["effectiveDateTime"] == "2026-01-05T07:15:00-06:00"


def test_else_the_specimens() -> None:
    spm = "SPM|1|S1||SER|||||||||||||20260104"
    made = convert(HEAD, PID, "OBR|1|P1|F1|X", spm, obx())
    assert of("Observation", made)[0]["effectiveDateTime"] == "2026-01-04"


@pytest.mark.parametrize(
    ("issued", "expected"), [("20260105082500", "2026-01-05T08:25:00-06:00"), ("202601050825", None)]
)
def test_an_instant_needs_seconds(issued: str, expected: str | None) -> None:
    obr = f"OBR|1|P1|F1|X^X^L|||20260105|||||||||||||||{issued}|||F"
    assert of("DiagnosticReport", convert(HEAD, PID, obr, obx()))[0].get("issued") == expected
