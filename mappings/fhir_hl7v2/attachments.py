"""Attachment as ED or RP: the data as base64 exactly as it came, or a pointer.

Data that is not base64 is not written: a receiver could not read it, and it might not be what it says.
"""

from __future__ import annotations

import binascii

from mappings.fhir_hl7v2.leaves import joined, leaf, leaves
from mappings.fhir_hl7v2.values import NO_VALUE, Value
from mappings.fhir_hl7v2.writing import Json, Writing

#: Main types of HL7 table 0191 as versions before 2.5 name them; since then they are MIME's own (table 0834).
_OLD = {"application": "AP", "audio": "AU", "image": "IM", "text": "TEXT", "multipart": "multipart"}


def document(w: Writing, attachment: Json, title: str, where: str) -> Value:
    """One attachment as OBX-2 and OBX-5. `title` is what the result's code says already."""
    said = w.text(attachment, "title")
    main, sub = _media(w, attachment)
    w.skip(attachment, "size", "hash", "language")
    data = attachment.get("data")
    if isinstance(data, str) and data:
        w.skip(attachment, "data", "url")
        tight = "".join(data.split())
        if not _is_base64(tight):
            w.find("attachment_invalid", where)
            return NO_VALUE
        return Value("ED", joined(("", leaf(main), leaf(sub), "Base64", leaf(tight))))
    pointer = w.text(attachment, "url") or said.removeprefix(title).strip()
    return Value("RP", leaves((pointer, "", main, sub))) if pointer else NO_VALUE


def _media(w: Writing, attachment: Json) -> tuple[str, str]:
    """Type and subtype of the content."""
    main, _, sub = w.text(attachment, "contentType").partition(";")[0].strip().partition("/")
    if not w.options.since("2.5"):
        return _OLD.get(main, main), sub
    return main, sub


def _is_base64(data: str) -> bool:
    try:
        binascii.a2b_base64(data, strict_mode=True)
    except (ValueError, UnicodeEncodeError):
        return False
    return True
