"""The path's verdict in FHIR's words: what a Bundle's sender expects entry by entry, else an OperationOutcome.

An entry says that the engine keeps it. The receiver's own ids are not known yet: what is created is named by the
message, and only what is put has the id that its sender gave it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from engine.errors import Reply
from engine.formats.fhir.bundles import Json, child, entries, objects, text
from engine.model import Finding, Verdict, show_id

#: Codes of ours as codes of FHIR's issue-type value set (R4, http://hl7.org/fhir/ValueSet/issue-type).
_ISSUES: Mapping[str, str] = {
    "not_json": "structure",
    "not_utf8": "structure",
    "doubled_name": "structure",
    "too_deep": "structure",
    "unreadable": "structure",
    "type_missing": "required",
    "not_valid": "invalid",
    "not_accepted": "not-supported",
    "too_large": "too-long",
    "wrong_environment": "forbidden",
    "no_agreement": "forbidden",
    "conflict": "conflict",
    "disk_full": "no-store",
    "store_unavailable": "no-store",
}
#: Where FHIR has what the store names as HL7 v2 does.
_PLACES: Mapping[str, str] = {"MSH-10": "Bundle.identifier"}
_ENTRY_STATUS: Mapping[str, str] = {"POST": "201 Created", "DELETE": "204 No Content"}


def issue_code(verdict: Verdict) -> str:
    """FHIR's code for what went wrong."""
    known = _ISSUES.get(verdict.code)
    if known is None:
        known = "transient" if verdict.transient else "business-rule" if verdict.reply is Reply.REJECT else "processing"
    return known


def answer(message: Json | None, verdict: Verdict, findings: Sequence[Finding] = ()) -> bytes:
    """The resource that answers a message; `message` is None where it could not be read."""
    if verdict.reply is not Reply.ACCEPT:
        return _refusal(verdict, findings)
    kind = text(message, "type") if message is not None and message.get("resourceType") == "Bundle" else ""
    if message is not None and kind in ("transaction", "batch"):
        return orjson.dumps({"resourceType": "Bundle", "type": f"{kind}-response", "entry": _entries(message, verdict)})
    if message is not None and kind == "message":
        return orjson.dumps(_message(message, verdict))
    return orjson.dumps(outcome(issue("information", "informational", f"accepted as message {_name(verdict)}")))


def outcome(*issues: Json) -> Json:
    """An OperationOutcome."""
    return {"resourceType": "OperationOutcome", "issue": list(issues)}


def issue(severity: str, code: str, words: str, place: str = "") -> Json:
    """One issue of an OperationOutcome; `place` is a path such as `Bundle.entry[3].resource.status`."""
    found: Json = {"severity": severity, "code": code, "details": {"text": words}}
    return found | {"expression": [place]} if place else found


def _refusal(verdict: Verdict, findings: Sequence[Finding]) -> bytes:
    code = issue_code(verdict)
    if findings:
        return orjson.dumps(outcome(*(issue("error", found.code, found.text, found.where) for found in findings)))
    words = ": ".join(part for part in (verdict.code, verdict.text) if part)
    return orjson.dumps(outcome(issue("error", code, words, _PLACES.get(verdict.where, verdict.where))))


def _name(verdict: Verdict) -> str:
    return show_id(verdict.message)


def _entries(message: Json, verdict: Verdict) -> list[Json]:
    """One response for every entry, in their order."""
    found = message.get("entry")
    sent = [each if isinstance(each, dict) else {} for each in found] if isinstance(found, list) else []
    return [_response(child(each, "request"), child(each, "resource"), verdict, at) for at, each in enumerate(sent, 1)]


def _response(request: Json, resource: Json, verdict: Verdict, at: int) -> Json:
    method, url = text(request, "method"), text(request, "url")
    response: dict[str, Any] = {"status": _ENTRY_STATUS.get(method, "200 OK")}
    if method == "POST" and (kind := text(resource, "resourceType")):
        response["location"] = f"{kind}/{_name(verdict)}-{at}"
    elif method == "PUT" and "?" not in url:
        response["location"] = f"{url}/_history/{_name(verdict)}"
    return {"response": response}


def _message(message: Json, verdict: Verdict) -> Json:
    """A message's response: its header, with the event and the id that it answers (R4 2.4.3)."""
    head = next((e.resource for e in entries(message) if e.resource.get("resourceType") == "MessageHeader"), {})
    event: Json = {name: head[name] for name in ("eventCoding", "eventUri", "event") if name in head}
    source = {"endpoint": text(next(iter(objects(head, "destination")), {}), "endpoint") or "urn:interlock:engine"}
    response = {"identifier": text(head, "id") or text(child(message, "identifier"), "value"), "code": "ok"}
    header: Json = {
        "resourceType": "MessageHeader",
        "id": _name(verdict),
        **event,
        "source": source,
        "response": response,
    }
    return {"resourceType": "Bundle", "type": "message", "entry": [{"resource": header}]}
