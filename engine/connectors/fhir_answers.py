"""The path's answer as a FHIR server gives it: status, Location, and as much of a body as the sender prefers.

2xx means that the sender may forget the message: it is kept. Everything else is an OperationOutcome.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson

from engine.connectors.advice import advice_for
from engine.connectors.fhir_requests import Interaction, Refusal
from engine.connectors.http_answers import RETRY_AFTER, headers_of, status_of, text_of
from engine.connectors.http_connection import Request, Response
from engine.errors import Conflict, Reply
from engine.formats.fhir.answers import issue, outcome
from engine.model import Answer, Verdict, show_id

FHIR_JSON = "application/fhir+json"
#: Codes of FHIR's issue-type value set for statuses of ours.
_ISSUES: Mapping[int, str] = {
    400: "structure", 401: "login", 403: "forbidden", 404: "not-found", 405: "not-supported", 406: "not-supported",
    408: "timeout", 409: "conflict", 413: "too-long", 415: "not-supported", 422: "business-rule", 431: "too-long",
    503: "transient",
}  # fmt: skip
_TEXTS: Mapping[str, str] = {
    "not_here": "There is nothing here; GET metadata below the base says what there is.",
    "method_not_allowed": "This takes messages: create, update, transaction, batch and $process-message, nothing else.",
    "not_fhir_json": "Send FHIR as JSON in UTF-8: application/fhir+json, in the version that metadata states.",
    "only_json": "Answers are JSON only: ask for application/fhir+json.",
    "not_a_bundle": "Post a Bundle of type transaction or batch here, any other resource to its own type.",
    "not_a_message": "Post a Bundle of type message here.",
    "other_type": "The resource's type is not the one of the address.",
    "other_id": "The resource's id is not the one of the address; both must be there and equal.",
    "misplaced_bundle": "Post a transaction or a batch to the base, not to Bundle.",
    "bad_condition": "Write a condition as a search in ASCII, such as identifier=SYSTEM|VALUE.",
}


def refusal(refused: Refusal) -> Response:
    """What the listener itself refuses, before the path has seen anything."""
    words = _TEXTS.get(refused.code) or text_of(refused.code)
    body = orjson.dumps(outcome(issue("error", _ISSUES[refused.status], f"{refused.code}: {words}")))
    return Response(refused.status, body, FHIR_JSON, headers_of(refused.status, refused.allowed))


def respond(answer: Answer, asked: Interaction, request: Request, base: str) -> Response:
    """The answer to one interaction; `base` is the URL of the base, without a slash at its end."""
    verdict = answer.verdict
    if verdict.reply is not Reply.ACCEPT:
        status = 409 if verdict.code == Conflict.code else status_of(verdict)
        return Response(status, _negative(answer, status), FHIR_JSON, RETRY_AFTER if status == 503 else ())
    prefer = _preference(request)
    if asked.name in ("bundle", "message"):
        return Response(200, _of_bundle(answer, prefer), FHIR_JSON)
    status = 201 if asked.name == "create" else 200
    location = _location(asked, verdict, base)
    return Response(status, _of_one(answer, prefer, request), FHIR_JSON, (f"Location: {location}",) if location else ())


def _negative(answer: Answer, status: int) -> bytes:
    """The format's own words, else ours."""
    if _is_json(answer.payload):
        return answer.payload or b""
    verdict = answer.verdict
    parts = (verdict.code, verdict.text, verdict.where, advice_for(verdict.code))
    return orjson.dumps(outcome(issue("error", _ISSUES[status], ": ".join(part for part in parts if part))))


def _of_one(answer: Answer, prefer: str, request: Request) -> bytes:
    """Of one resource: nothing, the resource as it is kept, or in which message it is kept."""
    if prefer == "minimal":
        return b""
    if prefer == "representation":
        return request.body
    return orjson.dumps(outcome(_accepted(answer.verdict)))


def _of_bundle(answer: Answer, prefer: str) -> bytes:
    """Of a Bundle: the format's response, with an outcome in each entry where the sender prefers one."""
    if not _is_json(answer.payload):
        return orjson.dumps(outcome(_accepted(answer.verdict)))
    if prefer != "operationoutcome":
        return answer.payload or b""
    said: dict[str, Any] = orjson.loads(answer.payload or b"")
    for entry in said.get("entry", ()):
        if "response" in entry:
            entry["response"]["outcome"] = outcome(_accepted(answer.verdict))
    return orjson.dumps(said)


def _accepted(verdict: Verdict) -> dict[str, Any]:
    return issue("information", "informational", f"accepted as message {show_id(verdict.message)}")


def _is_json(payload: bytes | None) -> bool:
    return payload is not None and payload.lstrip()[:1] == b"{"


def _preference(request: Request) -> str:
    """What `Prefer: return=` asks for, in lower case."""
    for part in re.split(r"[;,]", request.headers.get(b"prefer", b"").decode("latin-1").lower()):
        name, _, value = part.strip().partition("=")
        if name == "return":
            return value.strip('"')
    return ""


def _location(asked: Interaction, verdict: Verdict, base: str) -> str:
    """Where the engine has it: [base]/[type]/[id]. What was created has the message's id; its receiver's is unknown."""
    name = show_id(verdict.message)
    if asked.name == "conditional update":
        return ""
    return (
        f"{base}/{asked.kind}/{asked.key}/_history/{name}" if asked.name == "update" else f"{base}/{asked.kind}/{name}"
    )
