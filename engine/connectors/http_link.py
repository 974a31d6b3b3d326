"""One keep-alive HTTP/1.1 connection to a server: one write a request, one future an answer, no task.

It protects the difference between `NotSent` (no byte of the request can have arrived) and `InDoubt` (bytes left and no
whole answer came): an answer never belongs to another request, because a connection with an unread, late or surplus
answer is closed.
"""

from __future__ import annotations

import asyncio
import select
from dataclasses import dataclass, field
from typing import cast

import httptools

from engine.connectors.sockets import Deadline, send_now, tune
from engine.failpoints import failpoint, half

_HEAD_LIMIT_BYTES = 64 * 1024
_KEPT_HEADERS = frozenset({b"content-type", b"retry-after", b"keep-alive", b"content-length", b"transfer-encoding"})
SECOND = 1_000_000


class ExchangeFailed(Exception):
    """No answer to a request. `code` is stable, `detail` says what to do; both are free of PHI."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class NotSent(ExchangeFailed):
    """No byte of the request left: the destination was not reached."""


class InDoubt(ExchangeFailed):
    """Bytes of the request left and no whole answer came back: nobody knows whether it was taken."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long and how much. Durations in microseconds, sizes in bytes."""

    answer: int = 30 * SECOND  # from the first byte written to the whole answer
    connect: int = 5 * SECOND
    idle: int = 4 * SECOND  # below the 5 s after which common servers close
    answer_size: int = 1 << 20
    connections: int = 4
    link_local: bool = False


@dataclass(slots=True)
class Reply:
    """A whole answer. `headers` holds the few that anybody asks for, names in lower case."""

    status: int = 0
    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytes = b""

    @property
    def content_type(self) -> bytes:
        """The media type without its parameters, in lower case."""
        return self.headers.get(b"content-type", b"").partition(b";")[0].strip().lower()


class Link(asyncio.Protocol):
    """One connection to a server, one request outstanding. httptools calls the `on_` methods while it parses."""

    def __init__(self, limits: Limits) -> None:
        self._loop = asyncio.get_running_loop()
        self._limits = limits
        self._parser = httptools.HttpResponseParser(self)
        self._waiting: asyncio.Future[Reply] | None = None
        self._deadline = Deadline(self._loop, self._expire)
        self._transport: asyncio.Transport
        self._poll = select.poll()
        self._reply = Reply()
        self._chunks: list[bytes] = []
        self._size = 0
        self._clean = True  # an answer after this one would be the answer to the next request
        self._usable_until = self._loop.time() + limits.idle / SECOND

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ready for requests."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transports do not inherit from it
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        tune(self._transport, self._limits.answer / SECOND)

    def usable(self) -> bool:
        """True while a request may be written: open, in step, and not so old that the server may be closing it."""
        return self._clean and not self._transport.is_closing() and self._loop.time() < self._usable_until

    def quiet(self) -> bool:
        """True when the kernel holds nothing from the peer, above all no end that the loop has not read yet."""
        return not self._poll.poll(0)

    def send(self, request: bytes) -> asyncio.Future[Reply]:
        """Write a request; the future gives the answer or raises `InDoubt`."""
        if self._transport.is_closing():
            raise NotSent("connection_lost", "the connection closed before the request was written")
        self._waiting = waiting = self._loop.create_future()
        self._deadline.set(self._limits.answer / SECOND)
        self._clean = False
        if half("http_client.request.half"):
            send_now(self._transport, request[: len(request) // 2])
            failpoint("http_client.request.half")
            request = request[len(request) // 2 :]
        failpoint("http_client.request.before")
        self._transport.write(request)
        failpoint("http_client.request.after")
        return waiting

    def close(self) -> None:
        """Close at once. What was waiting is in doubt."""
        self._fail("connection_closed", "the connection was closed while the answer was awaited")
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Parse; what comes unasked ends the connection."""
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail("answer_malformed", "the answer is not HTTP/1.1")
        if self._waiting is None and not self._clean:
            self._transport.abort()

    def eof_received(self) -> None:
        """The server ended its side: that ends an answer which has no length of its own."""
        headers = self._reply.headers
        if self._reply.status and b"content-length" not in headers and b"transfer-encoding" not in headers:
            self._finish(reusable=False)

    def connection_lost(self, exc: Exception | None) -> None:
        """What was waiting is in doubt."""
        self._deadline.close()
        self._fail("connection_lost", "the connection was lost before the whole answer came")

    def on_message_begin(self) -> None:
        """An answer begins."""
        self._clean = False
        self._reply = Reply()
        self._chunks.clear()
        self._size = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep the few headers that anybody asks for."""
        self._size += len(name) + len(value)
        if (name := name.lower()) in _KEPT_HEADERS:
            self._reply.headers[name] = value

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._reply.status = self._parser.get_status_code()
        if self._size > _HEAD_LIMIT_BYTES:
            self._fail("answer_too_large", "the answer's headers are larger than any interface needs")
        self._size = 0

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._size += len(body)
        if self._size > self._limits.answer_size:
            self._fail("answer_too_large", "the answer is larger than `answer_size`")
        elif self._waiting is not None:
            self._chunks.append(body)

    def on_message_complete(self) -> None:
        """Give the answer to whom it belongs."""
        if self._reply.status >= 200:  # 100 Continue and 103 Early Hints come before the answer
            self._finish(reusable=self._parser.should_keep_alive())

    def _finish(self, *, reusable: bool) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is None:
            return
        self._deadline.clear()
        self._reply.body = b"".join(self._chunks)
        self._clean = reusable and not self._transport.get_write_buffer_size()
        self._usable_until = self._loop.time() + min(self._limits.idle / SECOND, _server_idle(self._reply))
        if not waiting.done():
            waiting.set_result(self._reply)

    def _fail(self, code: str, detail: str) -> None:
        waiting, self._waiting = self._waiting, None
        self._deadline.clear()
        self._clean = False
        if waiting is not None and not waiting.done():
            waiting.set_exception(InDoubt(code, detail))

    def _expire(self) -> None:
        self._fail("answer_timeout", "no whole answer within `timeout`; the connection was closed")
        self._transport.abort()


def _server_idle(reply: Reply) -> float:
    """Seconds the server keeps an idle connection, less one for the way; unlimited where it does not say."""
    for part in reply.headers.get(b"keep-alive", b"").split(b","):
        name, _, value = part.strip().partition(b"=")
        if name.lower() == b"timeout" and value.isdigit():
            return max(0.0, float(value) - 1)
    return float("inf")
