"""Two EHRs as receivers, with real sockets: they take everything and note each arrival with its time and connection."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from .laboratory import END, START, control_of

ENTRY = '{"response":{"status":"200 OK"}}'
CONTROL = re.compile(rb"[A-Z]\d{6}\b")


@dataclass(frozen=True, slots=True)
class Arrival:
    """One message that came whole."""

    control: str
    raw: bytes
    at: float
    connection: int


class Ehr:
    """What both have in common: a port, the arrivals, and a way to wait for some of them."""

    def __init__(self) -> None:
        self.arrivals: list[Arrival] = []
        self.seen: set[str] = set()
        self.connections = 0
        self.port = 0
        self._came = asyncio.Event()
        self._open: set[asyncio.StreamWriter] = set()

    def take(self, control: str, raw: bytes, connection: int) -> None:
        self.arrivals.append(Arrival(control, raw, asyncio.get_running_loop().time(), connection))
        self.seen.add(control)
        self._came.set()

    async def has(self, controls: Iterable[str], seconds: float = 30) -> None:
        """Wait until all of these have come at least once."""
        wanted = set(controls)
        async with asyncio.timeout(seconds):
            while not wanted <= self.seen:
                self._came.clear()
                await self._came.wait()

    async def count(self, arrivals: int, seconds: float = 30) -> None:
        """Wait until so many have come, repeats counted."""
        async with asyncio.timeout(seconds):
            while len(self.arrivals) < arrivals:
                self._came.clear()
                await self._came.wait()

    @asynccontextmanager
    async def up(self) -> Any:
        """Listen on a port of its own."""
        server = await asyncio.start_server(self._connection, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for writer in tuple(self._open):
                writer.transport.abort()
            await server.wait_closed()
            while self._open:
                await asyncio.sleep(0.001)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open.add(writer)
        try:
            await self.serve(reader, writer, self.connections)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._open.discard(writer)
            writer.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int) -> None:
        raise NotImplementedError


class MllpEhr(Ehr):
    """An MLLP receiver; it answers AA, or what `answer` says."""

    answer = "AA"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int) -> None:
        while True:
            raw = (await reader.readuntil(END))[:-2].lstrip(START)
            control = control_of(raw)
            self.take(control, raw, connection)
            writer.write(START + ack(control, self.answer) + END)


def ack(control: str, code: str = "AA") -> bytes:
    """An acknowledgement as a receiver writes it."""
    return f"MSH|^~\\&|EHR|LEE|LAB|NORTH|20260301101501-0600||ACK|R{control}|P|2.5.1\rMSA|{code}|{control}\r".encode()


class FhirEhr(Ehr):
    """A FHIR server; every transaction succeeds."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: *(\d+)", head)
            body = await reader.readexactly(int(length.group(1)) if length else 0)
            controls = set(CONTROL.findall(body))
            assert len(controls) == 1, f"a Bundle names {len(controls)} messages"
            self.take(controls.pop().decode(), body, connection)
            entries = ",".join([ENTRY] * body.count(b'"request"'))
            answer = f'{{"resourceType":"Bundle","type":"transaction-response","entry":[{entries}]}}'
            lines = ("HTTP/1.1 200 OK", "Content-Type: application/fhir+json", f"Content-Length: {len(answer)}")
            writer.write("\r\n".join((*lines, "", answer)).encode())
