"""HL7 v2 to HL7 v2: the message as its maps left it."""

from __future__ import annotations

from engine.formats.hl7v2 import Message
from engine.model import Converted
from engine.ports import Conversion, Tables

CONTENT_TYPE = "x-application/hl7-v2+er7"


def forward(parsed: Message, tables: Tables, context: Conversion) -> Converted:
    """The message itself: what no rule changed leaves byte for byte as it came."""
    return Converted(parsed.write(), CONTENT_TYPE)
