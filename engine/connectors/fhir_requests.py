"""A FHIR request as a message: what is asked, and the bytes that are kept of it.

A body leaves here as it came. Only where the request says what the body does not (a condition, or that a resource with
an id is to be created) is the body set, byte for byte, into a transaction of one entry that says so in FHIR's words.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import parse_qs

import orjson

from engine.connectors.http_connection import Request

Name = Literal["metadata", "bundle", "message", "create", "update", "conditional update"]

_TYPE = re.compile(r"[A-Z][A-Za-z]{1,63}")
_ID = re.compile(r"[A-Za-z0-9.\-]{1,64}")
_BOM = b"\xef\xbb\xbf"
_JSON = frozenset({"application/fhir+json", "application/json", "application/json+fhir", "text/json", ""})
#: Values of `_format` that mean JSON (R4 3.1.0.1.11).
_JSON_FORMATS = frozenset({"json", "application/json", "application/fhir+json", "application/json+fhir", "text/json"})
_PROCESSED = frozenset({"transaction", "batch"})
_VERSIONS = {"R4": "4.0", "R5": "5.0", "STU3": "3.0"}
#: Methods by what an address is.
_ALLOWED = {"metadata": "GET", "base": "POST", "$process-message": "POST", "type": "POST, PUT", "instance": "PUT"}


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the listener refuses itself: an HTTP status, a code, and for 405 the methods that there are."""

    status: int
    code: str
    allowed: str = "POST"


@dataclass(frozen=True, slots=True)
class Interaction:
    """One of FHIR's interactions: its name, and the resource type and id of the address."""

    name: Name
    kind: str = ""
    key: str = ""


def interaction(method: str, below: str | None, query: str) -> Interaction | Refusal:
    """What a request asks for; `below` is the path below the base, None where it is elsewhere."""
    if below is None or (place := _place(below)) is None:
        return Refusal(404, "not_here")
    if method not in _ALLOWED[place].split(", ") or (method == "PUT" and place == "type" and not _condition(query)):
        return Refusal(405, "method_not_allowed", _ALLOWED[place])
    kind, _, key = below.partition("/")
    if place == "metadata":
        return Interaction("metadata")
    if place == "base":
        return Interaction("bundle")
    if place == "$process-message":
        return Interaction("message")
    if place == "instance":
        return Interaction("update", kind, key)
    return Interaction("create" if method == "POST" else "conditional update", kind)


def _place(below: str) -> str | None:
    if below in ("metadata", "$process-message"):
        return below
    kind, slash, key = below.partition("/")
    if not below:
        return "base"
    if not _TYPE.fullmatch(kind):
        return None
    if not slash:
        return "type"
    return "instance" if _ID.fullmatch(key) else None


def negotiated(request: Request, version: str) -> Refusal | None:
    """None where the body is JSON of the channel's version and JSON may be answered."""
    kind = request.headers.get(b"content-type", b"").decode("latin-1").lower()
    parameters = dict(part.strip().partition("=")[::2] for part in kind.split(";")[1:])
    stated = parameters.get("fhirversion", "").strip('"')
    if request.method != "GET" and (
        request.content_type not in _JSON
        or parameters.get("charset", "utf-8").strip('"') not in ("utf-8", "utf8")
        or (stated and not stated.startswith(_VERSIONS[version]))
        or b"content-encoding" in request.headers
    ):
        return Refusal(415, "not_fhir_json")
    return None if _takes_json(request) else Refusal(406, "only_json")


def _takes_json(request: Request) -> bool:
    """`_format` beats Accept; an Accept that names neither JSON nor everything takes no answer of ours."""
    wanted = parse_qs(request.query).get("_format")
    if wanted:
        return wanted[-1].partition(";")[0].strip().lower().replace(" ", "+") in _JSON_FORMATS
    accepted = request.headers.get(b"accept", b"").decode("latin-1").lower()
    kinds = {part.partition(";")[0].strip() for part in accepted.split(",")}
    return bool(kinds & {*_JSON, "*/*", "application/*", "text/*"})


def message_of(asked: Interaction, request: Request) -> bytes | Refusal:
    """The bytes to keep. What is no JSON goes on as it is: the path keeps it, and says what is wrong with it."""
    body = request.body
    try:
        resource = orjson.loads(body.removeprefix(_BOM))
    except orjson.JSONDecodeError:
        return body
    if not isinstance(resource, dict):
        return body
    if refusal := _misplaced(asked, resource):
        return refusal
    if asked.name in ("bundle", "message"):
        return body
    said = _said(asked, resource, request)
    if isinstance(said, Refusal):
        return said
    if not said:
        return body
    return b'{"resourceType":"Bundle","type":"transaction","entry":[{"resource":%b,"request":%b}]}' % (
        body.removeprefix(_BOM).strip(),
        orjson.dumps(said),
    )


def _misplaced(asked: Interaction, resource: dict[str, Any]) -> Refusal | None:
    """What does not belong at its address (R4 3.1.0.4, 3.1.0.8, 3.1.0.11)."""
    kind, bundle = resource.get("resourceType"), str(resource.get("type"))
    if asked.name == "bundle":
        return None if kind == "Bundle" and bundle in _PROCESSED else Refusal(400, "not_a_bundle")
    if asked.name == "message":
        return None if kind == "Bundle" and bundle == "message" else Refusal(400, "not_a_message")
    if kind != asked.kind:
        return Refusal(400, "other_type")
    if kind == "Bundle" and bundle in _PROCESSED:
        return Refusal(400, "misplaced_bundle")
    return Refusal(400, "other_id") if asked.name == "update" and resource.get("id") != asked.key else None


def _said(asked: Interaction, resource: dict[str, Any], request: Request) -> dict[str, str] | Refusal:
    """The entry.request that says what the body alone does not; empty where the body says it all."""
    unless = request.headers.get(b"if-none-exist", b"").decode("latin-1").strip().removeprefix("?")
    version = request.headers.get(b"if-match", b"").decode("latin-1").strip()
    if not (unless + version + request.query).isascii() or not (unless + version).isprintable():
        return Refusal(400, "bad_condition")
    if asked.name == "create" and (unless or "id" in resource):
        return {"method": "POST", "url": asked.kind} | ({"ifNoneExist": unless} if unless else {})
    if asked.name == "conditional update":
        return {"method": "PUT", "url": f"{asked.kind}?{_condition(request.query)}"}
    if asked.name == "update" and version:
        return {"method": "PUT", "url": f"{asked.kind}/{asked.key}", "ifMatch": version}
    return {}


def _condition(query: str) -> str:
    """A query without what only shapes the answer."""
    return "&".join(part for part in query.split("&") if part and not part.startswith(("_format=", "_pretty=")))
