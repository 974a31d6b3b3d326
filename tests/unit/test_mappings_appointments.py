"""Appointments: how they stand, when they are, and who takes part."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fhir_rules import faults
from result_messages import PID, convert, of

TQ1 = "TQ1|1||||||202601101430|202601101500"


def sch(status: str = "", **fields: str) -> str:
    row = ["SCH", "A1^EHR", "B1^SCHED", *[""] * 25]
    row[25] = status
    for name, value in fields.items():
        row[int(name[1:])] = value
    return "|".join(row).rstrip("|")


def made(*segments: str, event: str = "S12") -> tuple[dict[str, Any], list[str]]:
    head = rf"MSH|^~\&|SCHED|LAB|EHR|LEE|20260105083000||SIU^{event}|1|P|2.5.1"
    first = 1 + (len(segments) > 1 and segments[1].startswith("TQ1"))
    converted = convert(head, *segments[:first], PID, *segments[first:])
    assert faults(json.loads(converted.payload)) == []
    return of("Appointment", converted)[0], [f"{found.code} {found.where}" for found in converted.findings]


@pytest.mark.parametrize(
    ("event", "said", "status"),
    [
        ("S12", "", "booked"),
        ("S13", "", "booked"),
        ("S14", "Pending", "pending"),
        ("S12", "WAITLIST", "waitlist"),
        ("S14", "Started", "checked-in"),
        ("S14", "Complete", "fulfilled"),
        ("S15", "Booked", "cancelled"),
        ("S16", "", "cancelled"),
        ("S17", "Booked", "entered-in-error"),
        ("S26", "Booked", "noshow"),
        ("S14", "Overbook", "booked"),
        ("S14", "Discontinued", "cancelled"),
        ("S12", "Blocked", "booked"),
        ("S23", "", None),
    ],
)
def test_status(event: str, said: str, status: str | None) -> None:
    found, findings = made(sch(said), event=event)
    assert found.get("status") == status
    assert ("_status" in found) is (said in ("Overbook", "Discontinued", "Blocked", "Started") or not status)
    assert findings in ([], ["status_missing SCH[1]-25"], ["status_unknown SCH[1]-25"])


def test_a_status_nobody_knows_is_kept_beside_that_of_the_event() -> None:
    found, findings = made(sch("Perhaps"))
    assert found["status"] == "booked"
    assert found["_status"]["extension"][0]["valueCodeableConcept"] == {"text": "Perhaps"}
    assert findings == ["status_unknown SCH[1]-25"]


def test_times_are_those_of_tq1_then_sch_then_the_services() -> None:
    old = sch(n11="^^^202601110800^202601110830")
    service = "AIS|1||X^X-ray^L|202601120900|||30|min"
    assert made(old, TQ1, service)[0]["start"] == "2026-01-10T14:30:00-06:00"
    assert made(old, service)[0]["end"] == "2026-01-11T08:30:00-06:00"
    assert made(sch(), service)[0]["end"] == "2026-01-12T09:30:00-06:00"


def test_several_services_last_from_the_first_to_the_last() -> None:
    found, _ = made(sch(), "AIS|1||Y^CT^L|202601121000|||1|h", "AIS|2||X^X-ray^L|202601120900|||30|min")
    assert (found["start"], found["end"]) == ("2026-01-12T09:00:00-06:00", "2026-01-12T11:00:00-06:00")
    assert [one["text"] for one in found["serviceType"]] == ["CT", "X-ray"]


def test_no_end_is_guessed_and_no_unit() -> None:
    found, _ = made(sch(n9="45"), "AIS|1||X^X-ray^L|202601120900|||30")
    assert "end" not in found and "minutesDuration" not in found
    assert found["_end"]["extension"][0]["valueCode"] == "unknown"
    assert found["extension"][0]["valueString"] == "45"


def test_a_day_without_a_time_is_kept() -> None:
    found, _ = made(sch(n11="^^^20260111"))
    assert found["_start"]["extension"][0]["valueString"] == "20260111"
    assert "start" not in found


def test_a_cancelled_appointment_needs_no_time_and_says_why() -> None:
    found, _ = made(sch(n6="PAT^Patient asked^L"), event="S15")
    assert found["cancelationReason"]["text"] == "Patient asked"
    assert "_start" not in found
    assert "cancelationReason" not in made(sch(n6="NEW^New^L"))[0]


def test_people_places_and_things_take_part() -> None:
    found, _ = made(
        sch("Booked"),
        "AIP|1||7^Ray^Rae^^^^^^LAB|RT^Radiographer^L||||||||Pending",
        "AIL|1||RAD^R3||||||||",
        "AIG|1||XR^X-ray unit^L|EQ^Equipment^L",
        "AIG|2||8^White, Wilma|DOCTOR",
        "AIP|2|D|9^Gone^Gus",
        "AIG|3|||NURSE^Any nurse^L",
    )
    kinds = [one.get("actor", {}).get("reference", "").partition("/")[0] for one in found["participant"]]
    assert kinds == ["Patient", "Practitioner", "Location", "Device", "Practitioner", ""]
    assert [one["status"] for one in found["participant"]] == ["accepted", "tentative", *["accepted"] * 4]


def test_an_appointment_that_is_not_agreed_has_nobody_who_has_agreed() -> None:
    assert made(sch("Pending"))[0]["participant"][0]["status"] == "needs-action"


def test_every_patient_of_a_group_takes_part() -> None:
    found, _ = made(sch(), "PID|2||200^^^LAB^MR||Wren^Bea", "RGS|1", "AIS|1||G^Group^L")
    assert len({one["actor"]["reference"] for one in found["participant"]}) == 2


def test_notes_are_the_comment() -> None:
    found, _ = made(sch(), "RGS|1", "AIS|1||X^X-ray^L", "NTE|1||Fasting", "AIL|1||RAD", "NTE|1||Ground floor")
    assert found["comment"] == "Fasting\nGround floor"


def test_an_outpatient_visit_that_is_only_booked_has_not_begun() -> None:
    head = r"MSH|^~\&|SCHED|LAB|EHR|LEE|20260105083000||SIU^{}|1|P|2.5.1"
    for event, kind, status in (("S12", "O", "planned"), ("S26", "O", "cancelled"), ("S12", "I", "in-progress")):
        converted = convert(head.format(event), sch(), PID, f"PV1|1|{kind}")
        assert of("Encounter", converted)[0]["status"] == status


def test_a_later_message_finds_the_appointment() -> None:
    first = made(sch())[0]["id"]
    assert made(sch(), event="S15")[0]["id"] == first
    assert made(sch(n3="2"))[0]["id"] != first
    assert made(sch(n1="", n2=""))[1] == ["appointment_without_number SCH-2"]
