"""FHIR servers as destinations; their source is in fhir_source.py.

A Bundle counts as taken only when the server's own Bundle says so of every entry. What went wrong is told by the codes
of the issue (FHIR's closed list), never by its diagnostics, which may hold a patient's data.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson

from engine.connectors.fhir_late import is_late, may_be_late, unfinished
from engine.connectors.fhir_outcomes import incomplete, issue_of, refuse_for, refused_message, with_issue
from engine.connectors.fhir_source import SOURCE_KNOBS, source
from engine.connectors.http_caller import KNOBS, Caller, is_html
from engine.connectors.http_link import Reply
from engine.errors import Weight
from engine.knobs import Knob, read_options
from engine.model import Outcome
from engine.ports import Destination, Sending
from engine.wiring import DestinationSpec

__all__ = ["DESTINATION_KNOBS", "SOURCE_KNOBS", "FhirDestination", "destination", "source"]

DESTINATION_KNOBS = (
    *KNOBS,
    Knob(
        "late",
        "choice",
        "skip",
        "a preliminary report older than the final one that the server has: not written over it, or written",
        ("skip", "write"),
    ),
)
JSON = "application/fhir+json"
_ABSENT = Outcome("absent", Weight.TRANSIENT, detail="the server does not have all of it; send it again")
#: How a server answers a Bundle (FHIR R4, http.html#transaction-response).
_ANSWERS = frozenset({"transaction-response", "batch-response"})
#: Above so many resources a delivery in doubt is not asked for: it would take longer than a person.
_MOST_ASKED = 50
#: How our own conversions begin: to read no further saves most of what a delivery costs.
_PLAIN_BUNDLES = {b'{"resourceType":"Bundle","type":"%s"' % kind.encode(): kind for kind in ("transaction", "batch")}


def destination(channel: str, spec: DestinationSpec) -> Destination:
    """The destination of fhir+http(s)://host:port/base. Raises `Configuration`."""
    return FhirDestination(channel, spec)


