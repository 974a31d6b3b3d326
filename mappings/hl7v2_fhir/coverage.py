"""What became of every field of a message: mapped, dropped by a named rule, or unmapped. Nothing vanishes unseen.

The maps say which fields are mapped, also those of the builders in Python (`as` is `built` there); maps/dropped.csv
says which are left out, one field a row, and by which rule. Everything else is unmapped.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache

from engine.errors import Held
from engine.formats.hl7v2 import Message
from mappings.hl7v2_fhir.messages import ORDERS
from mappings.hl7v2_fhir.segment_maps import FOLDER, SegmentMap, shipped
from mappings.hl7v2_fhir.structure import MEDICATION, kind_of

COUNTED = ("OBX", "NTE", "SPM", "AL1", "DG1", "IN1", "NK1", "RXE")
"""Segments whose numbers a report says: as many must be found in what came out."""
_OPENING = frozenset({"OBR", "TXA", *MEDICATION})
"""Segments that become something only where the type of message has a builder for them."""
_SAYS_NOTHING = frozenset({"", '""'})
_DELIMITERS = {1, 2}  # of MSH, FHS and BHS


@dataclass(slots=True)
class Coverage:
    """Of one message: how many populated fields were mapped, dropped by which rule, and each that was not mapped."""

    mapped: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    unmapped: Counter[str] = field(default_factory=Counter)  # by field: `PID-31`
    segments: Counter[str] = field(default_factory=Counter)

    @property
    def populated(self) -> int:
        """How many fields say something."""
        return self.mapped + self.dropped.total() + self.unmapped.total()

    def line(self) -> dict[str, object]:
        """As one line of a report says it."""
        return {
            "populated": self.populated,
            "mapped": self.mapped,
            "dropped": dict(self.dropped),
            "unmapped": dict(self.unmapped),
            "segments": {name: self.segments[name] for name in COUNTED if name in self.segments},
        }


def coverage(message: Message, maps: Mapping[str, tuple[SegmentMap, ...]] | None = None) -> Coverage:
    """Account for every field of a message that is converted with these maps (the shipped ones)."""
    maps = shipped() if maps is None else maps
    builders = ORDERS.get(kind_of(message), {})
    found, left_out = Coverage(), dropped()
    for name, number in _populated(message, found.segments):
        where = f"{name}-{number}"
        if rule := left_out.get(where):
            found.dropped[rule] += 1
        elif _converted(name, builders) and any(number in one.fields for one in maps.get(name, ())):
            found.mapped += 1
        else:
            found.unmapped[where] += 1
    return found


def _populated(message: Message, segments: Counter[str]) -> Iterator[tuple[str, int]]:
    for name, row in zip(message.names, message.rows, strict=True):
        segments[name] += 1
        first = 3 if row[0] in ("MSH", "FHS", "BHS") else 1
        for number in range(first, len(row)):
            if row[number] not in _SAYS_NOTHING:
                yield name, number


def _converted(name: str, builders: Collection[str]) -> bool:
    if name not in _OPENING:
        return True
    return name in builders or (name in MEDICATION and not MEDICATION.isdisjoint(builders))


@cache
def dropped() -> Mapping[str, str]:
    """The fields that are left out on purpose, with the rule of each."""
    with (FOLDER / "dropped.csv").open(newline="", encoding="utf-8") as file:
        return {row["field"]: row["reason"] for row in csv.DictReader(file)}


def refuse_unmapped(message: Message, required: str, maps: Mapping[str, tuple[SegmentMap, ...]]) -> None:
    """Hold a message that says something in a required segment or field which no map takes.

    `required` names them with commas between: `OBX, ZPI-3`.

    Raises:
        Held: code `required_unmapped`, with the fields.
    """
    wanted = {name.strip() for name in required.split(",")}
    missing = [where for where in coverage(message, maps).unmapped if {where, where.partition("-")[0]} & wanted]
    if missing:
        raise Held(
            "a field that this destination requires has no map",
            code="required_unmapped",
            where=", ".join(missing),
            advice="Add a map for it to the channel's folder `maps`, or take it from `require`, then replay.",
        )
