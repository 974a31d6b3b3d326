"""Codes of user-defined HL7 tables: a bare code that HL7 suggests for the table has that table's system and display.

A bare code that HL7 does not suggest stays without a system: it is a site's own, and nobody has said of which system.
"""

from __future__ import annotations

from mappings.hl7v2_fhir.datatypes.codes import concepts
from mappings.hl7v2_fhir.reading import Reading
from mappings.hl7v2_fhir.vocabulary import SUGGESTED, Json


def suggested(reading: Reading, raw: str, table: str) -> list[Json]:
    """Every repetition of a coded field whose definition names a user-defined table, such as `0023`."""
    return [_known(said, table) for said in concepts(reading, raw)]


def _known(said: Json, table: str) -> Json:
    codings = said.get("coding", ())
    if not codings or "system" in codings[0]:
        return said
    known = SUGGESTED.get(f"{table} {codings[0]['code']}")
    if known is None:
        return said
    shown = {**known, **codings[0]}
    text = {"text": said["text"]} if said.get("text") not in (None, codings[0]["code"]) else {}
    beside = {"extension": said["extension"]} if "extension" in said else {}
    return {**beside, "coding": [shown, *codings[1:]], **text}
