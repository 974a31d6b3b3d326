"""What a result or a note says is somewhere in the bundle, whatever type of message it came in.

The cheapest strong law of a conversion: the text of every OBX-5 and NTE-3 is found again in some string of the bundle,
in a number, or in a document's data. `test_convert_corpus` asks more of results: that it is in the right place.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.formats.hl7v2 import Message, read
from tests.corpus.conversions import Made, conversions
from tests.corpus.open_faults import judged

pytestmark = pytest.mark.corpus

READ_OTHERWISE = {"TS", "DTM", "DT", "TM", "DR", "NA", "HD", "EI", "CX"}
"""Types of OBX-2 whose text FHIR writes in another way: they are compared where they are converted."""
WORDS = {
    **dict.fromkeys(("CE", "CWE", "CNE", "CF"), (0, 1, 3, 4, 8, 9, 10)),  # the others name code systems and versions
    "ED": (4,),
    "RP": (0,),
}
"""The components of OBX-5 whose text is kept as it came, where not all are."""
SHORTEST = 3
"""Shorter texts are found anywhere."""


def test_the_text_of_every_result_and_note_is_in_the_bundle(shared: Path) -> None:
    converted = [made for made in conversions(shared) if made.payload]
    lost = {made.name: found for made in converted if (found := vanished(made))}
    assert sum(1 for made in converted for _ in said(read(made.raw))) > 20_000
    assert judged("text", lost, [made.name for made in converted]) == ""


def vanished(made: Made) -> list[str]:
    """Where the message says something that its bundle does not."""
    there = haystack(made)
    return list(dict.fromkeys(where for where, text in said(read(made.raw)) if plain(text) not in there))


def said(message: Message) -> Iterator[tuple[str, str]]:
    """Where something is said, and what: every component of OBX-5 and every repetition of NTE-3."""
    counts = {"OBX": 0, "NTE": 0}
    for segment in message.segments:
        if segment.name not in counts:
            continue
        counts[segment.name] += 1
        field = 5 if segment.name == "OBX" else 3
        where = f"{segment.name}[{counts[segment.name]}]-{field}"
        kind = segment.components(2)[0] if field == 5 else ""
        if kind in READ_OTHERWISE:
            continue
        for repetition in segment.repetitions(field):
            parts = repetition.split(message.separators.component) if field == 5 else [repetition]
            split = [part for n, part in enumerate(parts) if n in WORDS.get(kind, (n,))]
            yield from ((where, text) for part in split if len(text := plain(message.decode(part))) >= SHORTEST)


def haystack(made: Made) -> str:
    """Everything that the bundle says, documents included, as one text."""
    return "\n".join(map(plain, strings(json.loads(made.payload, parse_float=str, parse_int=str))))


def strings(element: Any, name: str = "") -> Iterator[str]:
    """Every string of an element; of data also what it encodes."""
    if isinstance(element, dict):
        for key, value in element.items():
            yield from strings(value, key)
    elif isinstance(element, list):
        for value in element:
            yield from strings(value, name)
    elif isinstance(element, str):
        yield element
        if name == "data":
            yield decoded(element)


def decoded(data: str) -> str:
    """The text that base64 data encodes, as far as it is text."""
    try:
        return base64.b64decode(data, validate=True).decode("utf-8", "replace")
    except binascii.Error:
        return ""


def plain(text: str) -> str:
    """A text without what FHIR writes otherwise: blanks, signs and zeros before a number, control characters."""
    text = "".join(part for part in text if not part.isspace() and part.isprintable() and part != "\ufffd")
    number = text.lstrip("+").lstrip("0") if text.lstrip("+").replace(".", "", 1).isdigit() else text
    return number.rstrip(".") if number != text else text


def test_a_text_that_is_missing_is_found() -> None:
    there = plain("Blood \n culture")
    assert plain("Blood culture") in there
    assert plain("Urine") not in there
    assert plain("+007.50") in plain("7.50")
