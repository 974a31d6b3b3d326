"""FHIR from anybody: whatever JSON comes, reading it gives an identity or a refusal, and never anything else."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.connectors.fhir_late import is_late, unfinished
from engine.connectors.fhir_outcomes import issue_of, refused_message
from engine.connectors.fhir_requests import Interaction, message_of
from engine.connectors.http_connection import Request
from engine.errors import Reply, Unreadable
from engine.formats.fhir import FACTS, Fhir, read
from engine.formats.fhir.shape import shape
from engine.model import Outcome, Verdict

NAMES = st.sampled_from(
    ["resourceType", "id", "meta", "tag", "identifier", "system", "value", "entry", "resource", "request", "subject",
     "reference", "link", "other", "type", "coding", "code", "source", "method", "url", "basedOn", "destination",
     "versionId", "issued", "status", "data", "contentType", "response", "issue", "severity", "comparator"]
)  # fmt: skip
WORDS = st.sampled_from(
    ["Bundle", "Patient", "Observation", "DiagnosticReport", "MessageHeader", "transaction", "PUT", "Patient/1",
     "replaces", "preliminary", "final", "error", "", "x"]
)  # fmt: skip
LEAVES = st.none() | st.booleans() | st.integers() | WORDS | st.decimals(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5), max_leaves=25
)
ELEMENTS = st.dictionaries(NAMES, VALUES, max_size=6)
RESOURCES = st.builds(dict, ELEMENTS, resourceType=WORDS | VALUES, status=WORDS | VALUES, meta=ELEMENTS)
ENTRIES = st.builds(dict, resource=RESOURCES | VALUES, request=ELEMENTS | VALUES, fullUrl=WORDS | VALUES)
BUNDLES = st.builds(
    dict, ELEMENTS, resourceType=st.just("Bundle"), type=WORDS | VALUES, entry=st.lists(ENTRIES | VALUES, max_size=3)
)
MESSAGES = RESOURCES | BUNDLES | ELEMENTS


def written(message: Any) -> bytes:
    return json.dumps(message, default=lambda number: float(number)).encode()


@given(MESSAGES)
def test_whatever_json_comes_is_identified_or_refused(message: dict[str, Any]) -> None:
    raw, fhir = written(message), Fhir(validate="off")
    try:
        found = fhir.identify(raw)
    except Unreadable as refused:
        assert refused.code
        return
    assert found.type
    assert all(isinstance(value, str) for name in FACTS for value in found.facts[name])
    assert fhir.canonical(raw) == fhir.canonical(written(dict(reversed(message.items()))))
    for reply in Reply:
        assert json.loads(fhir.answer(found, raw, Verdict(reply, "not_valid", message=1)) or b"")["resourceType"]


@given(MESSAGES)
def test_whatever_json_comes_is_checked_and_not_changed(message: dict[str, Any]) -> None:
    try:
        found = read(written(message))
    except Unreadable:
        return
    before = repr(found)
    for one in shape(found, "R4"):
        assert one.code and one.text
    assert repr(found) == before


@given(MESSAGES, st.sampled_from(["bundle", "message", "create", "update", "conditional update"]))
def test_whatever_is_posted_becomes_bytes_or_a_refusal(message: dict[str, Any], name: Any) -> None:
    raw = written(message)
    request = Request("POST", "/fhir", {b"if-none-exist": b"a=b"}, raw)
    kept = message_of(Interaction(name, str(message.get("resourceType")), "1"), request)
    assert not isinstance(kept, bytes) or raw in kept


@given(MESSAGES, MESSAGES)
def test_whatever_a_server_shows_is_late_or_not(sent: dict[str, Any], kept: dict[str, Any]) -> None:
    assert isinstance(unfinished(sent), list)
    assert is_late(sent, kept) in (True, False)


@given(MESSAGES | VALUES)
def test_whatever_a_server_answers_has_an_outcome(body: Any) -> None:
    taken = Outcome("HTTP 200")
    found = body if isinstance(body, dict) else {}
    assert refused_message(found, taken) is None or refused_message(found, taken) != taken
    assert isinstance(issue_of(body), str)


@given(st.binary(max_size=200))
def test_whatever_bytes_come_are_read_or_refused(raw: bytes) -> None:
    for tried in (raw, b'{"resourceType":"Patient","a":' + raw):
        try:
            read(tried)
        except Unreadable as refused:
            assert refused.code and "resourceType" not in refused.text


@given(st.decimals(allow_nan=False, allow_infinity=False, places=3))
def test_every_decimal_comes_through_as_it_was_written(number: Decimal) -> None:
    text = format(number, "f")
    raw = b'{"resourceType":"Observation","valueQuantity":{"value":%b}}' % text.encode()
    assert format(read(raw)["valueQuantity"]["value"], "f") == text


def test_the_laws_are_tried_on_messages_that_are_ones() -> None:
    with pytest.raises(Unreadable):
        read(written({"id": "1"}))
    assert read(written({"resourceType": "Bundle", "entry": [None, "x", {"resource": 7}]}))
