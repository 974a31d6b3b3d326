"""Times: as precise as they came, an offset that somebody stated, and what FHIR cannot hold is kept beside it."""

from __future__ import annotations

from typing import Any

import pytest
from result_messages import HEAD, OBR, PID, of

from engine.ports import Conversion
from mappings.hl7v2_fhir.vocabulary import OWN
from tests.unit.rules.segments import bundle, findings, good, message, obr, obx, only, segment

CHICAGO = Conversion("unit", timezone="America/Chicago", sender="lab")
NO_ZONE = Conversion("unit", sender="lab")
CARRIED = HEAD.replace("20260105083000", "20260105083000+0300")
STANDARD = "http://hl7.org/fhir/StructureDefinition/"


def original(element: dict[str, Any]) -> str:
    """The time as it came, that is kept beside an element."""
    (extension,) = element["extension"]
    assert extension["url"] == OWN + "v2-time"
    return str(extension["valueString"])


def effective(raw: str, context: Conversion = CHICAGO, head: str = HEAD) -> tuple[dict[str, Any], list[str]]:
    """A result with this OBX-14, and what was reported."""
    made = good(head, PID, obr(n7=""), obx(n14=raw), context=context)
    return only("Observation", made), findings(made)


@pytest.mark.parametrize(
    ("raw", "written"),
    [("2024", "2024"), ("202401", "2024-01"), ("20240115", "2024-01-15"), ("20240229", "2024-02-29"),
     ("20240115103045.120", "2024-01-15T10:30:45.120-06:00")],
)  # fmt: skip
@pytest.mark.parametrize("context", [CHICAGO, NO_ZONE])
def test_the_precision_stays(raw: str, written: str, context: Conversion) -> None:
    if "T" in written and context is NO_ZONE:
        written = written[:10]
    assert effective(raw, context)[0]["effectiveDateTime"] == written


@pytest.mark.parametrize("raw", ["202401151030", "20240115103000", "202401151030-0600"])
def test_a_time_has_seconds_and_an_offset(raw: str) -> None:
    assert effective(raw)[0]["effectiveDateTime"] == "2024-01-15T10:30:00-06:00"


@pytest.mark.parametrize(
    ("raw", "head", "context", "offset"),
    [
        ("20240115103000+0100", CARRIED, CHICAGO, "+01:00"),
        ("20240115103000", CARRIED, CHICAGO, "+03:00"),
        ("20240115103000", HEAD, CHICAGO, "-06:00"),
        ("20240715103000", HEAD, CHICAGO, "-05:00"),
    ],
)
def test_the_offset_is_its_own_else_the_message_s_else_the_zone_s(
    raw: str, head: str, context: Conversion, offset: str
) -> None:
    found, reported = effective(raw, context, head)
    assert found["effectiveDateTime"].endswith(offset) and reported == []


def test_no_offset_is_never_utc() -> None:
    found, reported = effective("20240115103000", NO_ZONE)
    assert found["effectiveDateTime"] == "2024-01-15"
    assert original(found["_effectiveDateTime"]) == "20240115103000"
    assert reported == ["zone_unknown OBX[1]-14"]


@pytest.mark.parametrize("raw", ["20241103013000", "20240310023000"])
def test_a_time_in_a_change_of_clocks_is_reported_and_kept_as_it_came(raw: str) -> None:
    found, reported = effective(raw)
    assert original(found["_effectiveDateTime"]) == raw and reported == ["time_ambiguous OBX[1]-14"]


@pytest.mark.parametrize(
    "raw", ["20241345", "00000000", "20230229", "20240115256000", "yesterday", "20240115103000+9900"]
)
def test_an_impossible_time_is_left_out_reported_and_kept_as_it_came(raw: str) -> None:
    found, reported = effective(raw)
    assert "effectiveDateTime" not in found
    assert original(found["_effectiveDateTime"]) == raw and reported == ["time_invalid OBX[1]-14"]


def test_an_hour_without_minutes_is_a_date_and_kept_as_it_came() -> None:
    found, reported = effective("2024011510")
    assert found["effectiveDateTime"] == "2024-01-15" and original(found["_effectiveDateTime"]) == "2024011510"
    assert reported == ["time_precision OBX[1]-14"]


# instants


@pytest.mark.parametrize(
    ("raw", "context", "written"),
    [
        ("20260105082500", CHICAGO, "2026-01-05T08:25:00-06:00"),
        ("20260105082500+0000", NO_ZONE, "2026-01-05T08:25:00+00:00"),
        ("20260105082500.5-0600", NO_ZONE, "2026-01-05T08:25:00.5-06:00"),
        ("20260105082500", NO_ZONE, None),
        ("202601050825", CHICAGO, None),
        ("20260105", CHICAGO, None),
        ("20261101013000", CHICAGO, None),
    ],
)
def test_an_instant_has_seconds_and_a_certain_offset_or_is_left_out(
    raw: str, context: Conversion, written: str | None
) -> None:
    found = only("DiagnosticReport", message(obr(n22=raw), context=context))
    assert found.get("issued") == written
    assert ("_issued" in found) == (written is None)
    assert written or original(found["_issued"]) == raw


