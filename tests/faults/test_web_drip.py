"""500 clients that send a byte a second: others are served meanwhile, and the slow ones are gone by the deadline."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import quantiles
from typing import Any, cast
from urllib.parse import urlsplit

import pytest
import uvloop

from engine.connectors import http, mllp
from engine.connectors.framing import encode
from engine.errors import Reply
from engine.model import Answer, Arrival, Verdict
from engine.ports import Source
from engine.web.app import HttpServer, build_app
from engine.web.bounds import Limits
from engine.wiring import SourceSpec
from tests.unit.web_help import open_runtime

pytestmark = pytest.mark.slow

DRIPPERS = 500
DEADLINE_SECONDS = 2.0
LATE_SECONDS = 3.0
"""After the deadline: a second or two of lingering, and a loaded machine."""
SERVED_WITHIN_SECONDS = 1.0
MOST_LEFT_BYTES = 512 * 1024
HEAD = b"POST /in HTTP/1.1\r\nHost: x\r\nX-Slow: " + b"a" * 1000
FRAME = b"\x0bMSH|^~\\&|" + b"a" * 1000
Ask = Callable[[], Awaitable[bytes]]


class Dripper(asyncio.Protocol):
    """Sends its bytes one by one and knows when it was closed."""

    def __init__(self, text: bytes) -> None:
        self.rest = iter(text)
        self.opened = time.monotonic()
        self.closed = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.drip()

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = time.monotonic()

    def drip(self) -> None:
        self.transport.write(bytes((next(self.rest),)))


@asynccontextmanager
async def dripping(host: str, port: int, text: bytes) -> AsyncIterator[list[Dripper]]:
    """All of them, from 127.0.0.1, a byte each second until they are closed."""
    loop = asyncio.get_running_loop()
    drippers = []
    for _ in range(DRIPPERS):
        drippers.append((await loop.create_connection(lambda: Dripper(text), host, port))[1])

    async def tick() -> None:
        while True:
            await asyncio.sleep(1)
            for dripper in drippers:
                if not dripper.closed:
                    dripper.drip()

    ticking = loop.create_task(tick())
    try:
        yield drippers
    finally:
        ticking.cancel()
        for dripper in drippers:
            dripper.transport.abort()


async def exchange(host: str, port: int, request: bytes, source: str = "127.0.0.1") -> bytes:
    """A connection of its own, one request, the beginning of its answer."""
    reader, writer = await asyncio.open_connection(host, port, local_addr=(source, 0))
    try:
        writer.write(request)
        return await reader.read(4096)
    finally:
        writer.close()


async def served(ask: Ask, expected: bytes, until: Callable[[], bool]) -> list[float]:
    """How long an ordinary client waited, again and again."""
    waited = []
    async with asyncio.timeout(DEADLINE_SECONDS + LATE_SECONDS):
        while not until():
            began = time.monotonic()
            assert expected in await ask()
            waited.append(time.monotonic() - began)
            await asyncio.sleep(0.01)
    return waited


async def endure(host: str, port: int, text: bytes, ask: Ask, expected: bytes, *, all_held: bool) -> None:
    """Drippers come, an ordinary client is served, the drippers go, and nothing of them is left."""
    assert expected in await ask()
    gc.collect()
    files, (memory, _) = len(os.listdir("/proc/self/fd")), tracemalloc.get_traced_memory()
    async with dripping(host, port, text) as drippers:
        waited = await served(ask, expected, lambda: all(dripper.closed for dripper in drippers))
        held = [dripper.closed - dripper.opened for dripper in drippers]
    assert len(waited) > 30
    assert quantiles(waited, n=20)[-1] < SERVED_WITHIN_SECONDS
    assert max(held) < DEADLINE_SECONDS + LATE_SECONDS
    assert (min(held) >= DEADLINE_SECONDS - 0.1) is all_held
    drippers.clear()
    await asyncio.sleep(0.1)
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= files + 2
    assert tracemalloc.get_traced_memory()[0] - memory < MOST_LEFT_BYTES


@pytest.fixture(autouse=True)
def many_files() -> Iterator[None]:
    """Both ends of every connection are in this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4 * DRIPPERS)), hard))
    tracemalloc.start()
    yield
    tracemalloc.stop()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def run(scenario: Coroutine[Any, Any, None]) -> None:
    """On the loop that the engine runs on."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario)


@pytest.mark.parametrize("places", [DRIPPERS + 100, 200], ids=["until the deadline", "until others need the place"])
def test_the_api_serves_others_and_closes_the_slow(tmp_path: Path, places: int) -> None:
    limits = Limits(connections=places, request_seconds=DEADLINE_SECONDS)

    async def scenario() -> None:
        async with open_runtime(tmp_path) as (runtime, _):
            server = HttpServer(build_app(runtime), "127.0.0.1", 0, limits)
            await server.start()
            ask = lambda: exchange("127.0.0.1", server.port, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")  # noqa: E731
            try:
                await endure("127.0.0.1", server.port, HEAD, ask, b" 200 OK", all_held=places > DRIPPERS)
            finally:
                await server.stop()

    run(scenario())


async def accept(raw: bytes, arrival: Arrival) -> Answer:
    return Answer(Verdict(Reply.ACCEPT, message=1), b"MSH|^~\\&|taken")


@asynccontextmanager
async def listening(source: Source) -> AsyncIterator[tuple[str, int]]:
    await source.start(accept)
    try:
        at = urlsplit(source.address)
        yield str(at.hostname), int(at.port or 0)
    finally:
        await source.stop()


POST = b"POST /in HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nMSH|"
ROOM = {"connections": DRIPPERS + 100, "connections_each": DRIPPERS + 100}


def test_the_http_source_serves_others_and_closes_the_slow() -> None:
    options = {**ROOM, "request_within": f"{DEADLINE_SECONDS:.0f}s", "idle": f"{DEADLINE_SECONDS:.0f}s"}

    async def scenario() -> None:
        async with listening(http.source("c", SourceSpec("http://127.0.0.1:0/in", options=options))) as at:
            await endure(*at, HEAD, lambda: exchange(*at, POST), b" 202 ", all_held=True)

    run(scenario())


def test_one_address_cannot_take_every_place_of_the_http_source() -> None:
    """As it comes: so many connections of one address, and another one is heard."""
    options = {"request_within": f"{DEADLINE_SECONDS:.0f}s"}

    async def scenario() -> None:
        async with listening(http.source("c", SourceSpec("http://127.0.0.1:0/in", options=options))) as at:
            await endure(*at, HEAD, lambda: exchange(*at, POST, "127.0.0.2"), b" 202 ", all_held=False)

    run(scenario())


def test_the_mllp_source_serves_others_and_closes_the_slow() -> None:
    options = {**ROOM, "frame_within": f"{DEADLINE_SECONDS:.0f}s"}

    async def scenario() -> None:
        async with listening(mllp.source("c", SourceSpec("mllp://127.0.0.1:0", options=options))) as at:
            await endure(*at, FRAME, lambda: exchange(*at, encode(b"MSH|^~\\&|")), b"taken", all_held=True)

    run(scenario())
