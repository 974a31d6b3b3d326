"""The listener of a channel for http(s)://: POST a message, get the path's answer.

Nobody is heard without a token or a client certificate; a channel that asks for neither listens on loopback only. Who
may speak is decided from the head of a request, before a byte of its body is read.
"""

from __future__ import annotations

import hashlib
import hmac
import ssl
from collections.abc import Collection
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from engine import observe
from engine.clock import SystemClock
from engine.connectors.defects import accept_failed
from engine.connectors.http_answers import refusal, respond
from engine.connectors.http_connection import Bounds, Request, Response
from engine.connectors.http_server import Server
from engine.connectors.secret import Secret
from engine.connectors.tls import SERVER_TLS_KNOBS, read_pins, server_context
from engine.errors import Configuration
from engine.knobs import Knob, read_options
from engine.model import Answer, Arrival
from engine.ports import Accept, Clock, Source
from engine.wiring import SourceSpec

__all__ = ["SOURCE_KNOBS", "HttpSource", "source"]

SOURCE_KNOBS = (
    Knob("token", "text", "", "reference (env:NAME or file:PATH) to the bearer tokens taken, one a line"),
    Knob("request_within", "duration", "30s", "time for a whole request, from its first byte to its last"),
    Knob("idle", "duration", "60s", "how long a connection may be silent between requests"),
    Knob("connections", "count", 256, "connections at a time"),
    Knob("connections_each", "count", 64, "connections at a time of one peer address"),
    Knob("grace", "duration", "10s", "time for stop to finish the answers it owes"),
    *SERVER_TLS_KNOBS,
)
_SECOND = 1_000_000
_FORMS = ("multipart/", "application/x-www-form-urlencoded")


def source(channel: str, spec: SourceSpec) -> Source:
    """The source of http(s)://host:port/path. Raises `Configuration`."""
    return HttpSource(channel, spec)


class HttpSource:
    """One listener; it owns its socket and its connections. What is heard where is for a class below it to say."""

    schemes = frozenset({"http", "https"})

    def __init__(self, channel: str, spec: SourceSpec, clock: Clock | None = None) -> None:
        self._channel = channel
        self._clock = clock or SystemClock()
        self._where = f"{channel}, source"
        self._scheme, self._host, self._port, self._path = _read(spec.listen, self.schemes, self._where)
        knobs = read_options(spec.options, SOURCE_KNOBS, self._where)
        self._tls = server_context(knobs, self._where) if self._scheme.endswith("https") else None
        self._tokens = Secret(knobs["token"], _digests) if knobs["token"] else None
        self._guarded = self._tokens is not None or _asks_certificate(self._tls)
        self._require_guard()
        self._grace = knobs["grace"] / _SECOND
        self._server = Server(self._gate, self._handle, self._refuse, _bounds(spec, knobs))
        self._server.pinned = read_pins(knobs["pin"], self._where)
        self._accept: Accept

    async def start(self, accept: Accept) -> None:
        """Listen. Raises `Configuration` when the tokens cannot be read or the address cannot be used."""
        self._accept = accept
        if self._tokens is not None:
            self._tokens.value()
        try:
            self._port = await self._server.start(self._host, self._port, self._tls)
        except OSError as error:
            advice = "Choose another port, or see what listens there with `ss -ltnp`."
            text = f"listening: {error.strerror or 'the address cannot be used'}"
            raise Configuration(text, where=self._where, advice=advice) from None

    async def stop(self) -> None:
        """Take no more, finish the answers that are owed within `grace`, close everything."""
        await self._server.stop(self._grace)

    @property
    def address(self) -> str:
        """The URL to POST to, with the real port."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{self._scheme}://{host}:{self._port}{self._path}"

    def _require_guard(self) -> None:
        if not self._guarded and not _is_loopback(self._host):
            advice = 'Set `token = "file:PATH"`, or client_ca with https, or listen on 127.0.0.1.'
            text = "listening: without a token or client certificates only this machine may be heard"
            raise Configuration(text, where=self._where, advice=advice)

    def _gate(self, request: Request) -> Response | None:
        """Who and what, from the head alone."""
        try:
            known = self._tokens is None or _matches(request.headers.get(b"authorization", b""), self._tokens.value())
        except Configuration:
            return self._refuse(503, "tokens_missing")
        if not known:
            return self._refuse(401, "unauthorized")
        if not self._guarded and b"origin" in request.headers:
            return self._refuse(403, "cross_site")  # a web page of this machine's user
        return self._judge(request)

    def _judge(self, request: Request) -> Response | None:
        """What is asked, from the head alone: None lets the body in."""
        if self._below(request.path) != "":
            return self._refuse(404, "not_here")
        if request.method != "POST":
            return self._refuse(405, "method_not_allowed")
        if request.content_type.startswith(_FORMS) or b"content-encoding" in request.headers:
            return self._refuse(415, "unsupported_type")
        return None

    def _below(self, path: str) -> str | None:
        """The path below the channel's own, without slashes around it; None for one that is elsewhere."""
        base = self._path.rstrip("/")
        if not path.startswith(base) or path[len(base) :][:1] not in {"", "/"}:
            return None
        return path.removeprefix(base).strip("/")

    async def _handle(self, request: Request) -> Response:
        return respond(await self._take(request.body, request.peer), request)

    async def _take(self, raw: bytes, peer: str) -> Answer:
        """The path's answer to a message; something unforeseen in it is an answer, too."""
        arrival = Arrival(self._channel, self._clock.now(), peer)
        try:
            return await self._accept(raw, arrival)
        except Exception as error:
            return Answer(accept_failed(self._channel, error, arrival.at))

    def _refuse(self, status: int, code: str) -> Response:
        self._count(code)
        return refusal(status, code)

    def _count(self, code: str) -> None:
        observe.connector_events[self._channel, code] += 1


def _read(url: str, schemes: Collection[str], where: str) -> tuple[str, str, int, str]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        port = None
        parts = urlsplit("")
    known = parts.scheme in schemes
    if not known or not parts.hostname or port is None or parts.query or parts.fragment or "@" in parts.netloc:
        raise Configuration("reading `listen`: it is not http(s)://host:port/path", where=where)
    return parts.scheme, parts.hostname, port, parts.path or "/"


def _bounds(spec: SourceSpec, knobs: dict[str, Any]) -> Bounds:
    return Bounds(
        max_size=spec.max_size,
        request=knobs["request_within"] / _SECOND,
        idle=knobs["idle"] / _SECOND,
        connections=knobs["connections"],
        connections_each=knobs["connections_each"],
    )


def _asks_certificate(tls: ssl.SSLContext | None) -> bool:
    return tls is not None and tls.verify_mode is ssl.CERT_REQUIRED


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _digests(text: str) -> bytes:
    """The tokens as hashes in a row: equal lengths compare in equal time."""
    return b"".join(hashlib.sha256(token.encode()).digest() for token in text.split())


def _matches(header: bytes, digests: bytes) -> bool:
    kind, _, token = header.partition(b" ")
    given = hashlib.sha256(token.strip()).digest()
    found = [hmac.compare_digest(given, digests[at : at + 32]) for at in range(0, len(digests), 32)]
    return kind.lower() == b"bearer" and any(found)
