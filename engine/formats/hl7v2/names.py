"""Names of segments and fields as the standard gives them, by version: what a trace shows beside a path.

hl7apy is only the source of the tables; it is imported when the first name is asked for, never on the path.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

#: Versions that hl7apy has tables of, oldest first.
VERSIONS = ("2.1", "2.2", "2.3", "2.3.1", "2.4", "2.5", "2.5.1", "2.6", "2.7", "2.8", "2.8.1", "2.8.2")

_SMALL = frozenset({"of", "and", "the", "to", "for", "or", "in", "by", "on", "a", "an", "from", "with"})
_CAPITALS = frozenset({"ID", "DNA", "SSN", "HL7", "HCFA", "ICD", "DRG", "DOB", "UB82", "UB92", "VIP", "URL", "NDC"})


def nearest_version(version: str) -> str:
    """The version whose tables serve for a message that says `version`: itself, else the last one before it."""
    known = [v for v in VERSIONS if _number(v) <= _number(version)]
    return known[-1] if known else "2.5.1"


@lru_cache(maxsize=8192)
def field_name(version: str, segment: str, field: int) -> str:
    """What a field is called, e.g. `Observation Value` for OBX-5; empty when the version has no such field."""
    try:
        entry = _library(version).FIELDS[f"{segment}_{field}"]
    except KeyError:
        return ""
    return _readable(entry[3] or "")


@lru_cache(maxsize=2048)
def has_segment(version: str, segment: str) -> bool:
    """True when the version's tables have the segment."""
    return segment in _library(version).SEGMENTS


@lru_cache(maxsize=512)
def required_segments(version: str, structure: str) -> tuple[str, ...]:
    """Segments that every message of a structure, e.g. `ORU_R01`, has; empty when the version has no such one."""
    try:
        return tuple(dict.fromkeys(_required(_library(version).MESSAGES[structure])))
    except KeyError:
        return ()


def _required(reference: Any) -> Iterator[str]:
    """Names of required segments, of required groups also theirs."""
    for name, inner, (least, _), kind in reference[1]:
        if least and kind == "SEG":
            yield name
        elif least and reference[0] == "sequence":
            yield from _required(inner)


@lru_cache(maxsize=len(VERSIONS))
def _library(version: str) -> Any:
    """The tables of a version."""
    from importlib import import_module

    return import_module(f"hl7apy.v{nearest_version(version).replace('.', '_')}")


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) if part.isdigit() else 0 for part in version.strip().split("."))


def _readable(name: str) -> str:
    words = name.replace("_", " ").split()
    return " ".join(_word(word, first=i == 0) for i, word in enumerate(words))


def _word(word: str, *, first: bool) -> str:
    if word in _CAPITALS:
        return word
    return word.lower() if word.lower() in _SMALL and not first else word.capitalize()
