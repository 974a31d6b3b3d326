"""The bytes whose hash says whether two FHIR messages have the same content.

Names are sorted and spaces left out; every number keeps its digits, so that 1.1 and 1.10 are two. What changes when the
same content is sent again is left out: a Bundle's id, identifier and timestamp, and every meta.lastUpdated.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import orjson

from engine.formats.fhir.bundles import Json, child

_VOLATILE = ("id", "identifier", "timestamp")


def canonical(message: Json) -> bytes:
    """The content of a message that was read."""
    content = _settled(message)
    if message.get("resourceType") == "Bundle":
        content = {name: value for name, value in content.items() if name not in _VOLATILE}
        if isinstance(message.get("entry"), list):
            content["entry"] = [_entry(entry) for entry in message["entry"]]
    return orjson.dumps(content, default=_number, option=orjson.OPT_SORT_KEYS)


def _entry(entry: Any) -> Any:
    if isinstance(entry, dict) and isinstance(entry.get("resource"), dict):
        return {**entry, "resource": _settled(entry["resource"])}
    return entry


def _settled(resource: Json) -> Json:
    """A resource without the time at which its sender last touched it."""
    meta = child(resource, "meta")
    if "lastUpdated" not in meta:
        return resource
    return {**resource, "meta": {name: value for name, value in meta.items() if name != "lastUpdated"}}


def _number(value: Any) -> orjson.Fragment:
    if not isinstance(value, Decimal):
        raise TypeError
    return orjson.Fragment(str(value))