class FhirDestination:
    """POSTs transactions and batches to the base, PUTs resources that have an id, POSTs those that have none."""

    def __init__(self, channel: str, spec: DestinationSpec) -> None:
        options = dict(spec.options)
        late = read_options({"late": options.pop("late", "skip")}, DESTINATION_KNOBS, f"{channel}, {spec.name}")
        self._skips_late = late["late"] == "skip"
        self._caller = Caller(channel, replace(spec, options=options), JSON)
        self._base, _, query = self._caller.target.path.rstrip("/").partition("?")
        self._query = f"?{query}" if query else ""

    async def deliver(self, payload: bytes, sending: Sending) -> Outcome:
        """One request; every entry of a Bundle's answer is judged."""
        if self._skips_late and may_be_late(payload) and await self._is_late(payload, sending):
            detail = "nothing was written: the server has the final report, issued after this preliminary one"
            return Outcome("superseded", level="application", detail=detail)
        if kind := _plain_kind(payload):
            reply = await self._caller.post(payload, sending, JSON)
        else:
            resource = read_object(payload)
            kind = _kind(resource or {})
            place = _place(resource) if resource is not None else None
            if place is None:
                detail = "the payload is not a FHIR resource in JSON; check `convert`"
                return Outcome("not_fhir", Weight.PERMANENT, detail=detail)
            reply = await self._caller.call(place[0], self._url(place[1]), JSON, payload, sending)
        return reply if isinstance(reply, Outcome) else self._judge(payload, kind, reply)

    async def ask(self, payload: bytes, sending: Sending) -> Outcome | None:
        """Read back every resource that was PUT by its id and compare it with what was sent.

        Only for what is taken whole or not at all: one resource, or a transaction. All equal: it is there. One that
        the server answers 404 for: it was never taken, and may be sent again. One that differs: the same, for a PUT
        may come twice. What is not PUT by id cannot be read back and may not come twice: then only 404 proves anything.
        """
        puts, others = _puts(read_object(payload) or {})
        if not 0 < len(puts) <= _MOST_ASKED:
            return None
        for sent in puts:
            path = self._url(f"/{sent['resourceType']}/{sent['id']}")
            reply = await self._caller.call("GET", path, "", b"", sending)
            if isinstance(reply, Outcome):
                return None
            if reply.status == 404 and not is_html(reply):
                return _ABSENT
            kept = read_object(reply.body) if reply.status == 200 else None
            if kept is None:
                return None
            if not others and not same(sent, kept):
                return _ABSENT
        return None if others else Outcome("present", level="application")

    async def test(self) -> str:
        """Connect without sending a request."""
        return await self._caller.reach()

    async def close(self) -> None:
        """Close every connection; what is outstanding is in doubt."""
        self._caller.close()

    async def _is_late(self, payload: bytes, sending: Sending) -> bool:
        """True when the server has something newer and final of each report; what it does not show is not late."""
        deciding = [one for one in unfinished(read_object(payload) or {}) if _place(one)]
        for sent in deciding:
            path = self._url(f"/{sent['resourceType']}/{sent['id']}")
            reply = await self._caller.call("GET", path, "", b"", sending)
            kept = read_object(reply.body) if isinstance(reply, Reply) and reply.status == 200 else None
            if kept is None or not is_late(sent, kept):
                return False
        return bool(deciding)

    def _url(self, place: str) -> str:
        return (self._base + place or "/") + self._query

    def _judge(self, payload: bytes, kind: str, reply: Reply) -> Outcome:
        """The status first, then what the body says beyond it. A positive status alone says "commit", not more."""
        outcome = self._caller.judge(reply)
        if outcome.code == "html_page":
            return outcome
        body = read_object(reply.body or b"{}")
        if not outcome.taken:
            return with_issue(outcome, body or {})
        if body is None:
            detail = "a positive status, but the body is not a JSON object"
            return Outcome("answer_unreadable", Weight.AMBIGUOUS, answer=reply.body, detail=detail)
        if body.get("resourceType") == "OperationOutcome" and (issue := issue_of(body)):
            return refuse_for(issue, outcome)
        if kind:
            return self._judge_bundle(payload, kind, body, outcome, reply.status)
        if failed := refused_message(body, outcome):
            return failed
        return outcome if body else replace(outcome, level="commit")

    def _judge_bundle(self, payload: bytes, kind: str, body: dict[str, Any], outcome: Outcome, status: int) -> Outcome:
        """A transaction or batch is taken when the server's Bundle says so for every entry.

        Without that Bundle only "202 Accepted", or a status that the channel itself calls taken, says that it is kept.
        """
        given = str(body.get("type")) if body.get("resourceType") == "Bundle" else ""
        entries = body.get("entry", []) if given in _ANSWERS else None
        if not isinstance(entries, list):
            promised = status == 202 or self._caller.declares(status)
            return replace(outcome, level="commit") if promised else incomplete(outcome)
        judged = self._judge_entries(outcome, entries)
        if judged.taken and (given != f"{kind}-response" or len(entries) != _sent(payload, entries)):
            return incomplete(outcome)
        return judged

    def _judge_entries(self, outcome: Outcome, entries: list[Any]) -> Outcome:
        """The heaviest entry decides: one permanent refusal must not be tried for ever."""
        worst: Outcome | None = None
        for number, entry in enumerate(entries, 1):
            response = entry.get("response") if isinstance(entry, dict) else None
            refusal = self._judge_entry(number, response if isinstance(response, dict) else {}, outcome.answer)
            if refusal is not None and (worst is None or refusal.weight is Weight.PERMANENT):
                worst = refusal
            if worst is not None and worst.weight is Weight.PERMANENT:
                break
        return worst or outcome

    def _judge_entry(self, number: int, response: dict[str, Any], answer: bytes) -> Outcome | None:
        """None when the entry was taken."""
        text = str(response.get("status", ""))[:3]
        if not (text.isascii() and text.isdigit() and len(text) == 3):
            detail = f"entry {number} of the answer has no status"
            return Outcome("answer_unreadable", Weight.AMBIGUOUS, answer=answer, detail=detail)
        weight = self._caller.weight(int(text))
        if weight is None:
            return None
        refusal = Outcome(f"HTTP {text}", weight, answer=answer, detail=f"entry {number} of the Bundle was refused")
        return with_issue(refusal, response.get("outcome"))


