"""The code maps read backwards: FHIR code to v2 code, made of the same tables as v2 to FHIR.

Invariant: no map is written twice. Where several v2 codes mean one FHIR code, choices.csv says which is written and
why; without a line there the table's first row counts, and a test asks for the line.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

from engine.errors import NotFound
from engine.model import Mapped
from engine.ports import Tables
from mappings.lookup import SHIPPED, CodeTables
from mappings.tables import Table, read_table

CHOICES = Path(__file__).with_name("choices.csv")
OWN_TABLES = Path(__file__).with_name("tables")

Inverse = Mapping[str, str]
"""FHIR code to v2 code; "" where no v2 code is certain."""


@cache
def choices() -> Mapping[tuple[str, str], str]:
    """What was chosen where several v2 codes mean one FHIR code: (table, FHIR code) to v2 code."""
    with CHOICES.open(newline="", encoding="utf-8") as file:
        return {(row["table"], row["code"]): row["v2"] for row in csv.DictReader(file)}


@cache
def inverse(name: str) -> Inverse:
    """A shipped table read backwards."""
    found: dict[str, str] = {}
    for local, code in forward(name).items():
        found.setdefault(code, local)
    found |= {code: v2 for (table, code), v2 in choices().items() if table == name}
    return MappingProxyType(found)


@cache
def forward(name: str) -> Mapping[str, str]:
    """A shipped table as it is: v2 code to FHIR code."""
    return {code: mapped.code for code, mapped in read_table(SHIPPED / f"{name}.csv").plain.items()}


@cache
def own(name: str) -> Mapping[str, str]:
    """A table of this direction only, from tables/ beside this file: FHIR code to v2 code."""
    return {code: mapped.code for code, mapped in read_table(OWN_TABLES / f"{name}.csv").plain.items()}


def reversed_lookup(tables: Tables, name: str, code: str, at: int) -> str:
    """A site's own table read backwards; the first row wins. "" where it has no such code.

    A table `NAME-to-v2` of the site is asked first: it may say what reading backwards cannot.
    """
    try:
        answer = tables.lookup(f"{name}-to-v2", code, at)
        if isinstance(answer, Mapped):
            return answer.code
    except NotFound:
        pass
    if not isinstance(tables, CodeTables):
        return ""
    try:
        return _backwards(tables.table(name)).get(code, "")
    except NotFound:
        return ""


def _backwards(table: Table) -> Mapping[str, str]:
    key = (table.name, table.revision)
    found = _reversed.get(key)
    if found is None:
        if len(_reversed) >= _REVERSED:
            _reversed.clear()
        found = _reversed[key] = {}
        for local, mapped in table.plain.items():
            found.setdefault(mapped.code, local.rpartition("|")[2])
    return found


_REVERSED = 64
_reversed: dict[tuple[str, str], dict[str, str]] = {}
