"""One HTTP/1.1 client's connection: its requests are judged at their heads and answered in their order.

Everything is bounded: the head, the body, the time for a whole request. A request is judged before its body is read
(`Gate`), and only a whole one reaches `Handle`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol, cast

import httptools

from engine.connectors.sockets import Deadline, tune
from engine.failpoints import failpoint

_HEAD_LIMIT_BYTES = 16 * 1024
LINGER_SECONDS = 1.0
_USER_TIMEOUT_SECONDS = 30.0
_LINGER_BYTES = 1 << 20
_KEPT_HEADERS = frozenset({
    b"authorization", b"content-type", b"content-length", b"content-encoding", b"expect", b"origin", b"host",
    b"accept", b"prefer", b"if-none-exist", b"if-match",
})  # fmt: skip
_REASONS = {
    200: "OK", 201: "Created", 202: "Accepted", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden",
    404: "Not Found", 405: "Method Not Allowed", 406: "Not Acceptable", 408: "Request Timeout", 409: "Conflict",
    413: "Content Too Large", 415: "Unsupported Media Type", 422: "Unprocessable Content",
    431: "Request Header Fields Too Large", 503: "Service Unavailable",
}  # fmt: skip


@dataclass(slots=True)
class Request:
    """A request, at its head without a body. Header names in lower case; only those that are asked for."""

    method: str = ""
    path: str = ""  # without the query
    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytes = b""
    peer: str = ""
    query: str = ""

    @property
    def content_type(self) -> str:
        """The media type without its parameters, in lower case."""
        return self.headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()


@dataclass(frozen=True, slots=True)
class Response:
    """What is answered. `headers` are lines beside type, length and the ones that every answer has."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: tuple[str, ...] = ()


Gate = Callable[[Request], Response | None]
"""Judges a head: None lets the body in."""
Handle = Callable[[Request], Awaitable[Response]]
Refuse = Callable[[int, str], Response]
"""The body of the server's own refusals (status, code), in the words of the interface."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Durations in seconds, sizes in bytes."""

    max_size: int
    request: float
    idle: float
    connections: int
    connections_each: int


class Listener(Protocol):
    """What a connection asks of the server that it belongs to."""

    gate: Gate
    handle: Handle
    refuse: Refuse
    bounds: Bounds
    pinned: Callable[[asyncio.BaseTransport], bool]
    stopping: bool

    def enter(self, connection: Connection, peer: str) -> bool:
        """Count a connection in; False when there are too many."""
        ...

    def leave(self, connection: Connection, peer: str) -> None:
        """Count a connection out."""


