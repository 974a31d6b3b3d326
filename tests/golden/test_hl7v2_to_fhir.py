"""Synthetic messages in, exact bundle and findings out; `--update-golden` writes what comes out now."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from fhir_rules import faults

from engine.formats.hl7v2 import read
from engine.model import Converted
from engine.ports import Conversion
from engine.wiring import MapRule
from mappings.hl7v2_fhir import transaction
from mappings.lookup import CodeTables
from mappings.rules import apply_maps

FOLDER = Path(__file__).parent / "hl7v2_to_fhir"
CASES = sorted(FOLDER.glob("*/*.hl7"))
TABLES = CodeTables()
CONTEXT = Conversion("golden", timezone="America/Chicago", sender="northside-laboratory")
RULES = (MapRule("OBR-4", "northside-loinc", "pass"), MapRule("OBX-3", "northside-loinc", "pass", "replace"))


@pytest.mark.parametrize("case", CASES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_the_bundle_is_the_expected_one(case: Path, update_golden: bool) -> None:
    made = convert(case)
    shown = show(made)
    expected = case.with_suffix(".json")
    if update_golden:
        expected.write_text(shown, encoding="utf-8")
    assert shown == expected.read_text(encoding="utf-8")


@pytest.mark.parametrize("case", CASES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_the_bundle_follows_fhir(case: Path) -> None:
    assert faults(orjson.loads(convert(case).payload)) == []


@pytest.mark.parametrize("case", CASES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_replay_gives_the_same_bytes(case: Path) -> None:
    assert convert(case).payload == convert(case).payload


def convert(case: Path) -> Converted:
    message = read(case.read_bytes())
    findings: tuple[Any, ...] = ()
    if case.stem == "panel":
        message, findings, _ = apply_maps(message, RULES, TABLES, 0)
    made = transaction(message, TABLES, CONTEXT)
    return Converted(made.payload, made.content_type, (*findings, *made.findings), made.tables, made.resources)


def show(made: Converted) -> str:
    """Bundle and findings as readable JSON, with every number as it was written."""
    bundle = json.loads(made.payload, parse_float=lambda digits: f"\0{digits}\0")
    findings = [f"{found.code} {found.where} {found.subject}".strip() for found in made.findings]
    text = json.dumps({"findings": findings, "bundle": bundle}, indent=1, ensure_ascii=False)
    return text.replace('"\\u0000', "").replace('\\u0000"', "") + "\n"
