"""As many AL1, DG1, IN1, NK1, RXE and SPM as a message has, as many resources are made of them, in every message.

Where the numbers may differ a rule says why, by what the segments say and never by the file:

* AL1, DG1: none; the same one twice is two, told apart by their number.
* IN1 that names no insurance (IN1-2 to 5 and 36 empty) becomes nothing: the rest is administration of one.
* NK1 that names nobody (NK1-2, 13 and 30 empty) is a contact only where it says how to reach somebody (pat-1).
  NK1 are counted as contacts of the Patient: all of them are, and not all of them are persons. Without a PID there is
  no Patient, and the RelatedPersons are counted.
* RXE: the MedicationRequests of its intents; RXO and RXG have others.
* SPM: the same number twice is one Specimen, unless the types differ; a request may say a specimen itself (OBR-9, 10,
  14, 15, 39).
  15, 39).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from engine.formats.hl7v2 import Message, read
from tests.corpus.conversions import Made, conversions
from tests.corpus.open_faults import judged

pytestmark = pytest.mark.corpus

Bounds = tuple[int, int]
"""How many resources at least and at most."""
Resources = list[dict[str, Any]]
Rows = list[tuple[str, ...]]

INTENTS = {"order", "filler-order"}
NAMED = {"IN1": (2, 3, 4, 5, 36), "NK1": (2, 13, 30)}
SOURCE = (9, 10, 14, 15, 39)


def test_every_segment_becomes_its_resource(shared: Path) -> None:
    converted = [made for made in conversions(shared) if made.payload]
    wrong = {made.name: found for made in converted if (found := miscounted(made))}
    seen = Counter(name for made in converted for name in set(read(made.raw).names) & COUNTS.keys())
    print(f"\nmessages with {dict(seen)}")
    assert all(seen[name] > 20 for name in COUNTS)
    assert judged("count", wrong, [made.name for made in converted]) == ""


def miscounted(made: Made) -> list[str]:
    """The segments of which there are more or fewer than what is made of them."""
    message = read(made.raw)
    resources = [entry["resource"] for entry in made.bundle["entry"]]
    return list(_miscounted(message, resources))


def _miscounted(message: Message, resources: Resources) -> Iterator[str]:
    for name, (bounds, count) in COUNTS.items():
        if rows := _rows(message, name):
            least, most = bounds(message, rows)
            if not least <= (there := count(resources)) <= most:
                yield f"{len(rows)} {name} became {there}, not {least} to {most}"


def _rows(message: Message, name: str) -> Rows:
    return [tuple(row) for found, row in zip(message.names, message.rows, strict=True) if found == name]


def _says(row: tuple[str, ...], fields: tuple[int, ...]) -> bool:
    return any(len(row) > field and row[field] not in ("", '""') for field in fields)


def _exactly(message: Message, rows: Rows) -> Bounds:
    return len(rows), len(rows)


def _named(message: Message, rows: Rows) -> Bounds:
    """Those that name somebody; at most all of them."""
    return sum(1 for row in rows if _says(row, NAMED[row[0]])), len(rows)


def _specimens(message: Message, rows: Rows) -> Bounds:
    """One a number, or one a number and type; at most one more a request that says a specimen itself."""
    numbers = {_number(message, row) for row in rows}
    typed = {(_number(message, row), row[4] if len(row) > 4 else "") for row in rows}
    return len(numbers), len(typed) + sum(1 for row in _rows(message, "OBR") if _says(row, SOURCE))


def _number(message: Message, row: tuple[str, ...]) -> str:
    """SPM-2: the filler's number, else the placer's, without the authority; the set id where there is none."""
    first = (row[2] if len(row) > 2 else "").split(message.separators.repetition or "\0")[0]
    placer, _, filler = first.partition(message.separators.component)
    return filler or placer or f"set id {row[1]}"


def _of(kind: str) -> Callable[[Resources], int]:
    return lambda resources: sum(1 for found in resources if found["resourceType"] == kind)


def _contacts(resources: Resources) -> int:
    patients = [found for found in resources if found["resourceType"] == "Patient"]
    return sum(len(found.get("contact", ())) for found in patients) if patients else _of("RelatedPerson")(resources)


def _orders(resources: Resources) -> int:
    return sum(1 for found in resources if found["resourceType"] == "MedicationRequest" and found["intent"] in INTENTS)


COUNTS: Mapping[str, tuple[Callable[[Message, Rows], Bounds], Callable[[Resources], int]]] = {
    "AL1": (_exactly, _of("AllergyIntolerance")),
    "DG1": (_exactly, _of("Condition")),
    "IN1": (_named, _of("Coverage")),
    "NK1": (_named, _contacts),
    "RXE": (_exactly, _orders),
    "SPM": (_specimens, _of("Specimen")),
}
"""By segment: how many there should be, and how many there are."""


@pytest.mark.parametrize(
    ("name", "kind", "extra"),
    [("AL1", "AllergyIntolerance", {}), ("DG1", "Condition", {}), ("IN1", "Coverage", {}), ("SPM", "Specimen", {}),
     ("RXE", "MedicationRequest", {"intent": "order"})],
)  # fmt: skip
def test_one_that_is_missing_or_invented_is_found(name: str, kind: str, extra: dict[str, str]) -> None:
    message = read(f"MSH|^~\\&|A|B|||20260105||ADT^A01|1|P|2.5\r{name}|1|X|Y|Z".encode())
    one = {"resourceType": kind, **extra}
    assert not list(_miscounted(message, [one]))
    assert list(_miscounted(message, []))
    assert list(_miscounted(message, [one, one]))


def test_a_contact_that_is_missing_or_invented_is_found() -> None:
    message = read(b"MSH|^~\\&|A|B|||20260105||ADT^A01|1|P|2.5\rPID|1\rNK1|1|Sample^Ada")
    assert not list(_miscounted(message, [{"resourceType": "Patient", "contact": [{}]}]))
    assert list(_miscounted(message, [{"resourceType": "Patient"}, {"resourceType": "RelatedPerson"}]))
    assert list(_miscounted(message, [{"resourceType": "Patient", "contact": [{}, {}]}]))
