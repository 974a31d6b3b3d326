"""A proxy that spoils: slow, sliced, silent, cut; answers dropped, delayed, truncated, doubled. MLLP frames one by one.

It stands between the engine and a receiver, on a port of its own.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Literal

from .laboratory import END

Answer = Literal["pass", "drop", "drop and close", "reset", "delay", "truncate", "double"]
Request = Literal["pass", "swallow", "cut"]


def every(number: int, fault: str) -> Callable[[], str]:
    """A plan: each so many-th one meets the fault."""
    count = iter(range(1, 1 << 30))
    return lambda: fault if next(count) % number == 0 else "pass"


def first(*faults: str) -> Callable[[], str]:
    """A plan: the first ones meet these, the rest pass."""
    left = iter(faults)
    return lambda: next(left, "pass")


class FaultProxy:
    """`answers` and `requests` are asked for each frame what becomes of it; the rest holds for whole connections."""

    def __init__(self, to: int) -> None:
        self.port = 0
        self.answers: Callable[[], str] = lambda: "pass"
        self.requests: Callable[[], str] = lambda: "pass"
        self.latency = 0.0
        self.slice = 0
        self.black_hole = asyncio.Event()  # set: whatever comes is swallowed, and connections stay open
        self.released = asyncio.Event()  # set: delayed answers go out
        self.spoiled = 0
        self.late = 0
        self._to = to
        self._writers: set[asyncio.StreamWriter] = set()

    @asynccontextmanager
    async def up(self) -> AsyncIterator[FaultProxy]:
        """Listen."""
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            self.released.set()
            server.close()
            for writer in tuple(self._writers):
                writer.transport.abort()
            await server.wait_closed()
            while self._writers:
                await asyncio.sleep(0.001)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            there_reader, there = await asyncio.open_connection("127.0.0.1", self._to)
            try:
                await self._both(self._forth(reader, there, writer), self._back(there_reader, writer))
            finally:
                there.transport.abort()
        finally:
            writer.transport.abort()
            self._writers.discard(writer)

    @staticmethod
    async def _both(*ways: object) -> None:
        """Until one of the two ends."""
        tasks = [asyncio.ensure_future(way) for way in ways]  # type: ignore[call-overload]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError, OSError, asyncio.IncompleteReadError):
                await task

    async def _forth(
        self, reader: asyncio.StreamReader, there: asyncio.StreamWriter, here: asyncio.StreamWriter
    ) -> None:
        while True:
            frame = await reader.readuntil(END)
            fault = self._fault(self.requests)
            if fault == "cut":
                await self._write(there, frame[: len(frame) // 2])
                return reset(here)
            if fault == "pass":
                await self._write(there, frame)

    async def _back(self, reader: asyncio.StreamReader, here: asyncio.StreamWriter) -> None:
        while True:
            frame = await reader.readuntil(END)
            fault = self._fault(self.answers)
            if fault == "delay":
                await self.released.wait()
                self.late += 1
            if fault == "truncate":
                await self._write(here, frame[: len(frame) // 2])
            if fault in ("truncate", "drop and close"):
                return
            if fault == "reset":
                return reset(here)
            if fault not in ("drop", "swallow"):
                await self._write(here, frame * (2 if fault == "double" else 1))

    def _fault(self, plan: Callable[[], str]) -> str:
        if self.black_hole.is_set():
            return "swallow"
        fault = plan()
        self.spoiled += fault != "pass"
        return fault

    async def _write(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        if self.latency:
            await asyncio.sleep(self.latency)
        for piece in self._pieces(data):
            writer.write(piece)
            await writer.drain()
            if self.slice:
                await asyncio.sleep(0)

    def _pieces(self, data: bytes) -> Iterator[bytes]:
        size = self.slice or len(data)
        return (data[start : start + size] for start in range(0, len(data), size))


def reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST."""
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
