"""HL7 v2 to FHIR and back: the fields of the list come back, component by component, over the whole corpus.

Every result message that converts to FHIR is converted back in its own version. What may differ is a rule of
round_trip.py, never a file: docs/fhir-to-hl7v2.md lists the fields.
"""

from __future__ import annotations

import json
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from engine.errors import InterlockError
from engine.formats.hl7v2 import Message, read, split_batch
from engine.ports import Conversion
from mappings.fhir_hl7v2 import adt, mdm, oml, omp, orm, oru, rde, vxu
from mappings.fhir_hl7v2.options import VERSIONS
from mappings.hl7v2_fhir import transaction
from mappings.lookup import CodeTables
from tests.corpus.round_trip import FIELDS, OTHERS, RULES, View, compare, compare_other

pytestmark = pytest.mark.corpus

TABLES = CodeTables()
COMPARED_AT_LEAST = 500
MAKERS = {"ADT": adt, "MDM": mdm, "OML": oml, "OMP": omp, "ORM": orm, "RDE": rde, "VXU": vxu}
OTHERS_AT_LEAST = {"ADT": 150, "MDM": 15, "OML": 20, "OMP": 10, "ORM": 20, "RDE": 15, "VXU": 30}
EVENTS = ("A01", "A03", "A04", "A08", "A31")


@pytest.fixture(scope="module")
def journeys(shared: Path) -> list[tuple[str, Message, Message, tuple[str, ...]]]:
    """Every ORU that converts: as it came, and as it came back, with the codes of the way back."""
    found = []
    for path in files(shared):
        for index, raw in enumerate(parts_of(path.read_bytes())):
            try:
                message = read(raw)
                if message.get("MSH-9.1") != "ORU":
                    continue
                bundle = transaction(message, TABLES, context())
                if not {"DiagnosticReport", "Observation"} & bundle.resources.keys():
                    continue  # a header, or a patient without results
            except InterlockError:
                continue
            made = oru(json.loads(bundle.payload, parse_float=Decimal), TABLES, context(version_of(message)))
            codes = tuple(f"{one.code} {one.where}" for one in made.findings)
            found.append((f"{path.name}#{index}", message, read(made.payload), codes))
    return found


def files(shared: Path) -> list[Path]:
    found = sorted((shared / "corpus/hl7v2/open").rglob("*"))
    return [path for path in found if path.is_file() and ".expected" not in path.name]


def parts_of(raw: bytes) -> list[bytes]:
    try:
        return split_batch(raw)
    except InterlockError:
        return [raw]


def context(version: str = "", **more: str) -> Conversion:
    options = {"version": version, "coded": "CWE", **more} if version else {}
    return Conversion("corpus", timezone="America/Chicago", sender="corpus", options=options)


def version_of(message: Message) -> str:
    """The version of a message, else the nearest that can be written."""
    said = (message.get("MSH-12.1") or "").strip()
    if said in VERSIONS:
        return said
    return "2.3.1" if said < "2.3.1" and said else "2.7" if said > "2.7" else "2.5.1"


def test_the_fields_of_the_list_come_back(journeys: Any) -> None:
    counts: dict[str, Counter[str]] = {name: Counter() for name in FIELDS}
    lost: list[str] = []
    for name, before, after, _ in journeys:
        for where, verdict in compare(View(before), View(after)):
            assert verdict in ("kept", "lost", *RULES), verdict
            counts[where][verdict] += 1
            if verdict == "lost":
                lost.append(f"{name} {where}")
    for where, verdicts in counts.items():
        print(f"{where:8} " + " ".join(f"{verdict} {number}" for verdict, number in sorted(verdicts.items())))
    assert len(journeys) >= COMPARED_AT_LEAST
    assert not lost, f"{len(lost)}: {Counter(one.split()[1] for one in lost)}\n" + "\n".join(lost[:60])


def test_no_field_of_the_list_is_never_seen(journeys: Any) -> None:
    seen = {where for _, before, after, _ in journeys for where, _ in compare(View(before), View(after))}
    assert set(FIELDS) == seen


@pytest.mark.parametrize("kind", OTHERS)
def test_the_fields_of_other_messages_come_back(shared: Path, kind: str) -> None:
    counts, lost, compared = Counter[str](), list[str](), 0
    for name, raw in ((path.name, raw) for path in files(shared) for raw in parts_of(path.read_bytes())):
        try:
            message = read(raw)
            if message.get("MSH-9.1") != kind or (kind == "ADT" and message.get("MSH-9.2") not in EVENTS):
                continue
            bundle = transaction(message, TABLES, context())
            event = {"event": message.get("MSH-9.2") or ""} if kind == "ADT" else {}
            parsed = json.loads(bundle.payload, parse_float=Decimal)
            made = MAKERS[kind](parsed, TABLES, context(version_of(message), **event))
        except InterlockError:
            continue  # no patient, no order, an order that is none to carry out: nothing to compare
        compared += 1
        for where, verdict in compare_other(View(message), View(read(made.payload)), kind):
            counts[f"{where} {verdict}"] += 1
            if verdict == "lost":
                lost.append(f"{name} {where}")
    print(f"\n{kind} {compared}: " + ", ".join(f"{what} {number}" for what, number in sorted(counts.items())))
    assert compared >= OTHERS_AT_LEAST[kind]
    assert not lost, "\n".join(lost)
