"""A channel's own segment maps: each replaces the shipped map of its file name, or is one more.

They come as texts with the channel, and the same texts are compiled once in each process.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from engine.errors import Configuration
from mappings.hl7v2_fhir.segment_maps import SegmentMap, compile_map, shipped

Maps = Mapping[str, tuple[SegmentMap, ...]]
"""Segment maps by segment."""

PYTHON = frozenset({"MSH", "NTE", "OBX", "OBR", "ORC", "SPM", "TXA", "RXO", "RXE", "RXD", "RXG", "RXA"})
"""Segments that groups and orders are made of: there is no place for one more map of them."""

_CHANNELS = 64


class SiteMaps(NamedTuple):
    """The maps of one channel: what is in force, what is more than the shipped ones, and the revision of each."""

    maps: Maps
    more: Maps
    revisions: Mapping[str, str]


def maps_of(own: Mapping[str, str]) -> SiteMaps:
    """The maps in force for a channel with these maps of its own, texts by file name.

    Raises:
        Configuration: file:line and what is wrong with one; a channel that was checked has none such.
    """
    return _compiled(tuple(sorted(own.items()))) if own else _shipped()


@lru_cache(maxsize=1)
def _shipped() -> SiteMaps:
    return SiteMaps(shipped(), {}, {})


@lru_cache(maxsize=_CHANNELS)
def _compiled(own: tuple[tuple[str, str], ...]) -> SiteMaps:
    maps, more = dict(shipped()), dict[str, tuple[SegmentMap, ...]]()
    revisions = {}
    for file, text in own:
        made = _compile(file, text)
        there = maps.get(made.segment, ())
        if any(one.name == made.name for one in there):
            maps[made.segment] = tuple(made if one.name == made.name else one for one in there)
        else:
            maps[made.segment] = (*there, made)
            more[made.segment] = (*more.get(made.segment, ()), made)
        revisions[f"maps/{file}"] = hashlib.sha256(text.encode()).hexdigest()[:12]
    return SiteMaps(maps, more, revisions)


def _compile(file: str, text: str) -> SegmentMap:
    """One map of a channel, which must be one that a conversion can use."""
    made = compile_map(Path(file), text)
    replaced = next((one for one in shipped().get(made.segment, ()) if one.name == made.name), None)
    advice = "docs/fhir.md says which maps a channel may have."
    if replaced is not None and replaced.documents:
        text = f"{made.name} only says what a builder makes of {made.segment}, and cannot be replaced"
        raise Configuration(text, where=f"{file}:1", advice=advice)
    if replaced is None and (made.segment in PYTHON or (made.segment in ("PID", "PV1") and not made.adds)):
        text = f"there is no place for one more map of {made.segment}"
        raise Configuration(text, where=f"{file}:1", advice=advice)
    return made


def check_maps(own: Mapping[str, str]) -> list[Configuration]:
    """The first fault of each of a channel's own maps; `where` is NAME.csv:LINE."""
    found = []
    for file, text in sorted(own.items()):
        try:
            _compile(file, text)
        except Configuration as error:
            found.append(error)
    return found
