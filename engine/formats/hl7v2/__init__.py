"""HL7 v2: an own lossless, lazy reader and writer, and what the path asks of a message.

Bytes that were not changed leave as they came.
"""

from engine.formats.hl7v2.batch import split_batch
from engine.formats.hl7v2.escapes import escape, unescape
from engine.formats.hl7v2.format import Hl7v2
from engine.formats.hl7v2.identity import FACTS
from engine.formats.hl7v2.message import Message, read
from engine.formats.hl7v2.paths import Path, parse_path
from engine.formats.hl7v2.segment import Row, Segment
from engine.formats.hl7v2.separators import STANDARD, Separators

__all__ = [
    "FACTS",
    "STANDARD",
    "Hl7v2",
    "Message",
    "Path",
    "Row",
    "Segment",
    "Separators",
    "escape",
    "parse_path",
    "read",
    "split_batch",
    "unescape",
]
