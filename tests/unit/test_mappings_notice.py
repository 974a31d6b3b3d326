"""The notice for a pager: how urgent, and the numbers to find it by; nothing of the patient."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from result_messages import CONTEXT, HEAD, OBR, PID, TABLES, obx

from engine.formats.hl7v2 import read
from mappings.hl7v2_fhir import notice


def said(*segments: str) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(notice(read("\r".join(segments).encode()), TABLES, CONTEXT).payload)
    return found


def test_it_says_flags_and_order_numbers() -> None:
    assert said(HEAD, PID, OBR, obx(flags="HH"), obx(flags="N")) == {
        "kind": "result",
        "channel": "unit",
        "sender": "lab",
        "control_id": "1",
        "test": False,
        "critical": True,
        "flags": ["HH", "N"],
        "results": 2,
        "abnormal": 1,
        "orders": [{"filler": "F1", "placer": "P1", "status": "F"}],
    }


@pytest.mark.parametrize(
    ("flags", "critical", "abnormal"), [("H", False, 1), ("LL", True, 1), ("", False, 0), ("odd", False, 1)]
)
def test_what_is_critical(flags: str, critical: bool, abnormal: int) -> None:
    found = said(HEAD, PID, OBR, obx(flags=flags))
    assert (found["critical"], found["abnormal"]) == (critical, abnormal)


def test_nothing_of_the_patient_or_the_result_is_in_it() -> None:
    payload = orjson.dumps(said(HEAD, PID, OBR, obx(value="6.8", flags="HH")))
    for secret in (b"Marlowe", b"Iris", b"100", b"6.8", b"Potassium"):
        assert secret not in payload
