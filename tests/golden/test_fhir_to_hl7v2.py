"""Synthetic FHIR in, exact message and findings out; `--update-golden` writes what comes out now.

Every message is also written in every version and compared with the standard's own tables.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from engine.errors import Held
from engine.formats.hl7v2 import read
from engine.formats.hl7v2.conformance import check
from engine.model import Converted
from engine.ports import Conversion
from mappings import fhir_hl7v2
from mappings.fhir_hl7v2.options import VERSIONS
from mappings.hl7v2_fhir import transaction
from mappings.lookup import CodeTables
from tests.corpus.round_trip import View, compare

FOLDER = Path(__file__).parent / "fhir_to_hl7v2"
TABLES = CodeTables()
ENDS = {
    "sending_application": "LEE-EHR",
    "sending_facility": "LEE",
    "receiving_application": "NSL-LIS",
    "receiving_facility": "NORTHSIDE",
}

CASES: dict[str, tuple[str, Callable[..., Converted], dict[str, Any]]] = {
    "oru": ("oru", fhir_hl7v2.oru, {}),
    "oru-2.3.1": ("oru", fhir_hl7v2.oru, {"version": "2.3.1"}),
    "oru-2.7": ("oru", fhir_hl7v2.oru, {"version": "2.7"}),
    "oru-cwe": ("oru", fhir_hl7v2.oru, {"coded": "CWE", "profile": "LRI_Common^^2.999.10^ISO"}),
    "oml": ("order", fhir_hl7v2.oml, {}),
    "oml-2.4": ("order", fhir_hl7v2.oml, {"version": "2.4", "order_control": "XO"}),
    "orm": ("order", fhir_hl7v2.orm, {"version": "2.3.1"}),
    "rde": ("prescription", fhir_hl7v2.rde, {}),
    "rde-2.3.1": ("prescription", fhir_hl7v2.rde, {"version": "2.3.1"}),
    "omp": ("prescription", fhir_hl7v2.omp, {}),
    "a01": ("admission", fhir_hl7v2.adt, {}),
    "a08": ("admission", fhir_hl7v2.adt, {"event": "A08", "version": "2.7"}),
    "a03": ("discharge", fhir_hl7v2.adt, {}),
    "a40": ("merge", fhir_hl7v2.adt, {}),
    "mdm": ("document", fhir_hl7v2.mdm, {}),
    "vxu": ("vaccination", fhir_hl7v2.vxu, {}),
    "vxu-2.4": ("vaccination", fhir_hl7v2.vxu, {"version": "2.4"}),
}

#: What the tables of hl7apy ask for and the standard, or this conversion by a stated rule, does not.
NOT_A_FAULT = frozenset(
    {
        ("required", "RXE-1"),  # quantity/timing stands in TQ1 since 2.5
        ("required", "RXE-3"),  # a dose that is said in words only is not made a number
        ("required", "RXE-5"),
        ("required", "OBX-4"),  # conditional: where one code stands twice under one OBR
        ("required", "OBX-2"),  # conditional: where there is a value
        ("required", "OBX-11"),  # FHIR status unknown: no code of table 0085 says it, and none is made up
    }
)
_PLACE = re.compile(r"\[\d+\]")


@pytest.mark.parametrize("case", CASES)
def test_the_message_is_the_expected_one(case: str, update_golden: bool) -> None:
    shown = show(convert(case))
    expected = FOLDER / f"{case}.txt"
    if update_golden:
        expected.write_text(shown, encoding="utf-8")
    assert shown == expected.read_text(encoding="utf-8")


@pytest.mark.parametrize("case", CASES)
def test_a_replay_gives_the_same_bytes(case: str) -> None:
    assert convert(case).payload == convert(case).payload


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("case", ["oru", "oml", "orm", "rde", "omp", "a01", "a03", "a40", "mdm", "vxu"])
def test_every_version_has_what_its_tables_know(case: str, version: str) -> None:
    try:
        made = convert(case, version=version)
    except Held as error:
        assert error.where == "MSH-12"
        return
    assert read(made.payload).get("MSH-12") == version
    found = {(one.code, _PLACE.sub("", one.where)) for one in check(made.payload)}
    assert {one for one in found if one[0] in ("required", "unknown", "type")} - NOT_A_FAULT == set()


THERE = [
    path
    for path in sorted((FOLDER.parent / "hl7v2_to_fhir" / "oru").glob("*.hl7"))
    if b"|ORU^R01" in (raw := path.read_bytes()) and b"OBR|" in raw
]


@pytest.mark.parametrize("case", THERE, ids=lambda path: path.stem)
def test_our_own_fhir_comes_back(case: Path) -> None:
    """The synthetic results of the other direction, there and back, by the rules of the corpus test."""
    before = read(case.read_bytes())
    if case.stem == "header-only":
        return
    bundle = transaction(
        before, TABLES, Conversion("golden", timezone="America/Chicago", sender="northside-laboratory")
    )
    options = {"version": "2.5.1", "coded": "CWE"}
    parsed = json.loads(bundle.payload, parse_float=Decimal)
    after = read(fhir_hl7v2.oru(parsed, TABLES, Conversion("golden", sender="lab", options=options)).payload)
    found = list(compare(View(before), View(after)))
    assert len(found) > 5
    assert [where for where, verdict in found if verdict == "lost"] == []


def convert(case: str, **more: Any) -> Converted:
    name, make, options = CASES[case]
    parsed = json.loads((FOLDER / f"{name}.json").read_bytes(), parse_float=Decimal)
    context = Conversion("golden", timezone="America/Chicago", sender="lee", options={**ENDS, **options, **more})
    return make(parsed, TABLES, context)


def show(made: Converted) -> str:
    """Findings, then the message with a line a segment."""
    lines = made.payload.decode().split("\r")
    assert lines[-1] == ""
    findings = [f"{found.code} {found.where}".strip() for found in made.findings]
    return "\n".join([*findings, "", *lines])
