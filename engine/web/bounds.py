"""uvicorn's protocol with an end to everything: head, body, answer, silence, and the number of connections.

Invariant: what a client may hold is bounded in bytes and time, however slowly it sends or reads; when all places are
taken the one that waits longest for a request gives way, so that whoever sends a whole one is heard.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from engine.connectors.sockets import Deadline, tune

LINGER_SECONDS = 1.0
"""How long a refused client may still send: to close at once would take the refusal back."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client, and all of them together, may take."""

    connections: int = 200
    head_bytes: int = 16 * 1024
    body_bytes: int = 1 << 20
    request_seconds: float = 10.0  # for a whole head, and again for a whole body
    idle_seconds: float = 15.0  # between an answer and the next request
    answer_seconds: float = 60.0  # for the client to read an answer


@dataclass(frozen=True, slots=True)
class Refusal:
    """What is answered before the application is asked."""

    status: int
    code: str
    text: str
    advice: str

    def wire(self) -> bytes:
        """The whole answer, in the words of the API's other errors."""
        body = orjson.dumps({"error": {"code": self.code, "text": self.text, "advice": self.advice}})
        head = b"content-type: application/json\r\ncontent-length: %d\r\ncache-control: no-store\r\n" % len(body)
        return STATUS_LINE[self.status] + head + b"connection: close\r\n\r\n" + body


NOT_HTTP = Refusal(400, "bad_request", "reading the request: it is not HTTP/1.1", "GET /openapi.json lists what is.")
TOO_SLOW = Refusal(408, "request_timeout", "reading the request: it took too long", "Send the whole request faster.")
BODY_TOO_LARGE = Refusal(413, "too_large", "reading the body: it is too large", "Send less; see GET /openapi.json.")
HEAD_TOO_LARGE = Refusal(431, "head_too_large", "reading the head: it is too large", "Send fewer or shorter headers.")


class Crowd:
    """The connections of one server that wait for a request, the one that waits longest first."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.waiting: dict[Bounded, None] = {}

    def protocol(self, **given: Any) -> Bounded:
        """A new connection, as uvicorn makes one."""
        return Bounded(self, **given)

    def make_room(self) -> bool:
        """Close the connection that waits longest; False when every one is being answered."""
        oldest = next(iter(self.waiting), None)
        if oldest is None:
            return False
        del self.waiting[oldest]
        oldest.transport.abort()
        return True


class _Stop(Exception):
    """Ends the parsing of a connection: the parser turns it into its own error, and uvicorn asks for a 400."""


class Bounded(HttpToolsProtocol):
    """One client. The parser calls the `on_` methods; uvicorn does the rest."""

    def __init__(self, crowd: Crowd, **given: Any) -> None:
        super().__init__(**given)
        self._crowd = crowd
        self._limits = crowd.limits
        self._deadline = Deadline(self.loop, self._expired)
        self._refusal = NOT_HTTP
        self._refused = False  # whatever still comes is thrown away
        self._in_head = False
        self._in_body = False
        self._blocked = False  # the client does not read its answer
        self._size = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a place, or that of another one."""
        super().connection_made(transport)
        tune(transport, self._limits.answer_seconds)
        if len(self.connections) > self._limits.connections and not self._crowd.make_room():
            transport.abort()
            return
        self._crowd.waiting[self] = None
        self._deadline.set(self._limits.request_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place back."""
        self._deadline.close()
        self._crowd.waiting.pop(self, None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse, and measure a head that does not end."""
        if self._refused:
            return
        super().data_received(data)
        if self._in_head and not self._refused:
            self._size += len(data)
            if self._size > self._limits.head_bytes:
                self._refuse(HEAD_TOO_LARGE)

    def send_400_response(self, msg: str) -> None:
        """What uvicorn calls for a request that its parser refused, or that was stopped below."""
        self._refuse(self._refusal)

    def pause_writing(self) -> None:
        """The client does not read: its answer must be gone in time."""
        super().pause_writing()
        self._blocked = True
        self._arm()

    def resume_writing(self) -> None:
        """The client has read: go on."""
        super().resume_writing()
        self._blocked = False
        self._arm()

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self._in_head = True
        self._size = 0
        self._deadline.set(self._limits.request_seconds)

    def on_headers_complete(self) -> None:
        """A whole head: from now on this client is served, and gives way to nobody."""
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > self._limits.head_bytes:
            self._stop(HEAD_TOO_LARGE)
        if self._announced() > self._limits.body_bytes:
            self._stop(BODY_TOO_LARGE)
        self._in_head, self._in_body = False, True
        self._size = 0
        self._crowd.waiting.pop(self, None)
        self._deadline.set(self._limits.request_seconds)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of the body, also of one that announced no length."""
        self._size += len(body)
        if self._size > self._limits.body_bytes:
            self._stop(BODY_TOO_LARGE)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A whole request."""
        super().on_message_complete()
        self._in_body = False
        self._arm()

    def on_response_complete(self) -> None:
        """A whole answer was handed to the transport."""
        super().on_response_complete()
        self._arm()

    @property
    def _busy(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _announced(self) -> int:
        lengths = [value for name, value in self.headers if name == b"content-length"]
        return max((int(value) for value in lengths if value.isdigit()), default=0)

    def _arm(self) -> None:
        """What is waited for now, and for how long: the engine's own work has no deadline here."""
        if self._refused:
            return
        limits = self._limits
        if self._blocked:
            self._deadline.set(limits.answer_seconds)
        elif self._in_head or self._in_body:
            self._deadline.set(limits.request_seconds)
        elif self._busy:
            self._deadline.clear()
        else:
            self._deadline.set(limits.idle_seconds)
        if not self._busy and not self.transport.is_closing():
            self._crowd.waiting[self] = None

    def _expired(self) -> None:
        if self.flow.read_paused and not self._blocked:
            self._arm()  # it is the engine that does not read on
        elif self._in_head:
            self._refuse(TOO_SLOW)
        else:
            self.transport.abort()

    def _stop(self, refusal: Refusal) -> None:
        """Called while parsing only."""
        self._refusal = refusal
        raise _Stop

    def _refuse(self, refusal: Refusal) -> None:
        """Answer and linger; where an answer is being made or was given, there is no place for another."""
        if self._refused or self._busy or self._in_body:
            self.transport.abort()
            return
        self._refused = True
        self.transport.write(refusal.wire())
        self._deadline.set(LINGER_SECONDS)
