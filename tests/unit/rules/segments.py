"""Segments by field number, and what a message with them becomes: every bundle must follow FHIR's structure."""

from __future__ import annotations

from typing import Any

import orjson
from fhir_rules import faults
from result_messages import CONTEXT, HEAD, OBR, PID, convert, of

from engine.model import Converted
from engine.ports import Conversion


def segment(name: str, **fields: str) -> str:
    """A segment: `segment("OBR", n3="F1")` has F1 in OBR-3."""
    numbers = {int(number[1:]): text for number, text in fields.items()}
    return "|".join([name, *(numbers.get(n, "") for n in range(1, max(numbers, default=0) + 1))])


def obr(**fields: str) -> str:
    """An order with its numbers, test, time and final status."""
    usual = {"n2": "P1^LEE", "n3": "F1^LAB", "n4": "BMP^Panel^L", "n7": "20260105071500", "n25": "F"}
    return segment("OBR", **{**usual, **fields})


def obx(**fields: str) -> str:
    """A final number."""
    return segment("OBX", **{"n2": "NM", "n3": "K^Potassium^L", "n5": "4.10", "n11": "F", **fields})


def good(*segments: str, context: Conversion = CONTEXT) -> Converted:
    """What a message with its own header becomes."""
    made = convert(*segments, context=context)
    assert faults(orjson.loads(made.payload)) == []
    return made


def message(*segments: str, context: Conversion = CONTEXT) -> Converted:
    """What a message of one patient becomes."""
    return good(HEAD, PID, *segments, context=context)


def observations(*segments: str) -> list[dict[str, Any]]:
    """The Observations of one order."""
    return of("Observation", message(OBR, *segments))


def only(kind: str, made: Converted) -> dict[str, Any]:
    """The one resource of its type."""
    (found,) = of(kind, made)
    return found


def findings(made: Converted) -> list[str]:
    """The findings as `code where`."""
    return [f"{found.code} {found.where}" for found in made.findings]


def bundle(made: Converted) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(made.payload)
    return found


def urls(kind: str, made: Converted) -> list[str]:
    """Where the resources of a type are written."""
    every = [entry["request"]["url"] for entry in bundle(made)["entry"]]
    return [url for url in every if url.startswith(kind + "/")]


def value_of(kind: str, value: str, **fields: str) -> dict[str, Any]:
    """The value[x] of one result, and why there is none."""
    (found,) = observations(obx(n2=kind, n5=value, **fields))
    return {name: part for name, part in found.items() if name.startswith(("value", "_value", "dataAbsent", "compon"))}


def reports(kind: str, value: str) -> list[str]:
    return findings(message(obr(), obx(n2=kind, n5=value)))
