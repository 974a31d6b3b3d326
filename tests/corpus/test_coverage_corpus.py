"""What becomes of every populated field of every message of the corpus that converts: at most 5 % are unmapped.

Run with `-s` to read the shares and what is unmapped, by field.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import InterlockError
from engine.formats.hl7v2 import read, split_batch
from mappings.hl7v2_fhir.coverage import Coverage, coverage
from mappings.hl7v2_fhir.messages import SUPPORTED
from mappings.hl7v2_fhir.structure import kind_of

pytestmark = pytest.mark.corpus

MOST_UNMAPPED = 0.05
SHOWN = 40


@pytest.fixture(scope="module")
def covered(shared: Path) -> dict[str, Coverage]:
    """By type of message, all its messages together."""
    found: dict[str, Coverage] = {}
    for path in sorted((shared / "corpus/hl7v2/open").rglob("*")):
        if path.is_file() and ".expected" not in path.name:
            _add(path, found)
    return found


def _add(path: Path, found: dict[str, Coverage]) -> None:
    try:
        messages = [read(raw) for raw in split_batch(path.read_bytes())]
    except InterlockError:
        return
    for message in messages:
        if (kind := kind_of(message)) in SUPPORTED:
            one, whole = coverage(message), found.setdefault(kind, Coverage())
            whole.mapped += one.mapped
            whole.dropped += one.dropped
            whole.unmapped += one.unmapped
            whole.segments += one.segments


def test_at_most_one_field_in_twenty_is_unmapped(covered: dict[str, Coverage]) -> None:
    whole = Coverage()
    print()
    for kind, one in sorted(covered.items()):
        _show(kind, one)
        whole.mapped += one.mapped
        whole.dropped += one.dropped
        whole.unmapped += one.unmapped
    _show("all", whole)
    print("dropped:", dict(whole.dropped.most_common()))
    print("unmapped:", dict(whole.unmapped.most_common(SHOWN)))
    assert whole.populated > 50_000
    assert whole.unmapped.total() / whole.populated <= MOST_UNMAPPED


def _show(kind: str, one: Coverage) -> None:
    shares = (one.mapped, one.dropped.total(), one.unmapped.total())
    said = "  ".join(f"{share / one.populated:7.2%}" for share in shares)
    print(f"{kind:4} {one.populated:7} fields: mapped, dropped, unmapped {said}")
