"""The OBX behind a TXA as attachments of the document: texts joined line by line, embedded and pointed-to documents.

Every such OBX is found in one attachment, or it is given back: a coded or numeric result, and one that was taken back,
is an Observation beside the document.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence

from mappings.hl7v2_fhir.datatypes.attachments import embedded, pointed
from mappings.hl7v2_fhir.datatypes.codes import coded
from mappings.hl7v2_fhir.datatypes.times import put_time
from mappings.hl7v2_fhir.datatypes.values import DOCUMENT_TYPES, TEXT_TYPES, text_of
from mappings.hl7v2_fhir.reading import Reading, compact
from mappings.hl7v2_fhir.structure import Result
from mappings.hl7v2_fhir.vocabulary import Json

_TAKEN_BACK = frozenset({"D", "W", "X"})


def attachments(reading: Reading, results: Sequence[Result]) -> tuple[list[Json], list[Result]]:
    """The attachments in the message's order, and the results that are none."""
    made: list[Json] = []
    others: list[Result] = []
    text: list[Result] = []
    for result in results:
        kind = reading.part(result.row[2])
        taken_back = reading.part(result.row[11]) in _TAKEN_BACK
        if kind in TEXT_TYPES and not taken_back:
            if text and coded(reading, text[-1].row[3]) != coded(reading, result.row[3]):
                made += _text(reading, text)
                text = []
            text.append(result)
            continue
        made += _text(reading, text)
        text = []
        if kind in DOCUMENT_TYPES and not taken_back:
            made += _documents(reading, result, kind)
        else:
            others.append(result)
    return made + _text(reading, text), others


def _text(reading: Reading, lines: Sequence[Result]) -> list[Json]:
    """Consecutive texts under one code as one text; an empty line stays one."""
    if not lines:
        return []
    text = text_of(reading, [value for line in lines for value in line.values])
    if not text:
        return []
    data = base64.b64encode(text.encode()).decode()
    return [_timed(reading, {"contentType": "text/plain", "data": data, "title": _title(reading, lines[0])}, lines[0])]


def _documents(reading: Reading, result: Result, kind: str) -> list[Json]:
    """ED and RP, each repetition an attachment."""
    made = []
    for raw in reading.repetitions(result.row[5]):
        if kind == "ED":
            found, good = embedded(reading, raw, _title(reading, result))
        else:
            found, good = pointed(reading, raw, _title(reading, result)), True
        if not good:
            reading.find("attachment_invalid", f"OBX[{result.number}]-5")
        title = _title(reading, result)
        if found or title:
            made.append(_timed(reading, found or {"title": title}, result))  # an empty document is still named
    return made


def _title(reading: Reading, result: Result) -> str:
    """The words of OBX-3."""
    text: str = coded(reading, result.row[3]).concept.get("text", "")
    return text


def _timed(reading: Reading, attachment: Json, result: Result) -> Json:
    put_time(reading, attachment, "creation", result.row[14], f"OBX[{result.number}]-14")
    return compact(attachment)
