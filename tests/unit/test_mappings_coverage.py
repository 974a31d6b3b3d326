"""Every populated field is mapped, dropped by a named rule, or listed; a channel may require that some are mapped."""

from __future__ import annotations

import pytest

from engine.errors import Held
from engine.formats.hl7v2 import Message, read
from engine.ports import Conversion
from mappings.hl7v2_fhir import transaction
from mappings.hl7v2_fhir.coverage import coverage, dropped
from mappings.hl7v2_fhir.segment_maps import shipped
from mappings.lookup import CodeTables

TABLES = CodeTables()
NAMED_RULES = {
    "set-id", "administrative", "billing", "access-control", "protocol", "obsolete", "display-only", "duplicate-of",
}  # fmt: skip


def message(*segments: str, kind: str = "ADT^A01") -> Message:
    head = f"MSH|^~\\&|A|B|C|D|20260101||{kind}|1|P|2.5"
    return read("\r".join((head, "PID|1||4711^^^HOSP^MR", *segments)).encode())


def test_a_field_is_mapped_dropped_or_listed() -> None:
    found = coverage(message('AL1|1|DA|^Peanuts|""', "ZPI|x||y"))
    assert found.unmapped["ZPI-1"] == found.unmapped["ZPI-3"] == 1
    assert "AL1-3" not in found.unmapped
    assert not any(where.startswith("AL1-4") for where in found.unmapped)  # a null says nothing
    assert found.populated == found.mapped + found.dropped.total() + found.unmapped.total()


def test_an_order_is_mapped_only_where_its_type_of_message_has_a_builder() -> None:
    obr = "OBR|1|P1|F1|GLU^Glucose^L"
    assert "OBR-4" not in coverage(message(obr, kind="ORU^R01")).unmapped
    assert coverage(message(obr, kind="BAR^P01")).unmapped["OBR-4"] == 1


def test_what_is_required_and_has_no_map_holds_the_message() -> None:
    for required, held in (("ZPI", True), ("ZPI-3", True), ("ZPI-2, AL1", False), ("", False)):
        options = Conversion("test", options={"require": required})
        if not held:
            transaction(message("ZPI|x||y"), TABLES, options)
            continue
        with pytest.raises(Held) as raised:
            transaction(message("ZPI|x||y"), TABLES, options)
        assert raised.value.code == "required_unmapped"
        assert "ZPI-3" in raised.value.where


def test_each_drop_names_one_field_and_a_rule_and_no_map_takes_what_is_dropped() -> None:
    for where, rule in dropped().items():
        segment, _, number = where.partition("-")
        assert len(segment) == 3, where
        assert number.isdigit(), where
        assert rule.split(" ")[0].rstrip(":") in NAMED_RULES, f"{where}: {rule}"
        assert not any(int(number) in one.fields for one in shipped().get(segment, ())), where
