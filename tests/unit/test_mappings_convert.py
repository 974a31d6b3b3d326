"""Files and folders: a report for every message, whatever is in it."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from result_messages import CONTEXT, HEAD, OBR, PID, TABLES, obx

from mappings import convert
from mappings.convert import convert_file, convert_folder

ORU = "\r".join((HEAD, PID, OBR, obx(value="<5"))).encode() + b"\r"
QBP = ORU.replace(b"ORU^R01", b"QBP^Q11")


def test_a_folder_gives_a_report_a_message_and_never_stops(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.hl7").write_bytes(ORU)
    (tmp_path / "b.hl7").write_bytes(b"not a message")
    (tmp_path / "c.hl7").write_bytes(b"")
    (tmp_path / "d.txt").write_bytes(ORU + QBP)
    (tmp_path / "sub/e.oru").write_bytes(b"BHS|^~\\&\r" + ORU + b"BTS|1\r")
    (tmp_path / "f.json").write_bytes(b"{}")
    (tmp_path / ".hidden.hl7").write_bytes(ORU)
    done: list[str] = []
    reports = list(convert_folder(tmp_path, "fhir", TABLES, CONTEXT, lambda path: done.append(path.name)))
    lines = [report.line() for report in reports]
    assert [Path(str(line["path"])).name for line in lines] == ["a.hl7", "b.hl7", "c.hl7", "d.txt", "d.txt#2", "e.oru"]
    assert [line["ok"] for line in lines] == [True, False, False, True, False, True]
    assert done == ["a.hl7", "b.hl7", "c.hl7", "d.txt", "e.oru"]
    assert str(lines[4]["error"]).startswith("not_convertible")
    assert all(
        line.keys() - {"fields"} == {"path", "ok", "resources", "unmapped", "warnings", "error"} for line in lines
    )
    assert all(("fields" in line) is line["ok"] for line in lines)
    assert lines[0]["resources"] == {"Patient": 1, "Observation": 1, "ServiceRequest": 1, "DiagnosticReport": 1}
    assert [warning["code"] for warning in reports[0].line()["warnings"]] == ["not_a_number"]  # type: ignore[attr-defined]
    assert orjson.loads(reports[0].payload)["resourceType"] == "Bundle"


def test_an_empty_folder_gives_no_report(tmp_path: Path) -> None:
    assert list(convert_folder(tmp_path, "fhir", TABLES, CONTEXT)) == []


def test_a_file_that_cannot_be_read_is_a_report(tmp_path: Path) -> None:
    (report,) = convert_file(tmp_path / "none.hl7", "fhir", TABLES, CONTEXT)
    assert not report.ok and report.error.startswith("unreadable_file")


def test_a_named_file_is_tried_whatever_it_is_called(tmp_path: Path) -> None:
    path = tmp_path / "message.bin"
    path.write_bytes(ORU)
    assert next(convert_file(path, "fhir", TABLES, CONTEXT)).ok


def test_a_converter_that_fails_is_a_report_without_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ValueError("SECRET")

    monkeypatch.setitem(convert.CONVERTERS, "fhir", broken)
    (tmp_path / "a.hl7").write_bytes(ORU)
    (report,) = convert_file(tmp_path / "a.hl7", "fhir", TABLES, CONTEXT)
    assert report.error == "converter_failed: ValueError"


def test_hl7v2_leaves_as_it_came(tmp_path: Path) -> None:
    (tmp_path / "a.hl7").write_bytes(QBP)
    (report,) = convert_file(tmp_path / "a.hl7", "hl7v2", TABLES, CONTEXT)
    assert report.payload == QBP
