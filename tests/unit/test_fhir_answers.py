"""A verdict in FHIR's words: the responses of a Bundle, and OperationOutcomes with the codes of FHIR's own list."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine.connectors.fhir_outcomes import ISSUES
from engine.errors import Reply, Unreadable
from engine.formats.fhir import Fhir
from engine.formats.fhir.answers import _ISSUES
from engine.formats.fhir.shape import shape
from engine.model import Verdict, show_id

MESSAGE = 12345
TAKEN = Verdict(Reply.ACCEPT, message=MESSAGE)


def answered(message: Any, verdict: Verdict = TAKEN) -> dict[str, Any]:
    raw = message if isinstance(message, bytes) else json.dumps(message).encode()
    said = Fhir().answer(None, raw, verdict)
    assert said is not None
    assert shape(json.loads(said), "R4") == []
    return dict(json.loads(said))


@pytest.mark.parametrize("kind", ["transaction", "batch"])
def test_every_entry_has_its_response_in_its_place(kind: str) -> None:
    requests = [("POST", "Patient"), ("PUT", "Observation/o1"), ("PUT", "Patient?identifier=1"), ("DELETE", "List/1")]
    entries = [
        {"request": {"method": method, "url": url}}
        | ({"resource": {"resourceType": "Patient"}} if "P" in method else {})
        for method, url in requests
    ]
    said = answered({"resourceType": "Bundle", "type": kind, "entry": entries})
    name = show_id(MESSAGE)
    assert said["type"] == f"{kind}-response"
    assert [one["response"] for one in said["entry"]] == [
        {"status": "201 Created", "location": f"Patient/{name}-1"},
        {"status": "200 OK", "location": f"Observation/o1/_history/{name}"},
        {"status": "200 OK"},
        {"status": "204 No Content"},
    ]


def test_a_message_is_answered_with_the_id_and_event_that_it_answers() -> None:
    head = {"resourceType": "MessageHeader", "id": "h1", "eventUri": "urn:e", "source": {"endpoint": "urn:lab"}}
    said = answered({"resourceType": "Bundle", "type": "message", "entry": [{"resource": head}]})
    (entry,) = said["entry"]
    assert entry["resource"]["response"] == {"identifier": "h1", "code": "ok"}
    assert entry["resource"]["eventUri"] == "urn:e"


def test_a_single_resource_is_answered_with_the_message_that_it_became() -> None:
    said = answered({"resourceType": "Patient"})
    assert said["issue"][0]["details"]["text"] == f"accepted as message {show_id(MESSAGE)}"


@pytest.mark.parametrize(
    ("verdict", "code"),
    [
        (Verdict(Reply.ERROR, "store_unavailable", transient=True), "no-store"),
        (Verdict(Reply.ERROR, "channel_not_taking", transient=True), "transient"),
        (Verdict(Reply.REJECT, "too_large"), "too-long"),
        (Verdict(Reply.REJECT, "not_accepted"), "not-supported"),
        (Verdict(Reply.ERROR, "conflict", where="MSH-10"), "conflict"),
        (Verdict(Reply.REJECT, "whatever"), "business-rule"),
        (Verdict(Reply.ERROR, "whatever"), "processing"),
    ],
)
def test_a_refusal_has_the_code_that_fhir_has_for_it(verdict: Verdict, code: str) -> None:
    (issue,) = answered({"resourceType": "Patient"}, verdict)["issue"]
    assert (issue["severity"], issue["code"]) == ("error", code)


def test_every_code_of_ours_becomes_one_of_fhirs_closed_list() -> None:
    assert set(_ISSUES.values()) <= ISSUES


def test_what_cannot_be_read_is_answered_with_its_place() -> None:
    raw = b'{"resourceType":"Patient","id":"1","id":"2"}'
    with pytest.raises(Unreadable) as refused:
        Fhir().identify(raw)
    (issue,) = answered(raw, Verdict(Reply.ERROR, refused.value.code, refused.value.text, refused.value.where))["issue"]
    assert (issue["code"], issue["expression"]) == ("structure", ["Patient.id"])


def test_every_fault_of_the_shape_is_an_issue_of_its_own() -> None:
    message = {"resourceType": "Observation", "status": "final", "nonsense": 1}
    with pytest.raises(Unreadable) as refused:
        Fhir().identify(json.dumps(message).encode())
    assert (refused.value.code, refused.value.text) == (
        "not_valid", "checking the shape: a required element is missing, and 1 more",
    )  # fmt: skip
    said = answered(message, Verdict(Reply.ERROR, "not_valid", refused.value.text, refused.value.where))
    assert [(one["code"], one["expression"]) for one in said["issue"]] == [
        ("required", ["Observation.code"]), ("structure", ["Observation.nonsense"]),
    ]  # fmt: skip


def test_the_same_verdict_has_the_same_bytes() -> None:
    raw = b'{"resourceType":"Patient"}'
    assert Fhir().answer(None, raw, TAKEN) == Fhir().answer(None, raw, TAKEN)
