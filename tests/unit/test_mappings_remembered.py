"""What a conversion remembers from message to message never answers for another table, time, rule or sender."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from engine.errors import Held
from engine.formats.hl7v2 import read
from engine.model import MICROSECONDS
from engine.ports import Conversion
from engine.wiring import MapRule
from mappings.hl7v2_fhir import transaction
from mappings.lookup import CodeTables
from mappings.rules import apply_maps

HEAD = "MSH|^~\\&|A|B|C|D|20250611093000+0000||ORU^R01|1|P|2.5.1"
ORDER = "PID|1||7^^^HOSP^MR\rOBR|1||F1^LAB|X^Panel^L|||20250611||||||||||||||||||F"
COLUMNS = "local_code,code,display,system,effective_from,effective_to\n"
RULE = MapRule("OBX-3", "own", "pass")
DAY = 86_400 * MICROSECONDS


def message(*results: str, head: str = HEAD) -> bytes:
    return "\r".join((head, ORDER, *results)).encode()


def mapped(tables: CodeTables, at: int = 0, rule: MapRule = RULE, field: str = "G^Glucose^L") -> str:
    made, _, _ = apply_maps(read(message(f"OBX|1|NM|{field}||5")), [rule], tables, at)
    return made.get_raw("OBX-3")


def test_a_dated_code_is_looked_up_each_time(tmp_path: Path) -> None:
    rows = "G,1,Old,http://loinc.org,,1970-01-10\nG,2,New,http://loinc.org,1970-01-11,\n"
    (tmp_path / "own.csv").write_text(COLUMNS + rows)
    tables = CodeTables([tmp_path])
    assert [mapped(tables, at)[:1] for at in (0, 20 * DAY, 0)] == ["1", "2", "1"]


def test_a_reload_answers_at_once(tmp_path: Path) -> None:
    (tmp_path / "reloaded.csv").write_text(COLUMNS + "G,1,Old,http://loinc.org,,\n")
    tables, rule = CodeTables([tmp_path]), MapRule("OBX-3", "reloaded", "pass")
    assert mapped(tables, rule=rule)[:1] == "1" and mapped(tables, rule=rule)[:1] == "1"
    (tmp_path / "reloaded.csv").write_text(COLUMNS + "G,2,New,http://loinc.org,,\n")
    tables.reload()
    assert mapped(tables, rule=rule)[:1] == "2"


def test_a_code_that_was_unmapped_or_held_is_so_again(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text(COLUMNS + "G,1,Old,http://loinc.org,,\n")
    tables = CodeTables([tmp_path])
    for _ in range(2):
        _, findings, _ = apply_maps(read(message("OBX|1|NM|H||5", "OBX|2|NM|H||5")), [RULE], tables, 0)
        assert [finding.where for finding in findings] == ["OBX[1]-3", "OBX[2]-3"]
    taken = "G^Glucose^L^X^Other^L"
    assert mapped(tables, rule=MapRule("OBX-3", "own", "pass", "replace"), field=taken).startswith("1^")
    with pytest.raises(Held, match="alternate"):
        mapped(tables, field=taken)


def test_results_of_one_pattern_keep_their_own_values_times_and_ids() -> None:
    results = [f"OBX|{n}|NM|G^Glucose^L||{value}|mg/dL||||| F|||{time}".replace("| F", "|F") for n, value, time in (
        (1, "1.10", "20250611080000+0000"), (2, "1.1", "20250611080100+0000"), (3, "<5", "20250611080000+0000"),
        (4, "1.10~2", "20250611080000+0000"), (5, "01", ""), (6, "\"\"", "20251341"))]  # fmt: skip
    made = transaction(read(message(*results)), CodeTables(), Conversion("x", sender="lab"))
    found = [e["resource"] for e in orjson.loads(made.payload)["entry"] if "/Observation/" in "/" + e["request"]["url"]]
    assert len({one["id"] for one in found}) == 6
    assert [one.get("effectiveDateTime", "")[11:16] for one in found] == ["08:00", "08:01", "08:00", "08:00", "", ""]
    assert b'"value":1.10,' in made.payload and b'"value":1.1,' in made.payload
    assert found[2]["valueString"] == "<5" and len(found[3]["component"]) == 2
    assert found[4]["valueQuantity"]["value"] == 1 and "dataAbsentReason" in found[5]
    assert [f.code for f in made.findings] == ["not_a_number", "time_invalid"]
    assert made.resources["Observation"] == 6


def test_a_sign_that_delimits_is_no_part_of_a_number_or_time() -> None:
    head = HEAD.replace("^~\\&", "^+\\&").replace("+0000", "")
    body = "OBX|1|NM|G^Glucose^L||+5|mg/dL|||||F|||20250611080000+0100"
    made = transaction(read(message(body, head=head)), CodeTables(), Conversion("x", "", "UTC", "lab"))
    assert b'"effectiveDateTime":"2025-06-11T08:00:00+00:00"' in made.payload
