"""ED and RP as Attachment: what is said to be base64 is base64, or it is kept as the text that came.

The data of a large document is checked once and copied as little as possible.
"""

from __future__ import annotations

import base64
import binascii

from mappings.hl7v2_fhir.reading import Reading, compact
from mappings.hl7v2_fhir.vocabulary import ATTACHMENT_TYPE, MEDIA_GROUP, Json

_PDF = "JVBERi0"  # base64 of %PDF-


def embedded(reading: Reading, raw: str, title: str) -> tuple[Json | None, bool]:
    """ED: source, type, subtype, encoding, data. The attachment, and whether it is encoded as it says."""
    parts = reading.parts(raw, 5)
    data = reading.component.join(parts[4:]).rstrip(reading.component)
    if reading.escape in data:
        data = reading.decode(data)
    if not data:
        return None, True
    encoded, good = _base64(data, reading.text(parts[3]).casefold())
    kind = _content_type(reading.text(parts[1]), reading.text(parts[2]), encoded) if good else "text/plain"
    return compact({"contentType": kind, "data": encoded, "title": title}), good


def pointed(reading: Reading, raw: str, title: str) -> Json | None:
    """RP: pointer, application, type, subtype. A pointer that is no URI is kept in the title."""
    parts = [reading.text(part) for part in reading.parts(raw, 4)]
    pointer = parts[0]
    if not pointer:
        return None
    kind = _content_type(parts[2], parts[3], "")
    if "://" in pointer and not any(character.isspace() for character in pointer):
        return compact({"contentType": kind, "url": pointer, "title": title})
    return compact({"contentType": kind, "title": f"{title} {pointer}".strip()})


def _base64(data: str, encoding: str) -> tuple[str, bool]:
    """The data as base64, and whether it was what `encoding` (HL7 table 0299) says."""
    if encoding == "base64":
        tight = "".join(data.split())
        try:
            binascii.a2b_base64(tight, strict_mode=True)
            return tight, True
        except ValueError:
            return _text(data), False
    if encoding == "hex":
        try:
            return base64.b64encode(bytes.fromhex(data)).decode(), True
        except ValueError:
            return _text(data), False
    return _text(data), encoding in ("", "a")


def _text(data: str) -> str:
    return base64.b64encode(data.encode()).decode()


def _content_type(group: str, subtype: str, data: str) -> str:
    """The MIME type that type and subtype (HL7 tables 0834 and 0291) name; "" when they name none."""
    for word in (subtype, group):
        if found := ATTACHMENT_TYPE.get(word.upper()):
            return found
    if "/" in group:
        return group.casefold()
    if data.startswith(_PDF):
        return "application/pdf"
    media = MEDIA_GROUP.get(group.upper(), "")
    return f"{media}/{subtype.casefold()}" if media and subtype.replace("-", "").isalnum() else ""
