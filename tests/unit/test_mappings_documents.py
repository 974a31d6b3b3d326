"""Documents: status and availability, content, relations, and what a notification without content may change."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from fhir_rules import faults
from result_messages import PID, convert, of, resources

NUMBER = "D1^DIC^1.2.3.4^ISO"


def head(event: str) -> str:
    return rf"MSH|^~\&|DIC|LAB|EHR|LEE|20260105083000||MDM^{event}|1|P|2.5.1"


def txa(completion: str = "AU", availability: str = "AV", number: str = NUMBER, **fields: str) -> str:
    row = ["TXA", "1", "DS", "TX", *[""] * 25]
    row[12], row[17], row[19] = number, completion, availability
    for name, value in fields.items():
        row[int(name[1:])] = value
    return "|".join(row).rstrip("|")


def made(*segments: str, event: str = "T02") -> tuple[dict[str, Any], list[str]]:
    converted = convert(head(event), PID, *segments)
    assert faults(json.loads(converted.payload)) == []
    found = of("DocumentReference", converted)
    return (found[0] if found else {}), [f"{finding.code} {finding.where}" for finding in converted.findings]


def texts(document: dict[str, Any]) -> list[str]:
    return [base64.b64decode(part["attachment"]["data"]).decode() for part in document["content"]]


@pytest.mark.parametrize(
    ("said", "status"),
    [("AV", "current"), ("OB", "superseded"), ("CA", "entered-in-error"), ("UN", None), ("ZZ", None), ("", "current")],
)
def test_availability_is_the_status_and_never_a_better_one(said: str, status: str | None) -> None:
    found, findings = made(txa(availability=said))
    assert found.get("status") == status
    assert ("_status" in found) is (said not in ("AV", ""))
    assert findings == (["status_unknown TXA[1]-19"] if said == "ZZ" else [])


@pytest.mark.parametrize(
    ("said", "status", "kept"),
    [("AU", "final", False), ("LA", "final", True), ("DI", "preliminary", True), ("IN", "preliminary", True),
     ("IP", "preliminary", True), ("DO", "preliminary", True), ("PA", "preliminary", True), ("", None, False)],
)  # fmt: skip
def test_completion_is_the_document_status(said: str, status: str | None, kept: bool) -> None:
    found, _ = made(txa(completion=said))
    assert found.get("docStatus") == status
    assert ("_docStatus" in found) is kept


def test_a_cancelled_document_was_entered_in_error_whatever_else_it_says() -> None:
    found, _ = made(txa("LA", "AV"), event="T11")
    assert found["status"] == found["docStatus"] == "entered-in-error"


@pytest.mark.parametrize("event", ["T03", "T07"])
def test_a_notification_without_content_changes_states_only(event: str) -> None:
    converted = convert(head(event), PID, txa("LA", n22="7^Ochre^Lee^^^^^^LAB"))
    (binary,) = of("Binary", converted)
    (entry,) = (one for one in json.loads(converted.payload)["entry"] if one["request"]["method"] == "PATCH")
    assert entry["request"]["url"].startswith("DocumentReference/")
    patch = json.loads(base64.b64decode(binary["data"]))
    assert [change["path"] for change in patch] == ["/status", "/docStatus", "/_docStatus", "/authenticator"]
    assert {change["op"] for change in patch} == {"add"}


def test_a_change_with_content_writes_the_document_whole() -> None:
    found, _ = made(txa(), "OBX|1|TX|R^Report^L||All of it||||||F", event="T03")
    assert texts(found) == ["All of it"]


@pytest.mark.parametrize(("event", "code"), [("T05", "appends"), ("T06", "appends"), ("T10", "replaces")])
def test_addenda_and_replacements_name_their_parent(event: str, code: str) -> None:
    found, _ = made(txa(n13="D0^DIC^1.2.3.4^ISO"), event=event)
    (relation,) = found["relatesTo"]
    assert relation["code"] == code
    assert relation["target"]["identifier"] == {"system": "urn:oid:1.2.3.4", "value": "D0"}


def test_a_parent_without_such_an_event_is_only_related() -> None:
    found, _ = made(txa(n13="D0^DIC"))
    assert "relatesTo" not in found
    assert found["context"]["related"][0]["identifier"]["value"] == "D0"


def test_lines_of_one_text_are_joined_and_another_code_begins_another_part() -> None:
    lines = [f"OBX|{n}|TX|R^Report^L|{n}|{text}||||||F" for n, text in enumerate(("one", "", r"two \T\ three"), 1)]
    found, _ = made(txa(), *lines, "OBX|4|FT|C^Conclusion^L||End||||||F")
    assert texts(found) == ["one\n\ntwo & three", "End"]
    assert [part["attachment"]["title"] for part in found["content"]] == ["Report", "Conclusion"]


def test_what_is_no_document_or_was_taken_back_is_an_observation() -> None:
    taken_back = "OBX|2|TX|R^Report^L||Wrong patient||||||D"
    converted = convert(head("T02"), PID, txa(), "OBX|1|NM|P^Pulse^L||72||||||F", taken_back)
    (document,), observed = of("DocumentReference", converted), of("Observation", converted)
    assert [one["status"] for one in observed] == ["final", "entered-in-error"]
    assert len(document["context"]["related"]) == 2
    assert document["content"] == [{"attachment": {"contentType": "text/plain"}}]


def test_a_document_answers_the_order_of_its_numbers_among_those_of_the_message() -> None:
    orders = ("ORC|RE|P1|F1", "OBR|1|P1|F1|X^X-ray^L|||||||||||||||||||||F", "ORC|RE|P2|F2", "OBR|2|P2|F2|Y^CT^L")
    converted = convert(head("T02"), PID, *orders, txa(n14="P2", n15="F9"))
    assert not of("DiagnosticReport", converted)
    requests = {one["code"]["text"]: "ServiceRequest/" + one["id"] for one in of("ServiceRequest", converted)}
    related = of("DocumentReference", converted)[0]["context"]["related"]
    assert related[0] == {"reference": requests["CT"]}
    assert related[1]["identifier"]["value"] == "F9"
    assert len(related) == 2


def test_the_same_document_has_one_id_and_one_without_number_is_reported() -> None:
    assert made(txa())[0]["id"] == made(txa("LA"), event="T10")[0]["id"]
    found, findings = made(txa(number=""))
    assert findings == ["document_without_number TXA-12"]
    assert "masterIdentifier" not in found


def test_notes_and_who_typed_it_are_kept() -> None:
    typed = txa(n11="9^Typist^Tom", n21="Corrected", n8="20260105080000-0600")
    converted = convert(head("T02"), PID, typed, "OBX|1|ED|L^Letter^L||^TEXT^^A^Hi||||||F", "NTE|1||Mind the date")
    (document,), (provenance,) = of("DocumentReference", converted), of("Provenance", converted)
    assert document["extension"][-1]["valueAnnotation"] == {"text": "Mind the date"}
    assert provenance["recorded"] == "2026-01-05T08:00:00-06:00"
    assert provenance["reason"] == [{"text": "Corrected"}]
    assert provenance["agent"][0]["type"]["coding"][0]["code"] == "enterer"


def test_a_message_without_txa_keeps_its_texts() -> None:
    kinds = [one["resourceType"] for one in resources(convert(head("T02"), PID, "OBX|1|TX|R^Report^L||Text||||||F"))]
    assert kinds == ["Patient", "Observation"]
