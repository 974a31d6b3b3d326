"""Two simulated EHRs: one takes FHIR transactions, one takes HL7 v2 over MLLP. Both count, go down and come back.

They keep what they took across an outage, as an EHR does: only its network is gone.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Iterable
from typing import Any, Protocol, cast

import httptools
import orjson

from engine.bench.messages import END, START

_FHIR = b"application/fhir+json"
_REASONS = {200: b"OK", 201: b"Created", 400: b"Bad Request", 404: b"Not Found", 405: b"Method Not Allowed"}


class Ehr:
    """What both have in common: a listener that can go down and come back on the same port."""

    def __init__(self, name: str, host: str = "127.0.0.1", port: int = 0) -> None:
        self.name, self.host, self.port = name, host, port
        self.up = False
        self.transports: set[asyncio.Transport] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> int:
        """Listen; after an outage on the same port. Returns the port."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: self._protocol(), self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        self.up = True
        return self.port

    def go_down(self) -> None:
        """Stop listening and drop every connection, answered or not. Safe to call twice."""
        self.up = False
        if self._server:
            self._server.close()
            self._server = None
        for transport in tuple(self.transports):
            transport.abort()

    def _protocol(self) -> asyncio.Protocol:
        raise NotImplementedError


class _Keeps(Protocol):
    """What a connection needs of its EHR."""

    transports: set[asyncio.Transport]


class _Connection(asyncio.Protocol):
    """A connection that its EHR can drop."""

    def __init__(self, ehr: _Keeps) -> None:
        self._transports = ehr.transports

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be known to the EHR."""
        self.transport = cast(asyncio.Transport, transport)
        self._transports.add(self.transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Be forgotten by the EHR."""
        self._transports.discard(self.transport)


class MllpEhr(Ehr):
    """Takes every frame, answers AA, and remembers control ids in the order of arrival."""

    def __init__(self, name: str = "MLLP EHR", host: str = "127.0.0.1", port: int = 0) -> None:
        super().__init__(name, host, port)
        self.arrived: list[str] = []

    def counts(self) -> Counter[str]:
        """How often each control id arrived."""
        return Counter(self.arrived)

    def take(self, payload: bytes) -> bytes:
        """Keep one message and say so in its own words."""
        fields = payload.partition(b"\r")[0].split(b"|")
        control_id = fields[9]
        self.arrived.append(control_id.decode())
        head = rb"MSH|^~\&|EHR|INTERLOCK-TEST|LAB|INTERLOCK-TEST|20250611120000+0000||ACK^R01^ACK|"
        return head + control_id + b"|T|2.5.1\rMSA|AA|" + control_id + b"\r"

    def _protocol(self) -> asyncio.Protocol:
        return _MllpConnection(self)


class _MllpConnection(_Connection):
    def __init__(self, ehr: MllpEhr) -> None:
        super().__init__(ehr)
        self.ehr = ehr
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        *frames, self.buffer = (self.buffer + data).split(END)
        for frame in frames:
            self.transport.write(START + self.ehr.take(frame.lstrip(START)) + END)


class FhirEhr(Ehr):
    """A FHIR server in memory: transactions, PUT and GET by type and id, a CapabilityStatement."""

    def __init__(self, name: str = "FHIR EHR", host: str = "127.0.0.1", port: int = 0) -> None:
        super().__init__(name, host, port)
        self.resources: dict[str, dict[str, Any]] = {}
        self.versions: Counter[str] = Counter()
        self.transactions = 0
        self._ids = itertools.count(1)

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        """The current version of every resource of a type."""
        return [resource for place, resource in self.resources.items() if place.startswith(kind + "/")]

    def handle(self, method: str, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        """One request: status and the resource that answers it."""
        place = path.removeprefix("/fhir").strip("/")
        if method == "GET":
            return self._read(place)
        if method not in ("PUT", "POST") or (method == "PUT" and not place):
            return 405, _issue("not-supported")
        try:
            resource = orjson.loads(body)
        except orjson.JSONDecodeError:
            return 400, _issue("structure")
        if not place:
            return self._transaction(resource)
        place = self._put(method, place, resource)
        return (201 if self.versions[place] == 1 else 200), resource

    def _read(self, place: str) -> tuple[int, dict[str, Any]]:
        if place == "metadata":
            return 200, {"resourceType": "CapabilityStatement", "status": "active", "fhirVersion": "4.0.1"}
        if place in self.resources:
            return 200, self.resources[place]
        return 404, _issue("not-found")

    def _transaction(self, bundle: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """All entries or none: a fault is found before anything is kept."""
        entries = bundle.get("entry", [])
        if bundle.get("type") != "transaction" or not all("request" in e and "resource" in e for e in entries):
            return 400, _issue("invalid")
        self.transactions += 1
        answers = []
        for entry in entries:
            place = self._put(entry["request"]["method"], entry["request"]["url"], entry["resource"])
            version = self.versions[place]
            status = "201 Created" if version == 1 else "200 OK"
            answers.append({"response": {"status": status, "location": f"{place}/_history/{version}"}})
        return 200, {"resourceType": "Bundle", "type": "transaction-response", "entry": answers}

    def _put(self, method: str, url: str, resource: dict[str, Any]) -> str:
        """Keep a resource under the id it was PUT to; one that is POSTed or PUT conditionally finds or gets its own."""
        kind, _, identifier = url.partition("/")
        place = url if method == "PUT" and identifier else self._find(kind, resource)
        self.resources[place] = resource
        self.versions[place] += 1
        return place

    def _find(self, url: str, resource: dict[str, Any]) -> str:
        """The place of the resource with an equal identifier, else a new one."""
        kind, wanted = url.partition("?")[0], _identifiers(resource)
        for place, known in self.resources.items():
            if place.startswith(kind + "/") and wanted & _identifiers(known):
                return place
        return f"{kind}/{next(self._ids)}"

    def _protocol(self) -> asyncio.Protocol:
        return _HttpConnection(self)


class _HttpConnection(_Connection):
    """HTTP/1.1 with keep-alive; httptools reads it."""

    def __init__(self, ehr: FhirEhr) -> None:
        super().__init__(ehr)
        self.ehr = ehr
        self.parser = httptools.HttpRequestParser(self)
        self.url, self.body = b"", bytearray()

    def data_received(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.abort()

    def on_message_begin(self) -> None:
        self.url, self.body = b"", bytearray()

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        path = httptools.parse_url(self.url).path.decode()
        status, resource = self.ehr.handle(self.parser.get_method().decode(), path, bytes(self.body))
        body = orjson.dumps(resource)
        head = b"HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n"
        self.transport.write(head % (status, _REASONS[status], _FHIR, len(body)) + body)


def _identifiers(resource: dict[str, Any]) -> set[tuple[str, str]]:
    given: Iterable[dict[str, str]] = resource.get("identifier") or ()
    given = [given] if isinstance(given, dict) else given
    return {(each.get("system", ""), each.get("value", "")) for each in given}


def _issue(code: str) -> dict[str, Any]:
    return {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": code}]}
