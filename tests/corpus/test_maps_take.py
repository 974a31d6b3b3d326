"""A field that a map claims is really taken: where it is emptied, something else comes out.

So a row of a map that documents a builder (`built`) cannot claim what the builder does not do. Each claimed field is
emptied in a few messages of the corpus that say something there; one of them must convert differently.
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
NOT_SEEN: dict[str, str] = {
    **dict.fromkeys(("AIG-2", "AIL-2", "AIP-2", "AIS-2"), "only D changes something, and no message has one"),
    **dict.fromkeys(("AIS-4", "AIS-7", "AIS-8", "AIS-10"), "TQ1 and SCH-25 of the same message say it already"),
    "MFE-1": "only MDL and MDC change something, and no message has one",
    "RXA-21": "only D changes something, and no message has one",
    "SCH-25": "it says what the event or AIS-10 says",
    "TXA-3": "each document has content, which says its own type",
    "TXA-7": "each document has content or times of edits",
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
    before = _converted(message.write())
    return before is not None and before != _converted(_emptied(message, name, field))


def _converted(raw: bytes) -> bytes | None:
    try:
        return transaction(read(raw), TABLES, CONTEXT).payload
    except InterlockError:
        return None


def _emptied(message: Message, name: str, field: int) -> bytes:
    """The message with that field empty in every segment of that name."""
    mark = message.separators.field
    lines = []
    for found, row in zip(message.names, message.rows, strict=True):
        cells = list(row)
        if found == name and field < len(cells):
            cells[field] = ""
        lines.append(cells[0] + mark + mark.join(cells[2:]) if found == "MSH" else mark.join(cells))
    return "\r".join(lines).encode()
