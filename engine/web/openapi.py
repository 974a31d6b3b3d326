"""The OpenAPI document of the HTTP API: what there is to ask and what comes back, for programs and for people.

Invariant: it describes every route and no other; a test validates real answers against it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine import __version__
from engine.search import MOST
from engine.search_terms import STATES, TERMS

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
WHOLE: Schema = {"type": "integer"}
FLAG: Schema = {"type": "boolean"}
ID: Schema = {
    "type": "string",
    "pattern": "^[0-9a-hjkmnp-tv-z]{13}$",
    "description": "An id: 13 characters, sorted by time.",
}
MOMENT: Schema = {"type": "integer", "description": "Microseconds since 1970, UTC."}
COUNTS: Schema = {"type": "object", "additionalProperties": WHOLE, "description": "Rows by state."}

_TERMS: Mapping[str, Schema] = {
    "channel": {**TEXT, "description": "The channel's name."},
    "type": {**TEXT, "description": "The message's type, such as ORU^R01, or ORU for all of them."},
    "control_id": {**TEXT, "description": "MSH-10."},
    "patient": {**TEXT, "description": "An identifier of the patient, without its authority."},
    "state": {"type": "string", "enum": list(STATES), "description": "Of the message or of one of its deliveries."},
    "since": {**TEXT, "description": "ISO 8601, or a span back from now such as 2h. Without any bound: the last day."},
    "until": {**TEXT, "description": "As since."},
    "limit": {"type": "integer", "minimum": 1, "maximum": MOST, "default": 100},
    "before": {**ID, "description": "`next` of the page before."},
}


def document() -> Schema:
    """The whole document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Interlock",
            "version": __version__,
            "description": "Ask what an engine took, where it went, and what waits. Every path needs the bearer"
            " token that the first start printed, except /healthz and /readyz.",
        },
        "security": [{"token": []}],
        "paths": _paths(),
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}, "schemas": _schemas()},
    }


def _paths() -> Schema:
    address_terms = [_query(name, _TERMS[name]) for name in TERMS if name != "patient"]
    body: Schema = {"type": "object", "additionalProperties": False, "properties": {n: _TERMS[n] for n in TERMS}}
    payloads = _query("payloads", {"type": "string", "enum": ["true", "false"], "default": "true"})
    trace = [{"name": "id", "in": "path", "required": True, "schema": ID}, payloads]
    return {
        "/healthz": {"get": {**_answers("The process answers.", _ref("Health"), token=False), "security": []}},
        "/readyz": {"get": {**_ready(), "security": []}},
        "/metrics": {"get": _answers("Counters and gauges in Prometheus' text format.", TEXT, kind="text/plain")},
        "/openapi.json": {"get": _answers("This document.", {"type": "object"})},
        "/v1/channels": {"get": _answers("Every channel: its state, counts and destinations.", _ref("Channels"))},
        "/v1/messages": {
            "get": {**_answers("Messages, newest first.", _ref("Messages"), 400), "parameters": address_terms}
        },
        "/v1/messages/search": {
            "post": {
                **_answers(
                    "The same, and by a patient's identifier, which stays out of addresses.", _ref("Messages"), 400, 413
                ),
                "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
            }
        },
        "/v1/messages/{id}": {
            "get": {**_answers("Everything about one message.", _ref("Trace"), 400, 404), "parameters": trace}
        },
    }


def _answers(
    summary: str, schema: Schema, *refusals: int, kind: str = "application/json", token: bool = True
) -> Schema:
    responses: Schema = {"200": {"description": summary, "content": {kind: {"schema": schema}}}}
    for status in (*((401,) if token else ()), *refusals):
        responses[str(status)] = _refusal(_REASONS[status])
    return {"summary": summary, "responses": responses}


def _ready() -> Schema:
    described = _answers("Messages may be sent here.", _ref("Readiness"), token=False)
    reasons = {"application/json": {"schema": _ref("Readiness")}}
    described["responses"]["503"] = {"description": "They may not, with the reasons.", "content": reasons}
    return described


_REASONS = {
    400: "A term is not known or cannot be read.",
    401: "The token is missing or wrong.",
    404: "Nothing has this id.",
    413: "The body is too large.",
}


def _refusal(description: str) -> Schema:
    return {"description": description, "content": {"application/json": {"schema": _ref("Error")}}}


def _query(name: str, schema: Schema) -> Schema:
    return {"name": name, "in": "query", "schema": schema}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(properties: Mapping[str, Schema], required: Sequence[str] | None = None, *, closed: bool = True) -> Schema:
    """An object; without `required` everything is. One that is not closed may gain fields."""
    names = list(properties) if required is None else list(required)
    return {"type": "object", "properties": dict(properties), "required": names, "additionalProperties": not closed}


def _list(schema: Schema) -> Schema:
    return {"type": "array", "items": schema}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _schemas() -> Schema:
    return {
        "Error": _object({"error": _object({"code": TEXT, "text": TEXT, "advice": TEXT})}),
        "Health": _object({"status": {"const": "ok"}, "version": TEXT}),
        "Readiness": _object({"ready": FLAG, "reasons": _list(TEXT)}),
        "Channels": _object({"channels": _list(_ref("Channel"))}),
        "Channel": _object(
            {
                **dict.fromkeys(("name", "title", "class", "environment", "address", "revision"), TEXT),
                "state": {"type": "string", "enum": ["started", "paused", "stopped"]},
                "counts": COUNTS,
                "destinations": _list(_ref("Destination")),
            },
            closed=False,
        ),
        "Destination": _object({"name": TEXT, "state": TEXT, "counts": COUNTS}, closed=False),
        "Messages": _object({"since": MOMENT, "next": _or_null(ID), "messages": _list(_ref("Message"))}),
        "Message": _object(
            {
                "id": ID,
                "received_at": MOMENT,
                **dict.fromkeys(("channel", "type", "state", "reason"), TEXT),
                "size": WHOLE,
                "original": _or_null(ID),
            },
            closed=False,
        ),
        "Trace": _trace(),
        "Event": _object({"writer": WHOLE, "seq": WHOLE, "at": MOMENT, "kind": TEXT, "details": {"type": "array"}}),
        "Delivery": _delivery(),
        "Attempt": _attempt(),
    }


def _trace() -> Schema:
    return _object(
        {
            "message": _ref("Message"),
            "raw": _or_null({**TEXT, "description": "What came in; null where nothing is kept or opened."}),
            "original": _or_null(_ref("Message")),
            "successors": _list(_ref("Message")),
            "deliveries": _list(_ref("Delivery")),
            "events": _list(_ref("Event")),
        }
    )


def _delivery() -> Schema:
    texts = dict.fromkeys(("channel", "destination", "rule", "state", "reason", "lane"), TEXT)
    return _object(
        {
            "id": ID,
            "message": ID,
            **texts,
            "seq": WHOLE,
            "attempts": {**WHOLE, "description": "Attempts spent against the limit."},
            "next_at": MOMENT,
            "changed_at": MOMENT,
            "tries": _list(_ref("Attempt")),
            "events": _list(_ref("Event")),
        },
        closed=False,
    )


def _attempt() -> Schema:
    texts = dict.fromkeys(("content_type", "revision", "tables"), TEXT)
    maybe = dict.fromkeys(("outcome", "code", "answer", "output"), _or_null(TEXT))
    return _object(
        {
            "id": ID,
            "number": WHOLE,
            "claimed_at": MOMENT,
            "settled_at": _or_null(MOMENT),
            **texts,
            **maybe,
            "repeats": _or_null(ID),
        },
        closed=False,
    )
