"""What one client of the HTTP API may hold in bytes, time and places; nothing is taken from those who keep to them."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from contract.connectors.http_peer import read_message
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from engine.web.app import HttpServer, Unforeseen
from engine.web.bounds import LINGER_SECONDS, Limits

QUICK = Limits(request_seconds=0.3, idle_seconds=0.3, answer_seconds=0.3, head_bytes=2000, body_bytes=5000)
PATIENCE_SECONDS = 5.0
BIG = b"x" * (16 << 20)
GET = b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Site:
    """An application and the server before it."""

    def __init__(self, limits: Limits) -> None:
        self.release = asyncio.Event()
        self.asked: list[str] = []
        routes = [
            Route("/hello", self.hello, methods=["GET", "POST"]),
            Route("/echo", self.echo, methods=["POST"]),
            Route("/wait", self.wait),
            Route("/big", self.big),
        ]
        self.server = HttpServer(Starlette(routes=routes, middleware=[Middleware(Unforeseen)]), "127.0.0.1", 0, limits)
        self._streams: list[Streams] = []

    async def hello(self, request: Request) -> Response:
        self.asked.append("hello")
        return PlainTextResponse("hello")

    async def echo(self, request: Request) -> Response:
        self.asked.append("echo")
        return Response(await request.body())

    async def wait(self, request: Request) -> Response:
        self.asked.append("wait")
        await self.release.wait()
        return PlainTextResponse("waited")

    async def big(self, request: Request) -> Response:
        return Response(BIG)

    async def connect(self, sent: bytes = b"", window: int = 0) -> Streams:
        sock = socket.socket()
        if window:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.server.port))
        streams = await asyncio.open_connection(sock=sock)
        self._streams.append(streams)
        streams[1].write(sent)
        return streams

    async def ended(self) -> None:
        for _, writer in self._streams:
            writer.transport.abort()
        await self.server.stop()


@asynccontextmanager
async def serving(limits: Limits) -> AsyncIterator[Site]:
    site = Site(limits)
    await site.server.start()
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            yield site
    finally:
        await site.ended()


def run(scenario: Callable[[Site], Awaitable[Any]], limits: Limits = QUICK) -> None:
    async def whole() -> None:
        async with serving(limits) as site:
            await scenario(site)

    asyncio.run(whole())


async def drip(streams: Streams, text: bytes, every: float = 0.1) -> None:
    """Send byte after byte until the other side has closed."""
    for byte in text:
        if streams[0].at_eof() or streams[1].transport.is_closing():
            return
        streams[1].write(bytes((byte,)))
        await asyncio.sleep(every)
    raise AssertionError("the server took every byte")


async def rest(reader: asyncio.StreamReader) -> bytes:
    """What comes until the server closes, in whatever way it does."""
    taken = b""
    try:
        while part := await reader.read(65536):
            taken += part
    except ConnectionResetError:
        pass
    return taken


def error_of(answer: bytes) -> tuple[int, str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    told = json.loads(body)["error"]
    assert told["text"]
    assert told["advice"]
    assert b"connection: close" in head
    return int(head[9:12]), told["code"]


@pytest.mark.parametrize("first", [b"", GET], ids=["at once", "after a request"])
@pytest.mark.parametrize("head", [b"GET /", b"GET /hello HTTP/1.1\r\nX-Slow: a", b"GET /hello HTTP/1.1\r\n"])
def test_a_head_that_drips_is_answered_408(first: bytes, head: bytes) -> None:
    async def scenario(site: Site) -> None:
        streams = await site.connect(first)
        if first:
            await read_message(streams[0])
        streams[1].write(head)
        dripping = asyncio.create_task(drip(streams, b"X-Slow: " + b"a" * 100))
        assert error_of(await rest(streams[0])) == (408, "request_timeout")
        await dripping

    run(scenario)


@pytest.mark.parametrize("blank", [b"", b"\r\n" * 100], ids=["silent", "blank lines"])
@pytest.mark.parametrize("first", [b"", GET], ids=["at once", "after a request"])
def test_silence_ends(first: bytes, blank: bytes) -> None:
    async def scenario(site: Site) -> None:
        streams = await site.connect(first)
        if first:
            await read_message(streams[0])
        dripping = asyncio.create_task(drip(streams, blank)) if blank else None
        assert await rest(streams[0]) == b""
        if dripping is not None:
            await dripping

    run(scenario)


@pytest.mark.parametrize("path", [b"/echo", b"/hello"], ids=["being read", "already answered"])
def test_a_body_that_drips_ends(path: bytes) -> None:
    async def scenario(site: Site) -> None:
        streams = await site.connect(b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n" % path)
        if path == b"/hello":
            assert (await read_message(streams[0]))[1] == b"hello"
        dripping = asyncio.create_task(drip(streams, b"a" * 100))
        assert await rest(streams[0]) == b""
        await dripping

    run(scenario)


def test_a_client_that_leaves_is_no_failure_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(site: Site) -> None:
        _, writer = await site.connect(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\na")
        while not site.asked:
            await asyncio.sleep(0)
        writer.transport.abort()
        await asyncio.sleep(0.1)

    with caplog.at_level(logging.INFO, "interlock"):
        run(scenario)
    assert caplog.messages == []


def test_an_announced_body_that_is_too_large_is_refused_unread() -> None:
    async def scenario(site: Site) -> None:
        reader, writer = await site.connect(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5001\r\n\r\n")
        head, body = await read_message(reader)
        assert error_of(head + body) == (413, "too_large")
        writer.write(b"a" * 5001)
        with pytest.raises(TimeoutError):  # it lingers: to close at once could take the refusal back
            await asyncio.wait_for(reader.read(), LINGER_SECONDS / 3)
        assert await rest(reader) == b""
        assert site.asked == []

    run(scenario)


def test_a_body_in_chunks_ends_at_the_limit() -> None:
    async def scenario(site: Site) -> None:
        streams = await site.connect(b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        streams[1].write(b"".join(b"64\r\n" + b"a" * 100 + b"\r\n" for _ in range(51)) + b"0\r\n\r\n")
        assert await rest(streams[0]) == b""

    run(scenario)


def test_what_is_just_small_enough_is_taken() -> None:
    async def scenario(site: Site) -> None:
        sent = b"POST /echo HTTP/1.1\r\nHost: x\r\nX: %b\r\nContent-Length: 5000\r\n\r\n" % (b"a" * 1900) + b"b" * 5000
        reader, _ = await site.connect(sent)
        assert (await read_message(reader))[1] == b"b" * 5000

    run(scenario)


@pytest.mark.parametrize("pieces", [1, 20])
@pytest.mark.parametrize("ends", [True, False])
def test_a_head_that_is_too_large_is_refused(pieces: int, ends: bool) -> None:
    async def scenario(site: Site) -> None:
        reader, writer = await site.connect(b"GET /hello HTTP/1.1\r\n")
        for number in range(pieces):
            writer.write(b"X-%d: %b\r\n" % (number, b"a" * (2100 // pieces)))
            await asyncio.sleep(0)
        writer.write(b"\r\n" if ends else b"")
        assert error_of(await rest(reader)) == (431, "head_too_large")
        assert site.asked == []

    run(scenario)


def test_what_is_no_http_is_told_so() -> None:
    async def scenario(site: Site) -> None:
        reader, _ = await site.connect(b"MSH|^~\\&|\r\n\r\n")
        assert error_of(await rest(reader)) == (400, "bad_request")

    run(scenario)


def test_the_engines_own_work_has_no_deadline() -> None:
    async def scenario(site: Site) -> None:
        reader, _ = await site.connect(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.sleep(3 * QUICK.request_seconds)
        site.release.set()
        assert (await read_message(reader))[1] == b"waited"

    run(scenario)


def test_requests_that_come_together_are_all_answered_in_order() -> None:
    async def scenario(site: Site) -> None:
        head = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n"
        reader, writer = await site.connect(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n" + head)
        while not site.asked:
            await asyncio.sleep(0)
        writer.write(b"abc" + GET)  # which nobody reads before the first is answered
        await asyncio.sleep(2 * QUICK.request_seconds)
        site.release.set()
        assert [(await read_message(reader))[1] for _ in range(3)] == [b"waited", b"abc", b"hello"]
        assert await rest(reader) == b""  # and then silence ends, as ever

    run(scenario)


@pytest.mark.parametrize("reads", [True, False], ids=["slowly", "not at all"])
def test_a_client_that_does_not_read_its_answer_is_dropped(reads: bool) -> None:
    async def scenario(site: Site) -> None:
        reader, writer = await site.connect(window=16384)
        if not reads:
            writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        got, end = 0, asyncio.get_running_loop().time() + 3 * QUICK.answer_seconds
        while asyncio.get_running_loop().time() < end:
            got += len(await reader.read(4096)) if reads else 0
            await asyncio.sleep(0.01)
        if not reads:
            writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert 0 < got + len(await rest(reader)) < len(BIG)

    run(scenario)


def test_a_client_that_reads_its_answer_gets_all_of_it() -> None:
    async def scenario(site: Site) -> None:
        reader, _ = await site.connect(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await read_message(reader))[1] == BIG

    run(scenario, Limits())


def test_the_one_that_waits_longest_gives_way() -> None:
    async def scenario(site: Site) -> None:
        slow, quiet = await site.connect(b"GET /"), await site.connect(GET)
        await read_message(quiet[0])
        for _ in range(2):
            newcomer, _ = await site.connect(GET)
            assert (await read_message(newcomer))[1] == b"hello"
        assert await rest(slow[0]) == b""
        assert await rest(quiet[0]) == b""

    run(scenario, Limits(connections=2))


def test_nobody_who_is_being_answered_gives_way() -> None:
    async def scenario(site: Site) -> None:
        busy = [await site.connect(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n") for _ in range(2)]
        while len(site.asked) < 2:
            await asyncio.sleep(0)
        newcomer, _ = await site.connect(GET)
        assert await rest(newcomer) == b""
        site.release.set()
        assert [(await read_message(reader))[1] for reader, _ in busy] == [b"waited", b"waited"]
        another, _ = await site.connect(GET)
        assert (await read_message(another))[1] == b"hello"

    run(scenario, Limits(connections=2))
