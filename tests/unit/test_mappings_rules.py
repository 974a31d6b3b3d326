"""`[[map]]` rules: what is written, what is left alone, what is reported and what holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import Held, NotFound
from engine.formats.hl7v2 import Message, read
from engine.wiring import MapRule
from mappings.lookup import CodeTables
from mappings.rules import UNMAPPED, apply_maps

TABLES = CodeTables()
PASS = MapRule("OBX-3", "northside-loinc", "pass")


def message(*codes: str, head: str = r"MSH|^~\&|A|B|C|D|20260105||ORU^R01|1|T|2.5.1") -> Message:
    results = [f"OBX|{n}|NM|{code}||1" for n, code in enumerate(codes, 1)]
    return read("\r".join([head, "OBR|1||F|X", *results, "ZZZ|\\F\\|"]).encode() + b"\r")


def mapped(code: str, rule: MapRule = PASS) -> str:
    made, _, _ = apply_maps(message(code), [rule], TABLES, 0)
    return made.get_raw("OBX-3")


def test_the_mapped_code_goes_before_the_original() -> None:
    assert mapped("GLU^Glucose^NSL") == "2345-7^Glucose [Mass/volume] in Serum or Plasma^LN^GLU^Glucose^NSL"


def test_a_bare_code_is_mapped_too() -> None:
    assert mapped("GLU") == "2345-7^Glucose [Mass/volume] in Serum or Plasma^LN^GLU"


def test_the_original_version_moves_with_its_code_and_the_text_stays() -> None:
    found = mapped("GLU^Glucose^NSL^^^^v1^^Sugar")
    assert found == "2345-7^Glucose [Mass/volume] in Serum or Plasma^LN^GLU^Glucose^NSL^^v1^Sugar"


def test_every_repetition_is_mapped() -> None:
    assert [part.split("^")[0] for part in mapped("GLU~K~GLU").split("~")] == ["2345-7", "2823-3", "2345-7"]


@pytest.mark.parametrize("system", ["LN", "2.16.840.1.113883.6.1", "http://loinc.org"])
def test_a_code_of_the_target_system_is_left_alone(system: str) -> None:
    made, findings, _ = apply_maps(message(f"2345-7^Glucose^{system}"), [PASS], TABLES, 0)
    assert not findings
    assert made.write() == made.raw


def test_what_one_table_leaves_alone_another_one_maps(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text("local_code,code,display,system\n2345-7,G,Glucose,urn:x\n")
    tables = CodeTables([tmp_path])
    kept, _, _ = apply_maps(message("2345-7^Glucose^LN"), [PASS], tables, 0)
    made, _, _ = apply_maps(message("2345-7^Glucose^LN"), [MapRule("OBX-3", "own", "pass")], tables, 0)
    assert kept.get_raw("OBX-3") == "2345-7^Glucose^LN"
    assert made.get_raw("OBX-3") == "G^Glucose^urn:x^2345-7^Glucose^LN"


def test_an_unmapped_code_passes_unchanged_with_a_finding() -> None:
    made, findings, revisions = apply_maps(message("GLU", "NEW^New^NSL"), [PASS], TABLES, 0)
    assert made.get_raw("OBX[2]-3") == "NEW^New^NSL"
    (found,) = findings
    assert (found.code, found.where, found.subject, found.table) == ("unmapped", "OBX[2]-3", "NEW", "northside-loinc")
    assert found.text == UNMAPPED
    assert revisions == {"northside-loinc": TABLES.revision("northside-loinc")}


def test_an_unmapped_code_holds_where_the_rule_says_so() -> None:
    with pytest.raises(Held) as raised:
        apply_maps(message("NEW^New^NSL"), [MapRule("OBX-3", "northside-loinc", "hold")], TABLES, 0)
    assert (raised.value.code, raised.value.where) == ("unmapped", "OBX[1]-3")
    assert "NEW" not in raised.value.text + raised.value.advice


def test_a_taken_alternate_holds() -> None:
    with pytest.raises(Held) as raised:
        mapped("GLU^Glucose^NSL^1234^Own^HOSP")
    assert (raised.value.code, raised.value.where) == ("alternate_taken", "OBX[1]-3")


def test_a_taken_alternate_is_replaced_where_the_rule_says_so() -> None:
    rule = MapRule("OBX-3", "northside-loinc", "pass", "replace")
    assert mapped("GLU^Glucose^NSL^1234^Own^HOSP", rule).endswith("^LN^GLU^Glucose^NSL")


def test_an_unmapped_code_with_a_taken_alternate_is_only_unmapped() -> None:
    _, findings, _ = apply_maps(message("NEW^New^NSL^1^One^HOSP"), [PASS], TABLES, 0)
    assert [found.code for found in findings] == ["unmapped"]


@pytest.mark.parametrize("code", ["", '""'])
def test_an_empty_or_null_field_is_left_alone(code: str) -> None:
    made, findings, _ = apply_maps(message(code), [PASS], TABLES, 0)
    assert made.write() == made.raw and not findings


def test_only_the_mapped_field_changes() -> None:
    made, _, _ = apply_maps(message("GLU^Glucose^NSL"), [PASS], TABLES, 0)
    new = b"2345-7^Glucose [Mass/volume] in Serum or Plasma^LN^GLU^Glucose^NSL"
    assert made.write() == made.raw.replace(b"GLU^Glucose^NSL", new)


def test_the_messages_own_delimiters_are_used_and_escaped(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text("local_code,code,display,system\nG,1#2,a*b,urn:x\n")
    made = message("G*Glu*L", head="MSH|*~\\#|A|B|C|D|20260105||ORU*R01|1|T|2.5.1")
    apply_maps(made, [MapRule("OBX-3", "own", "pass")], CodeTables([tmp_path]), 0)
    assert made.get_raw("OBX-3") == "1\\T\\2*a\\S\\b*urn:x*G*Glu*L"


def test_a_display_that_the_character_set_lacks_holds(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text("local_code,code,display,system\nG,1,Ω,urn:x\n", encoding="utf-8")
    head = r"MSH|^~\&|A|B|C|D|20260105||ORU^R01|1|T|2.5.1||||||8859/1"
    with pytest.raises(Held) as raised:
        apply_maps(message("G", head=head), [MapRule("OBX-3", "own", "pass")], CodeTables([tmp_path]), 0)
    assert raised.value.code == "charset"


def test_a_rule_with_an_unknown_table_is_not_found() -> None:
    with pytest.raises(NotFound):
        mapped("GLU", MapRule("OBX-3", "none", "pass"))


def test_two_rules_map_two_fields() -> None:
    made = read(b"MSH|^~\\&|A|B|C|D|20260105||ORU^R01|1|T|2.5.1\rOBR|1||F|BMP^Panel^NSL\rOBX|1|NM|K^K^NSL||4\r")
    apply_maps(made, [MapRule("OBR-4", "northside-loinc", "pass"), PASS], TABLES, 0)
    assert made.get_raw("OBR-4").startswith("51990-0^") and made.get_raw("OBX-3").startswith("2823-3^")


def test_units_map_to_ucum() -> None:
    made = read(b"MSH|^~\\&|A|B|C|D|20260105||ORU^R01|1|T|2.5.1\rOBX|1|NM|K||4|x10E3/uL\r")
    apply_maps(made, [MapRule("OBX-6", "northside-units", "pass")], TABLES, 0)
    assert made.get_raw("OBX-6") == "10*3/uL^10*3/uL^UCUM^x10E3/uL"