class Connection(asyncio.Protocol):
    """One client. httptools calls the `on_` methods while it parses."""

    def __init__(self, server: Listener) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport
        self._deadline = Deadline(self._loop, self._expire)
        self._whole: deque[Request | Response] = deque()
        self._request = Request()
        self._chunks: list[bytes] = []
        self._size = 0
        self._in_head = False
        self._in_request = False
        self._refused = False  # answered from the head: whatever still comes is thrown away
        self._blocked = False  # the client does not read its answers
        self._last = False  # no request after the one that is being answered
        self._peer = ""
        self.task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ready for requests, unless there are too many connections."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transports do not inherit from it
        tune(self._transport, _USER_TIMEOUT_SECONDS)
        name = transport.get_extra_info("peername")
        self._peer = str(name[0]) if isinstance(name, tuple) else ""
        if not self._server.enter(self, self._peer) or not self._server.pinned(transport):
            self.abort()
        else:
            self._deadline.set(self._server.bounds.idle)

    def connection_lost(self, exc: Exception | None) -> None:
        """Make place for another one."""
        self._deadline.close()
        self._server.leave(self, self._peer)

    def data_received(self, data: bytes) -> None:
        """Parse; after a refusal throw away what still comes."""
        if self._refused:
            self._size += len(data)
            if self._size > _LINGER_BYTES:
                self.abort()
            return
        if not self._in_request:
            self._in_request = True
            self._deadline.set(self._server.bounds.request)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._refuse(400, "bad_request")
            return
        if self._in_head:
            self._grow(len(data), _HEAD_LIMIT_BYTES, 431, "head_too_large")

    def eof_received(self) -> bool:
        """Keep the way back open while an answer is being made (TLS knows no half-closed connection)."""
        self._last = True
        return self.task is not None and self._transport.get_extra_info("ssl_object") is None

    def pause_writing(self) -> None:
        """The client does not read its answers: nothing more of it is read until it does."""
        self._blocked = True

    def resume_writing(self) -> None:
        """The client has read: go on."""
        self._blocked = False
        if self.task is None:
            self._go_on()

    def on_message_begin(self) -> None:
        """A request begins."""
        self._request = Request(peer=self._peer)
        self._chunks = []
        self._size = 0
        self._in_head = self._in_request = not self._refused

    def on_url(self, url: bytes) -> None:
        """A part of its address."""
        self._request.path += url.decode("latin-1")
        self._grow(len(url), _HEAD_LIMIT_BYTES, 431, "head_too_large")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep the few headers that anybody asks for."""
        self._grow(len(name) + len(value), _HEAD_LIMIT_BYTES, 431, "head_too_large")
        if (name := name.lower()) in _KEPT_HEADERS:
            self._request.headers[name] = value

    def on_headers_complete(self) -> None:
        """Judge the head: is the body to be read?"""
        self._in_head = False
        self._size = 0
        request = self._request
        request.method = self._parser.get_method().decode("latin-1")
        request.path, _, request.query = request.path.partition("?")
        if self._refused:
            return
        if refusal := self._server.gate(request):
            self._answer_early(refusal)
        elif int(request.headers.get(b"content-length", b"0")) > self._server.bounds.max_size:
            self._refuse(413, "too_large")
        elif request.headers.get(b"expect", b"").lower() == b"100-continue":
            self._write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        if not self._refused:
            self._chunks.append(body)
            self._grow(len(body), self._server.bounds.max_size, 413, "too_large")

    def on_message_complete(self) -> None:
        """Queue the request to be answered."""
        if self._refused:
            return
        self._in_request = False
        self._deadline.clear()
        self._request.body = b"".join(self._chunks)
        self._chunks = []
        self._last = self._last or not self._parser.should_keep_alive()
        self._whole.append(self._request)
        if self.task is None:
            self._transport.pause_reading()
            self.task = self._loop.create_task(self._answer_all())

    async def _answer_all(self) -> None:
        """Answer what is whole, in order; nothing is read meanwhile, so that a fast client fills its own buffers."""
        try:
            while self._whole:
                item = self._whole.popleft()
                response = item if isinstance(item, Response) else await self._server.handle(item)
                last = (self._last and not self._whole) or self._server.stopping
                self._respond(response, last=last)
                if last:
                    return
        except BaseException:
            self._last = True
            raise
        finally:
            self.task = None
            self._go_on()

    def _go_on(self) -> None:
        if self._last or self._server.stopping:
            self._transport.close()
        elif not self._transport.is_closing() and not self._refused:
            self._deadline.set(self._server.bounds.request if self._in_request else self._server.bounds.idle)
            if not self._blocked:
                self._transport.resume_reading()

    def close_when_answered(self) -> None:
        """No further request: close now unless an answer is being made."""
        if self.task is None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def _grow(self, size: int, limit: int, status: int, code: str) -> None:
        self._size += size
        if self._size > limit:
            self._refuse(status, code)

    def _refuse(self, status: int, code: str) -> None:
        if not self._refused:
            self._answer_early(self._server.refuse(status, code))

    def _answer_early(self, response: Response) -> None:
        """Answer before the body came, and linger a moment: to close at once would take the answer back."""
        self._refused = True
        self._chunks = []
        self._size = 0
        if self.task is not None:  # an earlier request of this connection is answered first
            self._last = True
            self._whole.append(response)
            return
        self._respond(response, last=True)
        self._deadline.set(LINGER_SECONDS)

    def _respond(self, response: Response, *, last: bool) -> None:
        lines = [
            f"HTTP/1.1 {response.status} {_REASONS[response.status]}",
            f"Content-Type: {response.content_type}",
            f"Content-Length: {len(response.body)}",
            "Cache-Control: no-store",
            *response.headers,
            *(("Connection: close",) if last else ()),
        ]
        self._write("\r\n".join((*lines, "", "")).encode("latin-1") + response.body)

    def _write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            failpoint("http_server.answer.before")
            self._transport.write(data)
            failpoint("http_server.answer.after")

    def _expire(self) -> None:
        """Too slow: a request that began is told so, a silent or lingering connection is closed."""
        if self._in_request and not self._refused and self.task is None:
            self._refuse(408, "request_timeout")
        else:
            self.abort()