@pytest.mark.parametrize(
    ("raw", "written"),
    [("20260105083000-0500", "2026-01-05T08:30:00-05:00"), ("202601050830-0500", None), ("20260105", None), ("", None)],
)
def test_the_bundle_has_the_time_of_the_message_where_it_is_an_instant(raw: str, written: str | None) -> None:
    made = good(HEAD.replace("20260105083000", raw), PID, OBR, context=NO_ZONE)
    assert bundle(made).get("timestamp") == written


# which time is whose


def sample(number: str, collected: str) -> str:
    return segment("SPM", n2=number, n4="SER", n17=collected)


@pytest.mark.parametrize("null", ["", '""'])
@pytest.mark.parametrize(
    ("own", "order", "specimen", "expected"),
    [
        ("20260103", "20260104", "20260105", "2026-01-03"),
        ("", "20260104", "20260105", "2026-01-04"),
        ("", "", "20260105", "2026-01-05"),
        ("", "", "", None),
    ],
)
def test_a_result_s_time_is_obx_14_else_obr_7_else_spm_17(
    own: str, order: str, specimen: str, expected: str | None, null: str
) -> None:
    made = message(obr(n7=order or null), sample("S1", specimen or null), obx(n14=own or null))
    assert only("Observation", made).get("effectiveDateTime") == expected


def test_a_result_behind_the_second_specimen_takes_the_time_of_that_one() -> None:
    results = (sample("S1", "20260103"), obx(), sample("S2", "20260104"), obx(n3="NA^Sodium^L"))
    made = message(obr(n7=""), *results)
    assert [one["effectiveDateTime"] for one in of("Observation", made)] == ["2026-01-03", "2026-01-04"]


def test_the_times_of_the_order_are_those_of_its_report() -> None:
    assert only("DiagnosticReport", message(obr(n7="20260104")))["effectiveDateTime"] == "2026-01-04"
    both = only("DiagnosticReport", message(obr(n7="20260104", n8="20260105")))
    assert both["effectivePeriod"] == {"start": "2026-01-04", "end": "2026-01-05"} and "effectiveDateTime" not in both


def test_an_end_before_the_start_is_left_out_reported_and_kept_as_it_came() -> None:
    """per-1."""
    made = message(obr(n7="20260105", n8="20250104"))
    period = only("DiagnosticReport", made)["effectivePeriod"]
    assert period["start"] == "2026-01-05" and "end" not in period and original(period["_end"]) == "20250104"
    assert findings(made) == ["time_invalid OBR[1]-7"]


@pytest.mark.parametrize("specimen", [{}, {"n15": "BLD"}])
@pytest.mark.parametrize(
    ("times", "collected"),
    [
        ({"n7": "20260104"}, {"collectedDateTime": "2026-01-04"}),
        ({"n7": "20260104", "n8": "20260105"}, {"collectedPeriod": {"start": "2026-01-04", "end": "2026-01-05"}}),
    ],
)
def test_the_times_of_the_order_are_when_its_specimen_was_collected(
    specimen: dict[str, str], times: dict[str, str], collected: dict[str, Any]
) -> None:
    made = message(obr(**times, **specimen), *([] if specimen else [sample("S1", "")]), obx())
    assert only("Specimen", made)["collection"] == collected


def test_a_specimen_s_own_time_comes_before_the_order_s() -> None:
    made = message(obr(n7="20260104"), sample("S1", "20260103"), obx())
    assert only("Specimen", made)["collection"] == {"collectedDateTime": "2026-01-03"}


@pytest.mark.parametrize(
    ("raw", "url", "value"),
    [
        ("20260105", f"{STANDARD}observation-analysis-date-time", {"valueDateTime": "2026-01-05"}),
        ("noon", f"{OWN}v2-analysis-time", {"valueString": "noon"}),
    ],
)  # fmt: skip
def test_the_time_of_the_analysis_is_an_extension(raw: str, url: str, value: dict[str, str]) -> None:
    (extension,) = only("Observation", message(obr(), obx(n19=raw)))["extension"]
    assert extension == {"url": url, **value}


# births


@pytest.mark.parametrize(
    ("raw", "date", "time"),
    [
        ("1971", "1971", None), ("197103", "1971-03", None), ("19710314", "1971-03-14", None),
        ("197103141230", "1971-03-14", "1971-03-14T12:30:00-06:00"),
        ("19710314123015", "1971-03-14", "1971-03-14T12:30:15-06:00"),
    ],
)  # fmt: skip
def test_a_birth_date_is_a_date_and_its_time_an_extension(raw: str, date: str, time: str | None) -> None:
    found = only("Patient", good(HEAD, PID + f"||{raw}", OBR))
    assert found["birthDate"] == date
    extensions = found.get("_birthDate", {}).get("extension", [])
    assert [one["valueDateTime"] for one in extensions] == ([time] if time else [])


def test_an_impossible_birth_date_is_left_out_reported_and_kept_as_it_came() -> None:
    made = good(HEAD, PID + "||19711345", OBR)
    assert "birthDate" not in only("Patient", made)
    assert original(only("Patient", made)["_birthDate"]) == "19711345"
    assert "time_invalid PID-7" in findings(made)
