"""Small synthetic result messages, and the resources that come out of them."""

from __future__ import annotations

import json
from typing import Any

from engine.formats.hl7v2 import read
from engine.model import Converted
from engine.ports import Conversion
from mappings.hl7v2_fhir import transaction
from mappings.lookup import CodeTables

TABLES = CodeTables()
CONTEXT = Conversion("unit", timezone="America/Chicago", sender="lab")
HEAD = r"MSH|^~\&|LIS|LAB|EHR|LEE|20260105083000||ORU^R01|1|P|2.5.1"
PID = "PID|1||100^^^INTERLOCK-TEST^MR||Marlowe^Iris"
OBR = "OBR|1|P1|F1^LAB|BMP^Panel^L|||20260105071500||||||||||||||||||F"


def convert(*segments: str, context: Conversion = CONTEXT) -> Converted:
    return transaction(read("\r".join(segments).encode() + b"\r"), TABLES, context)


def resources(made: Converted) -> list[dict[str, Any]]:
    """The resources, with numbers as the digits that were written."""
    bundle = json.loads(made.payload, parse_float=lambda digits: digits, parse_int=lambda digits: digits)
    return [entry["resource"] for entry in bundle["entry"]]


def of(kind: str, made: Converted) -> list[dict[str, Any]]:
    return [resource for resource in resources(made) if resource["resourceType"] == kind]


def result(obx: str, *more: str, context: Conversion = CONTEXT) -> tuple[dict[str, Any], list[str]]:
    """The first Observation of a message with this OBX, and the findings as "code where"."""
    made = convert(HEAD, PID, OBR, obx, *more, context=context)
    return of("Observation", made)[0], [f"{found.code} {found.where}" for found in made.findings]


def obx(
    kind: str = "NM", value: str = "4.10", unit: str = "", ranges: str = "", flags: str = "", status: str = "F"
) -> str:
    return f"OBX|1|{kind}|K^Potassium^L||{value}|{unit}|{ranges}|{flags}|||{status}"
