"""Names what stands in each field of an HL7 v2 message, so that a trace reads without the standard at hand.

Invariant: it shows every field that has something in it, once, as it came.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from engine.errors import Unreadable
from engine.formats.hl7v2 import Message, read
from engine.formats.hl7v2.names import field_name, nearest_version


@dataclass(frozen=True, slots=True)
class NamedField:
    """One field: where it stands ("OBX[2]-5"), what the standard calls it, and its text as it came."""

    path: str
    name: str
    value: str


def named_fields(raw: bytes) -> list[NamedField]:
    """Every field of an HL7 v2 message that is not empty; nothing when it is not such a message."""
    try:
        message = read(raw)
    except Unreadable:
        return []
    return _fields(message)


def _fields(message: Message) -> list[NamedField]:
    version = nearest_version(message.segments[0][12].split(message.separators.component)[0])
    seen: Counter[str] = Counter()
    found = []
    for segment in message.segments:
        seen[segment.name] += 1
        number = seen[segment.name]
        shown = segment.name if number == 1 else f"{segment.name}[{number}]"
        for n in range(1, len(segment)):
            if segment[n]:
                found.append(NamedField(f"{shown}-{n}", field_name(version, segment.name, n), segment[n]))
    return found
