"""The optional check with hl7apy, and the names of fields."""

from __future__ import annotations

import asyncio

import pytest

from engine.formats.hl7v2.conformance import Conformance, check
from engine.formats.hl7v2.names import field_name, nearest_version, required_segments

HEADER = b"MSH|^~\\&|LAB|NORTH|EHR|LEE|20240315103045||ORU^R01^ORU_R01|M1|T|2.5.1\r"
GOOD = HEADER + (
    b"PID|1||P1^^^INTERLOCK-TEST^MR||Doe^Jane\rOBR|1|O1|F1|58410-2^CBC^LN\r"
    b"OBX|1|NM|718-7^Hb^LN||13.2|g/dL|12-16|N|||F\r"
)


def found(raw: bytes) -> set[tuple[str, str]]:
    return {(finding.code, finding.where) for finding in check(raw)}


def test_a_conformant_message_has_no_findings() -> None:
    assert check(GOOD) == []


@pytest.mark.parametrize(
    "same",
    [
        GOOD.replace(b"^~\\&|", b"^~\\&#|"),
        GOOD.replace(b"\r", b"\n"),
        GOOD.replace(b"\r", b"\r\n"),
        GOOD.translate(bytes.maketrans(b"|^", b"#*")),
        GOOD + b"ZXX|1|own\r",
    ],
)
def test_what_hl7apy_stumbles_over_is_taken_out_of_its_way(same: bytes) -> None:
    assert check(same) == []


@pytest.mark.parametrize(
    ("old", "new", "finding"),
    [
        (b"|P1^^^INTERLOCK-TEST^MR|", b"||", ("required", "PID-3")),
        (b"|NM|", b"|QQ|", ("table", "OBX-2")),
        (b"PID|1|", b"PID|1~2|", ("repeated", "PID-1")),
        (b"OBR|1|O1|F1|58410-2^CBC^LN\r", b"", ("required", "OBR")),
        (b"\rOBX", b"\rPRT|1|A\rOBX", ("unknown", "PRT")),
        (b"12-16|N|||F\r", b"12-16|N|||F\rOBX|2|ST|A||x\r", ("required", "OBX[2]-11")),
        (b"MSH|^~\\&|", b"MSH|^^^^|", ("unreadable", "MSH-2")),
    ],
)
def test_faults_are_found_in_their_place(old: bytes, new: bytes, finding: tuple[str, str]) -> None:
    assert old in GOOD
    assert finding in found(GOOD.replace(old, new))


def test_no_finding_holds_a_value() -> None:
    findings = check(GOOD.replace(b"|NM|", b"|SECRET|").replace(b"Doe^Jane", b"Doe^Jane^^^^^SECRET"))
    assert findings
    assert "SECRET" not in repr(findings)


def test_an_overrunning_check_is_ended_and_the_next_one_runs() -> None:
    long = GOOD + b"OBX|1|NM|718-7^Hb^LN||13.2|g/dL|12-16|N|||F\r" * 20_000

    async def go() -> None:
        conformance = Conformance(workers=1, limit_seconds=20)
        assert await conformance.check(GOOD) == []
        conformance.limit_seconds = 0.2
        assert [finding.code for finding in await conformance.check(long)] == ["overrun"]
        conformance.limit_seconds = 20
        assert await conformance.check(GOOD) == []
        await conformance.close()

    asyncio.run(go())


@pytest.mark.parametrize(
    ("version", "segment", "field", "name"),
    [
        ("2.5.1", "OBX", 5, "Observation Value"),
        ("2.5.1^USA".partition("^")[0], "PID", 3, "Patient Identifier List"),
        ("2.9", "MSH", 10, "Message Control ID"),
        ("", "OBX", 5, "Observation Value"),
        ("nonsense", "OBX", 5, "Observation Value"),
        ("2.5.1", "ZXX", 1, ""),
        ("2.5.1", "PID", 99, ""),
    ],
)
def test_field_names(version: str, segment: str, field: int, name: str) -> None:
    assert field_name(version, segment, field) == name


def test_tables_by_version() -> None:
    assert [nearest_version(v) for v in ("2.5", "2.3.2", "2.7.1", "2.9", "3", "")] == [
        "2.5", "2.3.1", "2.7", "2.8.2", "2.8.2", "2.5.1",
    ]  # fmt: skip
    assert required_segments("2.5.1", "ADT_A01") == ("MSH", "EVN", "PID", "PV1")
    assert required_segments("2.5.1", "XXX_X01") == ()
