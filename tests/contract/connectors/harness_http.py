"""HTTP for the contract suite: a POSTing client, and a server that answers as it is told."""

from __future__ import annotations

from urllib.parse import urlsplit

from engine.connectors import http
from engine.errors import Weight
from engine.ports import Destination, Source
from engine.wiring import DestinationSpec, SourceSpec

from .harness import DestinationHarness, Sender, SourceHarness
from .http_peer import HttpSender, Peer, answer

PAGE = b"<!DOCTYPE html><title>Sign in</title>"
SHOWS = {
    "busy": answer("503 Service Unavailable", extra="Retry-After: 7\r\n"),
    "throttled": answer("429 Too Many Requests"),
    "failing": answer("500 Internal Server Error"),
    "conflict": answer("409 Conflict"),
    "invalid": answer("422 Unprocessable Content"),
    "forbidden": answer("403 Forbidden"),
    "precondition": answer("412 Precondition Failed"),
    "redirect": answer("302 Found", extra="Location: http://127.0.0.1:1/\r\n"),
    "page": answer("200 OK", PAGE, "text/html"),
    "page without a type": answer("200 OK", PAGE, ""),
    "not HTTP": b"MSH|^~\\&|this is no HTTP\r\n\r\n",
    "cut before the answer": b"",
    "cut in the head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "cut in the body": b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{",
}
WEIGHTS = {
    **dict.fromkeys(("busy", "throttled", "failing", "conflict"), Weight.TRANSIENT),
    **dict.fromkeys(("invalid", "forbidden", "precondition", "redirect"), Weight.PERMANENT),
    **dict.fromkeys(("page", "page without a type"), Weight.PERMANENT),
    **dict.fromkeys(("not HTTP",), Weight.AMBIGUOUS),
    **dict.fromkeys(("cut before the answer", "cut in the head", "cut in the body"), Weight.AMBIGUOUS),
}


class HttpSource(SourceHarness):
    name = "http"
    listen = "http://127.0.0.1:0/in"
    kind = "application/hl7-v2"

    async def make(self, max_size: int, grace: str) -> Source:
        spec = SourceSpec(self.listen, max_size=max_size, options={"grace": grace})
        self.source = http.source("c", spec)
        return self.source

    async def sender(self) -> Sender:
        at = urlsplit(self.source.address)
        return HttpSender(str(at.hostname), int(at.port or 0), at.path, self.kind)


class HttpJsonSource(HttpSource):
    name = "http, answers in JSON"
    kind = "text/plain"


class HttpDestination(DestinationHarness):
    name = "http"
    answers = WEIGHTS
    scheme = "http"

    async def make(self, connections: int, timeout: int) -> Destination:
        self.peer = Peer(self.shows())
        self.received = self.peer.received
        spec = DestinationSpec(
            "d", f"{self.scheme}://127.0.0.1:{self.peer.port}/in", connections=connections, timeout=timeout
        )
        return self.connect(spec)

    def shows(self) -> dict[str, bytes]:
        return SHOWS

    def connect(self, spec: DestinationSpec) -> Destination:
        return http.destination("c", spec)

    async def up(self) -> None:
        await self.peer.up()

    async def down(self) -> None:
        await self.peer.down()

    @property
    def outstanding(self) -> int:
        return self.peer.open

    def show(self, *behaviours: str) -> None:
        self.peer.show(*behaviours)

    def release(self) -> None:
        self.peer.release()


SOURCES = (HttpSource, HttpJsonSource)
DESTINATIONS = (HttpDestination,)