def _plain_kind(payload: bytes) -> str:
    """ "transaction" or "batch" where the first bytes say so, else ""."""
    return next((kind for beginning, kind in _PLAIN_BUNDLES.items() if payload.startswith(beginning)), "")


def _kind(resource: dict[str, Any]) -> str:
    """ "transaction" or "batch" for what is answered entry by entry, else ""."""
    kind = resource.get("type") if resource.get("resourceType") == "Bundle" else ""
    return str(kind) if kind in _PLAIN_BUNDLES.values() else ""


def _sent(payload: bytes, answered: list[Any]) -> int:
    """How many entries a Bundle has: counted where that agrees with the answer, else read."""
    if payload.count(b'"request":{') == len(answered):
        return len(answered)
    entries = (read_object(payload) or {}).get("entry")
    return len(entries) if isinstance(entries, list) else 0


def read_object(raw: bytes) -> dict[str, Any] | None:
    """The JSON object in these bytes, or None."""
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def same(sent: Any, kept: Any) -> bool:
    """True when a server kept what was sent. `meta` and `text` are the server's; it resolves urn: references."""
    if isinstance(sent, dict) and isinstance(kept, dict):
        if str(sent.get("reference", "")).startswith("urn:") and "reference" in kept:
            sent, kept = {**sent, "reference": ""}, {**kept, "reference": ""}
        names = (sent.keys() | kept.keys()) - {"meta", "text"}
        return all(name in sent and name in kept and same(sent[name], kept[name]) for name in names)
    if isinstance(sent, list) and isinstance(kept, list):
        return len(sent) == len(kept) and all(map(same, sent, kept))
    return type(sent) is type(kept) and bool(sent == kept)


def _place(resource: dict[str, Any]) -> tuple[str, str] | None:
    """Method and path below the base; None for what cannot be sent."""
    kind, key = resource.get("resourceType"), resource.get("id")
    if not _is_type(kind):
        return None
    if _kind(resource):
        return "POST", ""
    if kind == "Bundle" and resource.get("type") == "message":
        return "POST", "/$process-message"
    if key is None:
        return "POST", f"/{kind}"
    return ("PUT", f"/{kind}/{key}") if _is_id(key) else None


def _puts(resource: dict[str, Any]) -> tuple[list[dict[str, Any]], bool]:
    """The resources of what was sent that stand at addresses of their own, and whether there is anything beside them.

    None of a batch, which may be taken in part.
    """
    if resource.get("resourceType") != "Bundle":
        return ([resource] if (_place(resource) or ("", ""))[0] == "PUT" else []), False
    if resource.get("type") != "transaction":
        return [], False
    entries = resource.get("entry", ())
    puts = [entry["resource"] for entry in entries if _is_put(entry)]
    return puts, len(puts) < len(entries)


def _is_put(entry: dict[str, Any]) -> bool:
    """True for an entry that puts a resource at the address that its id says."""
    request, content = entry.get("request", {}), entry.get("resource", {})
    address = f"{content.get('resourceType')}/{content.get('id')}"
    return bool(request.get("method") == "PUT" and request.get("url") == address and _place(content))


def _is_type(value: Any) -> bool:
    return isinstance(value, str) and value.isascii() and value.isalpha() and len(value) <= 64


def _is_id(value: Any) -> bool:
    """FHIR's id: letters, digits, - and ., at most 64 of them (R4 2.24.0.1)."""
    if not isinstance(value, str) or not 1 <= len(value) <= 64 or value in {".", ".."}:
        return False
    return value.isascii() and value.replace("-", "").replace(".", "a").isalnum()
