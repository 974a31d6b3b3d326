"""The path's answer in the words of HTTP: a status and a body, as JSON or as HL7 v2.

2xx means that the sender may forget the message, and nothing else has class 2xx.
"""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from engine.connectors.advice import advice_for
from engine.connectors.http_connection import Request, Response
from engine.errors import Reply
from engine.model import Answer, Verdict, show_id

HL7_TYPES = frozenset({"application/hl7-v2", "x-application/hl7-v2+er7", "application/hl7-v2+er7"})
RETRY_AFTER = ("Retry-After: 5",)
_STATUSES: Mapping[str, int] = {"too_large": 413, "wrong_environment": 403, "refused": 403}
_TEXTS: Mapping[str, str] = {
    "unauthorized": "Send `Authorization: Bearer` with one of the channel's tokens.",
    "not_here": "This listener takes messages at the path of its channel only.",
    "method_not_allowed": "Send messages with POST.",
    "unsupported_type": "Send the message itself as the body, not encoded and not as a form.",
    "tokens_missing": "The listener's tokens cannot be read at the moment; send again later.",
    "cross_site": "A listener without a token takes nothing from web pages; set `token`.",
    "too_large": "Send less in one message, or ask for a larger `max_size`.",
    "request_timeout": "Send the whole request faster.",
}


def status_of(verdict: Verdict) -> int:
    """202; 503 for "send again later"; 400 for an error in the message; 403, 413 or 422 for what is never taken."""
    if verdict.reply is Reply.ACCEPT:
        return 202
    if verdict.transient:
        return 503
    return 400 if verdict.reply is Reply.ERROR else _STATUSES.get(verdict.code, 422)


def respond(answer: Answer, request: Request) -> Response:
    """The answer in the words of the request: HL7 v2 in, HL7 v2 out; JSON otherwise."""
    verdict = answer.verdict
    status = status_of(verdict)
    headers = RETRY_AFTER if status == 503 else ()
    if answer.payload is not None and request.content_type in HL7_TYPES:
        return Response(200 if status == 202 else status, answer.payload, request.content_type, headers)
    return Response(status, orjson.dumps(_json(verdict)), "application/json", headers)


def refusal(status: int, code: str) -> Response:
    """What the listener itself refuses, before the path has seen anything."""
    body = orjson.dumps({"error": code, "text": text_of(code)})
    return Response(status, body, "application/json", headers_of(status))


def text_of(code: str) -> str:
    """What a sender is told to do about a refusal of the listener's own."""
    return _TEXTS.get(code, "The request cannot be read as HTTP/1.1.")


def headers_of(status: int, allowed: str = "POST") -> tuple[str, ...]:
    """The header lines that belong to a refusal's status."""
    if status == 405:
        return (f"Allow: {allowed}",)
    return {401: ("WWW-Authenticate: Bearer",), 503: RETRY_AFTER}.get(status, ())


def _json(verdict: Verdict) -> dict[str, str | None]:
    message = show_id(verdict.message) if verdict.message else None
    if verdict.reply is Reply.ACCEPT:
        return {"message": message, "status": "accepted"}
    advice = advice_for(verdict.code)
    given = {"error": verdict.code, "text": verdict.text, "where": verdict.where, "advice": advice, "message": message}
    return {name: value for name, value in given.items() if value}
