"""A small keep-alive HTTP/1.1 client for destinations: one write a request, one future an answer, no task.

It protects the difference between `NotSent` (no byte of the request can have arrived) and `InDoubt` (bytes left and no
whole answer came): a request that was written is never repeated here, and an answer never belongs to another request,
because a connection with an unread, late or surplus answer is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import httptools

from engine.connectors.addresses import AddressRefused, refused, resolve
from engine.connectors.http_target import Target
from engine.connectors.sockets import Deadline, send_now, tune
from engine.errors import Configuration
from engine.failpoints import failpoint, half

_HEAD_LIMIT_BYTES = 64 * 1024
_KEPT_HEADERS = frozenset({b"content-type", b"retry-after", b"keep-alive", b"content-length", b"transfer-encoding"})
_SECOND = 1_000_000


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

    answer: int = 30 * _SECOND  # from the first byte written to the whole answer
    connect: int = 5 * _SECOND
    idle: int = 4 * _SECOND  # below the 5 s after which common servers close
    answer_size: int = 1 << 20
    connections: int = 4
    link_local: bool = False


@dataclass(frozen=True, slots=True)
class Trust:
    """TLS to the target: the context, the name in its certificate, and whether a connected peer is one we mean."""

    context: ssl.SSLContext
    server_name: str
    pinned: Callable[[asyncio.BaseTransport], bool]


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


class _Connection(asyncio.Protocol):
    """One connection, one request outstanding. httptools calls the `on_` methods while it parses."""

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
        self._usable_until = self._loop.time() + limits.idle / _SECOND

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transports do not inherit from it
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        tune(self._transport, self._limits.answer / _SECOND)

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
        self._deadline.set(self._limits.answer / _SECOND)
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
        self._deadline.close()
        self._fail("connection_lost", "the connection was lost before the whole answer came")

    def on_message_begin(self) -> None:
        self._clean = False
        self._reply = Reply()
        self._chunks.clear()
        self._size = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        self._size += len(name) + len(value)
        if (name := name.lower()) in _KEPT_HEADERS:
            self._reply.headers[name] = value

    def on_headers_complete(self) -> None:
        self._reply.status = self._parser.get_status_code()
        if self._size > _HEAD_LIMIT_BYTES:
            self._fail("answer_too_large", "the answer's headers are larger than any interface needs")
        self._size = 0

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._size > self._limits.answer_size:
            self._fail("answer_too_large", "the answer is larger than `answer_size`")
        elif self._waiting is not None:
            self._chunks.append(body)

    def on_message_complete(self) -> None:
        if self._reply.status >= 200:  # 100 Continue and 103 Early Hints come before the answer
            self._finish(reusable=self._parser.should_keep_alive())

    def _finish(self, *, reusable: bool) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is None:
            return
        self._deadline.clear()
        self._reply.body = b"".join(self._chunks)
        self._clean = reusable and not self._transport.get_write_buffer_size()
        self._usable_until = self._loop.time() + min(self._limits.idle / _SECOND, _server_idle(self._reply))
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


class Client:
    """Keep-alive connections to one target, at most `limits.connections` of them."""

    def __init__(self, target: Target, limits: Limits, trust: Trust | None, where: str) -> None:
        with contextlib.suppress(ValueError):  # a name, judged when it has been resolved
            if refused(target.host) and not limits.link_local:
                advice = "Name another address, or set `link_local = true` if an interface really lives there."
                raise Configuration("reading `to`: the engine does not dial this address", where=where, advice=advice)
        self._target = target
        self._limits = limits
        self._trust = trust
        self._slots = asyncio.Semaphore(limits.connections)
        self._idle: list[_Connection] = []
        self._busy: set[_Connection] = set()
        self._closed = False

    async def exchange(self, request: bytes) -> Reply:
        """Send one request, head and body, and give its answer.

        Raises:
            NotSent: nothing left.
            InDoubt: it left, and no whole answer came.
        """
        async with self._slots:
            connection = self._reusable() or await self._connect()
            self._busy.add(connection)
            try:
                return await connection.send(request)
            finally:
                self._busy.discard(connection)
                self._release(connection)

    async def reach(self) -> None:
        """Connect without sending. Raises `NotSent`."""
        async with self._slots:
            self._release(self._reusable() or await self._connect())

    def close(self) -> None:
        """Close every connection; what is outstanding is in doubt. Safe to call twice."""
        self._closed = True
        for connection in (*self._idle, *self._busy):
            connection.close()
        self._idle.clear()

    def _reusable(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.usable() and connection.quiet():
                return connection
            connection.close()
        return None

    def _release(self, connection: _Connection) -> None:
        if connection.usable() and not self._closed:
            self._idle.append(connection)
        else:
            connection.close()

    async def _connect(self) -> _Connection:
        if self._closed:
            raise NotSent("closed", "the destination is closed")
        try:
            async with asyncio.timeout(self._limits.connect / _SECOND):
                return await self._dial(
                    await resolve(self._target.host, self._target.port, link_local=self._limits.link_local)
                )
        except OSError as error:
            raise _not_sent(error) from None

    async def _dial(self, addresses: list[str]) -> _Connection:
        """The first address that answers; the last one's error when none does."""
        for address in addresses[:-1]:
            with contextlib.suppress(OSError):
                return await self._open(address)
        return await self._open(addresses[-1])

    async def _open(self, address: str) -> _Connection:
        trust = self._trust
        transport, connection = await asyncio.get_running_loop().create_connection(
            lambda: _Connection(self._limits),
            address,
            self._target.port,
            ssl=trust.context if trust else None,
            server_hostname=trust.server_name if trust else None,
        )
        if trust and not trust.pinned(transport):
            connection.close()
            raise ssl.SSLCertVerificationError("the peer is not the pinned one")
        return connection


def _not_sent(error: OSError) -> NotSent:
    """What kept us from connecting, in words an operator can act on."""
    if isinstance(error, AddressRefused):
        return NotSent("address_refused", "the name leads to an address the engine does not dial; see `link_local`")
    if isinstance(error, TimeoutError):
        return NotSent("connect_timeout", "no connection within `connect_within`; check the address and the firewall")
    if isinstance(error, ssl.SSLCertVerificationError):
        return NotSent(
            "tls_untrusted",
            "the server's certificate is not trusted for this name; check `ca`, `pin` and `server_name`",
        )
    if isinstance(error, ssl.SSLError):
        return NotSent("tls_failed", "no TLS connection; check certificates and versions on both sides")
    if isinstance(error, socket.gaierror):
        return NotSent("name_unknown", "the host name cannot be resolved; check `to` and the resolver")
    if isinstance(error, ConnectionRefusedError):
        return NotSent("connection_refused", "nothing listens there; check the port and whether the system is up")
    return NotSent("connect_failed", "no connection; check the network and whether the system is up")
