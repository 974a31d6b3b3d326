"""What the MLLP tests share: a path that answers, a sender of raw bytes, a receiver that plays a script."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from engine.connectors.mllp import MllpDestination, MllpSource
from engine.errors import Reply
from engine.model import Answer, Arrival, Verdict
from engine.wiring import DestinationSpec, SourceSpec

ACCEPTED = Verdict(Reply.ACCEPT)
Options = dict[str, str | int | float | bool]


def hl7(number: int | str, text: str = "") -> bytes:
    """A synthetic message with its own control id."""
    return f"MSH|^~\\&|LAB|NORTH|EHR|SOUTH|20240101||ORU^R01|{number}|T|2.5.1\rNTE|1||{text}\r".encode()


def ack(number: int | str, code: str = "AA") -> bytes:
    """An answer to `hl7(number)`."""
    return f"MSH|^~\\&|EHR|SOUTH|LAB|NORTH|20240101||ACK|A{number}|T|2.5.1\rMSA|{code}|{number}\r".encode()


def framed(*payloads: bytes) -> bytes:
    return b"".join(b"\x0b" + payload + b"\x1c\r" for payload in payloads)


class Taking:
    """An `accept` that answers each payload with itself, after `gate` opens."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.notes: list[str] = []
        self.entered = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, raw: bytes, arrival: Arrival) -> Answer:
        self.taken.append(raw)
        self.notes.append(arrival.note)
        self.entered.set()
        await self.gate.wait()
        return Answer(ACCEPTED, raw)


class Reports(list[tuple[str, bytes]]):
    """Collects what a source reports, and lets a test wait for a name."""

    def __init__(self) -> None:
        super().__init__()
        self.changed = asyncio.Event()

    def __call__(self, what: str, partial: bytes) -> None:
        self.append((what, partial))
        self.changed.set()

    async def wait_for(self, what: str) -> bytes:
        while True:
            for name, partial in self:
                if name == what:
                    return partial
            self.changed.clear()
            await asyncio.wait_for(self.changed.wait(), 10)


@asynccontextmanager
async def listening(
    accept: Callable[[bytes, Arrival], Awaitable[Answer]], max_size: int = 1 << 16, **options: Any
) -> AsyncIterator[tuple[MllpSource, Reports, int]]:
    """A started source, what it reports, and its port."""
    reports = Reports()
    spec = SourceSpec("mllp://127.0.0.1:0", max_size=max_size, options={"grace": "1s", **options})
    source = MllpSource("c", spec, reports)
    await source.start(accept)
    try:
        yield source, reports, int(source.address.rpartition(":")[2])
    finally:
        await source.stop()


@asynccontextmanager
async def dialled(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A raw connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 24)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def receiver(script: Script, **spec: Any) -> AsyncIterator[tuple[MllpDestination, list[int]]]:
    """A destination whose receiver runs `script` on each connection, and a list that grows with each connection."""
    connections: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(len(connections))
        try:
            await script(reader, writer)
        except (OSError, EOFError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 24)
    port = server.sockets[0].getsockname()[1]
    destination = MllpDestination("c", DestinationSpec("d", f"mllp://127.0.0.1:{port}", **spec))
    try:
        yield destination, connections
    finally:
        await destination.close()
        server.close()
