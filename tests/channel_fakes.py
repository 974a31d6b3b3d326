"""Parts that channels in the tests name: a connector, a format, converters and predicates, right and wrong."""

from __future__ import annotations

import json
from typing import Any

from engine.errors import Configuration, Held
from engine.knobs import Knob
from engine.model import Converted, Finding, Identity

FACTS = {"type": "message type", "abnormal": "abnormal flags", "patient_class": "patient class"}

SOURCE_KNOBS = (Knob("idle_timeout", "duration", "10m", "Closes a silent connection."),)
DESTINATION_KNOBS = (
    Knob("tls_ca", "file", "", "Whom to trust."),
    Knob("password", "text", "", "A reference to the password."),
)


class Format:
    """Enough of a format to be found by its kind."""

    kind = "hl7v2"


def source(channel: str, spec: Any) -> Any:
    if "nowhere" in spec.listen:
        raise Configuration("reading `listen`: nobody can listen there", advice="Listen here.")
    return ("source", channel, spec)


def destination(channel: str, spec: Any) -> Any:
    return ("destination", channel, spec)


def convert(parsed: Any, tables: Any, context: Any) -> Converted:
    return Converted(b"")


def convert_too_short(parsed: Any) -> Converted:
    return Converted(b"")


async def convert_later(parsed: Any, tables: Any, context: Any) -> Converted:
    return Converted(b"")


def wanted(identity: Identity) -> bool:
    return True


NOT_A_FUNCTION = 7


def as_json(parsed: Any, tables: Any, context: Any) -> Converted:
    """Three facts of the message, so that a test sees what the conversion was given."""
    if parsed.get("OBX-3.1") == "HOLD":
        raise Held("a code that must wait", code="unmapped")
    if parsed.get("OBX-3.1") == "CRASH":
        raise KeyError("a value that must not be told")
    body = {"code": parsed.get("OBX-3.1"), "value": parsed.get("OBX-5"), "at": context.received_at}
    findings = (Finding("unmapped", "OBX-3"),) if parsed.get("OBX-3.3") != "LN" else ()
    number = f"{parsed.get('OBX-5')}"
    return Converted(json.dumps(body).replace(f'"{number}"', number).encode(), "application/json", findings)


def inpatient(identity: Identity) -> bool:
    """Wanted for inpatients; a broken predicate for patient class X."""
    if "X" in identity.facts.get("patient_class", ()):
        raise RuntimeError("broken")
    return "I" in identity.facts.get("patient_class", ())


def to_loinc(parsed: Any, rules: Any, tables: Any, at: int) -> Any:
    """Stands in for `[[map]]`: potassium is known, everything else is not."""
    for rule in rules:
        if parsed.get(f"{rule.field}.1") == "K":
            parsed.set_raw(rule.field, "2823-3^Potassium^LN^K^Kalium^L")
    return parsed, (), {}
