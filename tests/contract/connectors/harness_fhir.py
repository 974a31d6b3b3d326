"""FHIR over HTTP for the contract suite: the payloads are wrapped into transactions on their way."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from hashlib import sha256

from engine.connectors import fhir
from engine.errors import Weight
from engine.model import Outcome
from engine.ports import Destination, Sending, Source
from engine.wiring import DestinationSpec, SourceSpec

from . import harness_http
from .http_peer import answer

KIND = "application/fhir+json"


def bundle(*entries: str) -> bytes:
    """A transaction-response whose entries have these statuses."""
    responses = [{"response": {"status": status}} for status in entries]
    return json.dumps({"resourceType": "Bundle", "type": "transaction-response", "entry": responses}).encode()


def issue(code: str) -> bytes:
    """An OperationOutcome that says error."""
    problem = {"severity": "error", "code": code, "diagnostics": "names a patient"}
    return json.dumps({"resourceType": "OperationOutcome", "issue": [problem]}).encode()


TAKEN = answer("200 OK", bundle("200 OK", "201 Created"), KIND)  # both entries of `wrap`
SHOWS = {
    **harness_http.SHOWS,
    "take": TAKEN,
    "wait": TAKEN,
    "empty": answer("200 OK", b""),
    "empty object": answer("201 Created", b"{}"),
    "one entry of two": answer("200 OK", bundle("201 Created"), KIND),
    "entry refused": answer("200 OK", bundle("201 Created", "422 Unprocessable"), KIND),
    "entry busy": answer("200 OK", bundle("201", "503"), KIND),
    "entry without a status": answer("200 OK", bundle("200", ""), KIND),
    "entry busy and entry refused": answer("200 OK", bundle("503", "400"), KIND),
    "outcome invalid": answer("422 Unprocessable Content", issue("invalid"), KIND),
    "outcome in a 200": answer("200 OK", issue("processing"), KIND),
    "locked in a 200": answer("200 OK", issue("lock-error"), KIND),
    "no JSON": answer("200 OK", b"taken, thanks", "text/plain"),
    "no object": answer("200 OK", b"[]", KIND),
}
WEIGHTS = {
    **harness_http.WEIGHTS,
    **dict.fromkeys(("empty", "empty object", "one entry of two"), Weight.AMBIGUOUS),
    "entry refused": Weight.PERMANENT,
    "entry busy": Weight.TRANSIENT,
    "entry without a status": Weight.AMBIGUOUS,
    "entry busy and entry refused": Weight.PERMANENT,
    "outcome invalid": Weight.PERMANENT,
    "outcome in a 200": Weight.PERMANENT,
    "locked in a 200": Weight.TRANSIENT,
    "no JSON": Weight.AMBIGUOUS,
    "no object": Weight.AMBIGUOUS,
}


PATIENT = {"resourceType": "Patient", "id": "p1"}


def wrap(payload: bytes) -> bytes:
    """A transaction with these bytes in an Observation of their own, of the one patient that is in all of them."""
    key = sha256(payload).hexdigest()
    result = {"resourceType": "Observation", "id": key, "valueString": base64.b64encode(payload).decode()}
    entries = [
        {"resource": resource, "request": {"method": "PUT", "url": f"{resource['resourceType']}/{resource['id']}"}}
        for resource in (PATIENT, result)
    ]
    return json.dumps({"resourceType": "Bundle", "type": "transaction", "entry": entries}).encode()


def unwrap(body: bytes) -> bytes:
    """What `wrap` was given; GET requests carry nothing."""
    return base64.b64decode(json.loads(body)["entry"][1]["resource"]["valueString"]) if body else b""


def read_back(received: list[bytes], path: str) -> bytes:
    """What a server that took these transactions answers to a GET."""
    entries = (entry for body in received if body for entry in json.loads(body)["entry"])
    kept = {entry["request"]["url"]: entry["resource"] for entry in entries}
    resource = kept.get(path.removeprefix("/in/"))
    return (
        answer("404 Not Found", issue("not-found"), KIND)
        if resource is None
        else answer("200 OK", json.dumps(resource).encode(), KIND)
    )


class _Wrapping:
    """The destination, fed with the suite's payloads as FHIR."""

    def __init__(self, inner: Destination) -> None:
        self._inner = inner
        self.test = inner.test
        self.close = inner.close

    async def deliver(self, payload: bytes, sending: Sending) -> Outcome:
        return await self._inner.deliver(wrap(payload), replace(sending, content_type=KIND))

    async def ask(self, payload: bytes, sending: Sending) -> Outcome | None:
        return await self._inner.ask(wrap(payload), replace(sending, content_type=KIND))


class FhirSource(harness_http.HttpSource):
    name = "fhir"
    listen = "fhir+http://127.0.0.1:0/fhir"
    kind = KIND

    async def make(self, max_size: int, grace: str) -> Source:
        self.source = fhir.source("c", SourceSpec(self.listen, max_size=max_size, options={"grace": grace}))
        return self.source


class FhirDestination(harness_http.HttpDestination):
    name = "fhir"
    answers = WEIGHTS
    scheme = "fhir+http"

    def shows(self) -> dict[str, bytes]:
        return SHOWS

    def connect(self, spec: DestinationSpec) -> Destination:
        self.peer.read_back = read_back
        return _Wrapping(fhir.destination("c", spec))

    @property
    def received(self) -> list[bytes]:  # type: ignore[override]
        return [unwrap(body) for body in self.peer.received]

    @received.setter
    def received(self, value: list[bytes]) -> None:
        """The suite's base class begins with []; the peer keeps them."""


SOURCES = (FhirSource,)
DESTINATIONS = (FhirDestination,)
