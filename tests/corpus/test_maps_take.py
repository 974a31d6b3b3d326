"""A field that a map claims is really taken: where it is emptied, something else comes out.

So a row of a map that documents a builder (`built`) cannot claim what the builder does not do. Each claimed field is
emptied in a few messages of the corpus that say something there; one of them must convert differently. Where none can,
because of what else they say, they are altered first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.errors import InterlockError
from engine.formats.hl7v2 import Message, read, split_batch
from engine.ports import Conversion
from mappings.hl7v2_fhir import transaction
from mappings.hl7v2_fhir.messages import SUPPORTED
from mappings.hl7v2_fhir.segment_maps import shipped
from mappings.hl7v2_fhir.structure import kind_of
from mappings.lookup import CodeTables

pytestmark = pytest.mark.corpus

TABLES = CodeTables()
OPTIONS = {"provenance": True}
CONTEXT = Conversion("corpus", timezone="America/Chicago", sender="corpus", options=OPTIONS)
TRIES = 12
LARGEST = 20_000
ALTERED: dict[str, dict[str, str]] = {
    **{f"{name}-2": {f"{name}-2": "D"} for name in ("AIG", "AIL", "AIP", "AIS", "ARV")},
    "AIS-10": {"SCH-25": ""},
    "DG1-21": {"DG1-21": "D"},
    "GT1-21": {"GT1-3": ""},
    "IAM-6": {"IAM-6": "D"},
    "IAM-24": {"IAM-13": ""},
    "MFE-1": {"MFE-1": "MDL"},
    "OBR-54": {"OBR-29": "", "ORC-8": ""},
    "ORC-14": {"OBR-17": ""},
    "PD1-12": {"PD1-12": "Y"},
    "PR1-20": {"PR1-20": "D"},
    "PRB-17": {"PRB-16": ""},
    "PRD-8": {"PRD-1": "CP"},
    "PRD-9": {"PRD-1": "CP"},
    "PRT-2": {"PRT-2": "DE"},
    "ROL-2": {"ROL-2": "DE"},
    "ROL-5": {"ROL-3": "AT"},
    "ROL-6": {"ROL-3": "AT"},
    "RXA-21": {"RXA-21": "D"},
    "RXA-26": {"MSH-9": "RAS^O17^RAS_O17"},
    "RXO-19": {"RXO-18": "5"},
    "SCH-25": {"AIS-10": ""},
    "TXA-3": {"OBX-2": "TX", "OBX-5": ""},
    "TXA-7": {"OBX-5": "", "TXA-8": ""},
    "VAR-2": {"VAR-3": "", "VAR-6": "late"},
}
"""What the messages must say otherwise before such a field matters.

A code that none of them has: that something is deleted, that it is protected, another role. Or nothing in the field
that comes first: the map takes this one only where the other one is empty.
"""
NOT_SEEN: dict[str, str] = {
    **dict.fromkeys(("AIS-4", "AIS-7", "AIS-8"), "the one message that has them says the times elsewhere too"),
    "MRG-5": "a visit is moved by events (A45) whose messages here have no MRG-5",
    "NTE-2": "lines of one source are one comment, and no message has two sources behind each other",
}
"""Claimed fields whose effect no message of the corpus can show, with the reason."""


@pytest.fixture(scope="module")
def samples(shared: Path) -> dict[tuple[str, int], list[Message]]:
    """By segment and field some messages that say something there, of as many kinds and values as there are."""
    claimed = {(name, field) for name, maps in shipped().items() for one in maps for field in one.fields}
    found: dict[tuple[str, int], dict[tuple[str, str], Message]] = defaultdict(dict)
    for message in _messages(shared / "corpus/hl7v2/open"):
        for name, row in zip(message.names, message.rows, strict=True):
            for field in range(1, len(row)):
                if row[field] not in ("", '""') and (name, field) in claimed:
                    found[name, field].setdefault((kind_of(message), row[field][:8]), message)
    return {key: list(messages.values()) for key, messages in found.items()}


def _messages(folder: Path) -> Iterator[Message]:
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or ".expected" in path.name or path.stat().st_size > LARGEST:
            continue
        try:
            for raw in split_batch(path.read_bytes()):
                message = read(raw)
                if kind_of(message) in SUPPORTED:
                    yield message
        except InterlockError:
            continue


def test_every_field_that_a_map_claims_changes_what_comes_out(samples: dict[tuple[str, int], list[Message]]) -> None:
    idle = []
    for (name, field), messages in sorted(samples.items()):
        tried = messages[:: max(1, len(messages) // TRIES)][:TRIES]
        if f"{name}-{field}" not in NOT_SEEN and not any(_matters(message, name, field) for message in tried):
            idle.append(f"{name}-{field}")
    print(f"\nclaimed fields tried: {len(samples)}")
    assert idle == []


def _matters(message: Message, name: str, field: int) -> bool:
    """True when the message converts differently without the field."""
    for where, value in ALTERED.get(f"{name}-{field}", {}).items():
        other, _, number = where.partition("-")
        message = read(_said(message, other, int(number), value))
    before = _converted(message.write())
    return before is not None and before != _converted(_said(message, name, field, ""))


def _converted(raw: bytes) -> bytes | None:
    try:
        return transaction(read(raw), TABLES, CONTEXT).payload
    except InterlockError:
        return None


def _said(message: Message, name: str, field: int, value: str) -> bytes:
    """The message with that value in that field of every segment of that name."""
    mark = message.separators.field
    lines = []
    for found, row in zip(message.names, message.rows, strict=True):
        cells = list(row)
        if found == name:
            cells += [""] * (field + 1 - len(cells))
            cells[field] = value
        lines.append(cells[0] + mark + mark.join(cells[2:]) if found == "MSH" else mark.join(cells))
    return "\r".join(lines).encode()


def test_no_exception_is_left_for_what_is_claimed_no_more() -> None:
    claimed = {f"{name}-{field}" for name, maps in shipped().items() for one in maps for field in one.fields}
    assert set(ALTERED) | set(NOT_SEEN) <= claimed
    assert not set(ALTERED) & set(NOT_SEEN)
