"""Every message of the corpus with what became of it: converted, refused with a reason, or a crash."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from engine.errors import InterlockError
from engine.formats.hl7v2 import read, split_batch
from engine.ports import Conversion
from mappings.hl7v2_fhir import transaction
from mappings.hl7v2_fhir.structure import kind_of
from mappings.lookup import CodeTables

TABLES = CodeTables()
CONTEXT = Conversion("corpus", timezone="America/Chicago", sender="corpus")
NO_CONVERSION = "not_convertible"
"""The code of a refusal because of the type of a message, which is no fault of it."""


@dataclass(frozen=True, slots=True)
class Made:
    """One message: `kind` is its type, `payload` its bundle; else `refused` or `crashed` says why there is none."""

    name: str
    kind: str
    raw: bytes = field(repr=False)
    payload: bytes = field(default=b"", repr=False)
    refused: str = ""
    crashed: str = ""

    @property
    def bundle(self) -> dict[str, Any]:
        """The bundle, parsed."""
        found: dict[str, Any] = json.loads(self.payload)
        return found


@cache
def conversions(shared: Path) -> tuple[Made, ...]:
    """What becomes of every message of the corpus, in the order of their names."""
    found = []
    for file in index(shared):
        name = file["path"].removeprefix("open/")
        raw = (shared / "corpus/hl7v2" / file["path"]).read_bytes()
        try:
            parts = split_batch(raw)
        except InterlockError as error:
            found.append(Made(name, "unread", raw, refused=f"{error.code} {error.where}"))
            continue
        found += [convert(name if len(parts) == 1 else f"{name}#{n}", part) for n, part in enumerate(parts, 1)]
    return tuple(found)


def index(shared: Path) -> list[dict[str, str]]:
    """The rows of the corpus' own index."""
    with (shared / "corpus/hl7v2/index.csv").open(newline="", encoding="utf-8") as file:
        return sorted(csv.DictReader(file), key=lambda row: row["path"])


def convert(name: str, raw: bytes) -> Made:
    """Convert one message; never raises."""
    kind = "unread"
    try:
        message = read(raw)
        kind = shown(kind_of(message))
        return Made(name, kind, raw, transaction(message, TABLES, CONTEXT).payload)
    except InterlockError as error:
        return Made(name, kind, raw, refused=f"{error.code} {error.where}".strip())
    except Exception as error:
        return Made(name, kind, raw, crashed=repr(error))


def shown(kind: str) -> str:
    """The type of a message as a report shows it: what is no three letters is `other`."""
    return kind if len(kind) == 3 and kind.isalpha() and kind.isupper() else "other"
