"""Whatever a FHIR value holds, it is one leaf of the message: it makes no component, field, segment or message.

Texts are put into every place of synthetic resources at once, and parts of them are replaced by any JSON at all.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import Held
from engine.formats.hl7v2 import read, unescape
from engine.formats.hl7v2.lines import body
from engine.ports import Conversion
from mappings import fhir_hl7v2
from mappings.fhir_hl7v2.leaves import leaf
from mappings.lookup import CodeTables

FOLDER = Path(__file__).parents[1] / "golden" / "fhir_to_hl7v2"
TABLES = CodeTables()
CONTEXT = Conversion("property", timezone="UTC", sender="lee")
WITH_CWE = Conversion("property", timezone="UTC", sender="lee", options={"version": "2.7"})

MAKERS: dict[str, Callable[..., Any]] = {
    "oru": fhir_hl7v2.oru,
    "order": fhir_hl7v2.oml,
    "prescription": fhir_hl7v2.rde,
    "admission": fhir_hl7v2.adt,
    "merge": fhir_hl7v2.adt,
    "document": fhir_hl7v2.mdm,
    "vaccination": fhir_hl7v2.vxu,
}
INPUTS = {name: json.loads((FOLDER / f"{name}.json").read_bytes(), parse_float=Decimal) for name in MAKERS}

WORDS = frozenset({"text", "display", "family", "value", "city", "state", "postalCode", "country", "name", "title",
                   "description", "lotNumber", "valueString", "code", "version", "unit", "conclusion"})  # fmt: skip
"""Elements whose texts are replaced; `code` and `unit` only where no table decides on them."""
SEGMENTS = frozenset(
    {
        *("MSH", "EVN", "PID", "NK1", "PV1", "ORC", "OBR", "OBX"),
        *("NTE", "SPM", "TQ1", "RXE", "RXR", "RXA", "MRG", "TXA"),
    }
)
"""All that these inputs can have."""
LISTS = frozenset({"given", "prefix", "suffix", "line"})

HOSTILE = (
    "|^~\\&",
    "\r",
    "\n",
    "\r\nMSH|^~\\&|a|b|c|d|20260105||ADT^A23|1|P|2.5.1\rPID|1||9",
    "\x0b\x1c\r",
    "\x00",
    '""',
    "\\.br\\ \\X0D\\ \\F\\ \\E",
    "\\",
    "🩺\u2028\x85\ufeff",
    "\ud800",
    "\udfff|",
    "a" * 300 + "~" * 300,
)
texts = st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(exclude_categories=()), max_size=40))


@pytest.mark.parametrize("name", MAKERS)
@settings(max_examples=60, deadline=None)
@given(text=texts)
def test_a_text_makes_no_structure(name: str, text: str) -> None:
    try:
        hostile = made(name, CONTEXT, text)
    except Held:
        assert not text  # nothing is left of what the message needs
        return
    if text.strip():
        assert shape(hostile) == shape(made(name, CONTEXT, "x"))
    whole = hostile.decode("utf-8")  # no half character
    assert body(hostile) == (0, len(hostile))
    assert not set(whole) & {chr(n) for n in range(32)} - {"\r", "\t"}
    assert '""' not in {part for row in rows(hostile) for field in row for part in _leaves(field)}


@pytest.mark.parametrize("text", HOSTILE)
def test_a_text_comes_back(text: str) -> None:
    resource = {"resourceType": "Patient", "name": [{"family": text}], "identifier": [{"value": "1"}]}
    options = {"event": "A31"}
    message = read(fhir_hl7v2.adt(resource, TABLES, Conversion("p", options=options)).payload)
    name = message.get("PID-5.1.1") or ""
    assert name == text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_a_leaf_comes_back_and_holds_no_delimiter(text: str) -> None:
    written = leaf(text)
    assert unescape(written) == text
    assert not set(written) & set("|^~&\r\n\x0b\x1c")
    assert written != '""'


def test_a_text_of_five_megabytes_is_one_field() -> None:
    text = "MSH|^~\\&\r\n" * 500_000
    observation = {"resourceType": "Observation", "status": "final", "code": {"text": "T"}, "valueString": text}
    payload = fhir_hl7v2.oru(observation, TABLES, CONTEXT).payload
    assert [row[0] for row in rows(payload)] == ["MSH", "OBR", "OBX"]
    assert read(payload).get("OBX-5") == text


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.decimals() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(WORDS | LISTS)), inner),
    max_leaves=6,
)


@pytest.mark.parametrize("name", MAKERS)
@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_any_json_in_any_place_is_a_message_or_held(name: str, data: st.DataObject) -> None:
    parsed = copy.deepcopy(INPUTS[name])
    places = list(_places(parsed))
    for index in data.draw(st.lists(st.integers(0, len(places) - 1), min_size=1, max_size=4)):
        owner, key = places[index]
        owner[key] = data.draw(anything)
    try:
        payload = MAKERS[name](parsed, TABLES, data.draw(st.sampled_from([CONTEXT, WITH_CWE]))).payload
    except Held:
        return
    assert {row[0] for row in rows(payload)} <= SEGMENTS
    assert payload.startswith(b"MSH|^~\\&|") and payload.count(b"\rMSH") == 0


@pytest.mark.parametrize(
    "parsed", [None, [], "MSH|", 1, {}, {"resourceType": 1}, {"resourceType": "Bundle", "entry": 3}]
)
def test_what_is_no_resource_is_held(parsed: Any) -> None:
    with pytest.raises(Held) as raised:
        fhir_hl7v2.message(parsed, TABLES, CONTEXT)
    assert raised.value.code == "not_convertible"


def made(name: str, context: Conversion, text: str) -> bytes:
    """The message of an input in which every word is that text."""
    parsed = copy.deepcopy(INPUTS[name])
    _replace(parsed, text)
    payload: bytes = MAKERS[name](parsed, TABLES, context).payload
    return payload


def _replace(element: Any, text: str) -> None:
    for part in element if isinstance(element, list) else [element]:
        if not isinstance(part, dict):
            continue
        for key, value in part.items():
            if key in LISTS and isinstance(value, list):
                part[key] = [text] * len(value)
            elif isinstance(value, str) and key in WORDS and not _decided(part, key):
                part[key] = text
            else:
                _replace(value, text)


def _decided(part: dict[str, Any], key: str) -> bool:
    """A code that a table decides on, and the words that stand beside it; the type of a relation."""
    coded = str(part.get("system", "")).startswith(("http://terminology", "http://unitsofmeasure"))
    return (coded and key in ("code", "display")) or (key == "code" and "system" not in part) or key == "unit"


def rows(payload: bytes) -> list[list[str]]:
    return [line.split("|") for line in payload.decode().split("\r")[:-1]]


def shape(payload: bytes) -> list[tuple[str, int, int, int]]:
    """Each segment but notes: name, and how many fields, components and sub-components it has."""
    found = []
    for row in rows(payload):
        if row[0] not in ("NTE", "MSH"):
            inside = "|".join(row)
            found.append((row[0], len(row), inside.count("^") + inside.count("~"), inside.count("&")))
    return found


def _leaves(field: str) -> Iterator[str]:
    for repetition in field.split("~"):
        for component in repetition.split("^"):
            yield from component.split("&")


def _places(element: Any) -> Iterator[tuple[Any, Any]]:
    pairs = element.items() if isinstance(element, dict) else enumerate(element) if isinstance(element, list) else ()
    for key, value in list(pairs):
        yield element, key
        yield from _places(value)
