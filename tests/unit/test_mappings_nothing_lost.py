"""Notes and values where a message has them in an unusual place or shape: they are in what comes out, all the same."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from engine.formats.hl7v2 import read
from engine.model import Converted
from engine.ports import Conversion
from mappings.hl7v2_fhir import transaction
from mappings.lookup import CodeTables

TABLES = CodeTables()
CONTEXT = Conversion("test", timezone="America/Chicago", sender="lab")
PID = "PID|1||1^^^H^MR||Testmann^Ada"
OBR = "OBR|1|P1|F1|a^b"
KINDS = ("ADT^A40", "ADT^A08", "BAR^P01", "ORU^R01", "OML^O21", "VXU^V04", "SIU^S12", "DFT^P03", "MDM^T02", "RDE^O11")
SEGMENTS = (
    "MRG|9^^^H^MR", "NK1|1", "IN1|1|x|y", "GT1|1||G", "DG1|1||X^y", "PR1|1||X^y", "ROL|1|AD|AT|1^D", "PRT|1|AD||AT",
    "PRD|RP|D^D", "VAR|1|2026", "NPU|B|1", "SCH|1|2", "AIS|1||S", "RGS|1", "FT1|1|||2026||CG|X", "SAC|1", "TQ1|1",
    "MFE|MAD|1", "AIP|1||1^D", "PV1|1|I", "PV2||x", "ZZZ|1", "AL1|1|DA|x", "CTI|1", "PD1|1", "OBR|1|P|F|a^b",
    "RXA|0|1|2026|2026|X^y", "RXE|^^|D^d|1||mg", "TXA|1|PN", "ORC|NW|P",
)  # fmt: skip


def convert(kind: str, *segments: str, control: str = "C1") -> Converted:
    head = f"MSH|^~\\&|L|N|E|E|20260105101500-0600||{kind}|{control}|P|2.5.1"
    return transaction(read("\r".join((head, *segments)).encode()), TABLES, CONTEXT)


def resources(made: Converted, kind: str) -> list[dict[str, Any]]:
    entries = orjson.loads(made.payload)["entry"]
    return [entry["resource"] for entry in entries if entry["resource"]["resourceType"] == kind]


@pytest.mark.parametrize("segment", SEGMENTS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_note_behind_any_segment_is_kept_once(kind: str, segment: str) -> None:
    payload = convert(kind, PID, segment, "NTE|1||told by her mother").payload
    assert payload.count(b"told by her mother") == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_note_before_the_patient_is_the_patients(kind: str) -> None:
    made = convert(kind, "NTE|1||told by her mother", PID, OBR, "OBX|1|ST|A^a||x||||||F")
    assert b"told by her mother" in orjson.dumps(resources(made, "Patient"))
    assert "patient_missing" not in {finding.code for finding in made.findings}


@pytest.mark.parametrize("segment", ["RXE||D^d", "RXA|0|1|2026|2026|X", "RXO|D^d", "RXD|1|D"])
def test_a_result_behind_a_foreign_order_is_the_patients(segment: str) -> None:
    made = convert("ORU^R01", PID, OBR, segment, "OBX|1|ST|A^a||as told||||||F")
    assert [result["valueString"] for result in resources(made, "Observation")] == ["as told"]
    assert "not_converted" in {finding.code for finding in made.findings}


@pytest.mark.parametrize(
    "value", ["ED|A^a||kept", "ED|A^a||a^kept", "RP|A^a||^kept", "NR|A^a||1^2^kept", "DR|A^a||20260101^20260202^kept",
              "SN|A^a||^1^-^2^kept", "SN|A^a||1^2^3^4^kept"],
)  # fmt: skip
def test_what_a_value_says_beyond_its_type_is_kept_as_text(value: str) -> None:
    (result,) = resources(convert("ORU^R01", PID, OBR, f"OBX|1|{value}||||||F"), "Observation")
    assert "kept" in result["valueString"]
    assert "dataAbsentReason" not in result


@pytest.mark.parametrize("said", ["F~P", "P~F"])
def test_statuses_that_contradict_each_other_are_unknown(said: str) -> None:
    made = convert("ORU^R01", PID, f"{OBR}|||||||||||||||||||||{said}", f"OBX|1|ST|A^a||x||||||{said}")
    statuses = {found["status"] for kind in ("Observation", "DiagnosticReport") for found in resources(made, kind)}
    assert statuses == {"unknown"}
    assert [finding.code for finding in made.findings].count("status_unknown") == 2


def test_people_without_a_number_are_two_though_their_messages_have_no_name_or_one() -> None:
    for control in ("", "C1"):
        ids = [
            {entry["id"] for entry in resources(made, "Patient")}
            for made in (
                convert("ORU^R01", f"PID|1||||{name}", "OBX|1|ST|A^a||x||||||F", control=control)
                for name in ("Nobody^Ada", "Other^Bert")
            )
        ]
        assert ids[0].isdisjoint(ids[1])
    first, second = (convert("ORU^R01", "PID|1||||X^Y", f"OBX|1|ST|A^a||{n}||||||F", control="") for n in "12")
    shared = {one["id"] for one in resources(first, "Observation")} & {
        one["id"] for one in resources(second, "Observation")
    }
    assert not shared


@pytest.mark.parametrize(
    "segments",
    [
        ("ORC|NW|P1", "TQ1|1|||||||||||||99999999999999999999", OBR),
        ("ORC|NW|P1", "TQ1|1||QJ12&&&DW&12&1|||||||||||2147483648", OBR),
        ("DG1|1||X^y||||||||||||99999999999", OBR),
    ],
)
def test_a_number_that_fhir_cannot_hold_is_none(segments: tuple[str, ...]) -> None:
    made = convert("OML^O21", f"{PID}" + "|" * 20 + "99999999999", *segments)
    assert b"99999999999" not in made.payload.replace(b'"valueString":"99999999999', b"")


def test_a_request_and_its_report_do_not_share_a_list_of_numbers() -> None:
    made = convert("ORU^R01", PID, "ORC|RE|P1|F1" + "|" * 30 + "ALT9", OBR, "OBX|1|ST|A^a||x||||||F")
    assert b"ALT9" not in orjson.dumps(resources(made, "DiagnosticReport"))


@pytest.mark.parametrize("kind", ["ORU^R01", "OML^O21"])
@pytest.mark.parametrize(("said", "priority"), [("S", "stat"), ("s", "stat"), ("T", None)])
def test_a_priority_is_the_same_in_an_order_and_in_its_result(kind: str, said: str, priority: str | None) -> None:
    (request,) = resources(convert(kind, PID, f"OBR|1|P1|F1|a^b|{said}"), "ServiceRequest")
    assert request.get("priority") == priority
    assert ("v2-order-priority" in orjson.dumps(request).decode()) is (priority is None)
