"""An HTTP server that plays the other side of a destination, and an HTTP client that plays a sender. For harnesses."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections import deque
from collections.abc import Callable

from engine.errors import Reply

from .harness import Sender

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


def answer(status: str, body: bytes = b"{}", kind: str = "application/json", extra: str = "") -> bytes:
    """An HTTP answer as it goes over the wire."""
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{extra}\r\n".encode() + body


async def read_message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """One request or answer with a length: head and body."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
    return head, await reader.readexactly(length)


class Peer:
    """Takes requests and shows what it is told to."""

    def __init__(self, shows: dict[str, bytes]) -> None:
        self._shows = shows
        self._next: deque[str] = deque()
        self._released = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.received: list[bytes] = []
        self.heads: list[bytes] = []
        self.open = 0
        self.read_back: Callable[[list[bytes], str], bytes] | None = None
        """Answers a GET from what was received, for a server that keeps what it takes."""

    async def up(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def down(self) -> None:
        if self._server is None:
            return
        self._server.close()
        writers = tuple(self._writers)
        for writer in writers:
            writer.transport.abort()
        for writer in writers:
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        server, self._server = self._server, None
        await server.wait_closed()

    def show(self, *behaviours: str) -> None:
        self._next.extend(behaviours)

    def release(self) -> None:
        self._released.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while await self._one(reader, writer):
                    pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head, body = await read_message(reader)
        self.heads.append(head)
        self.received.append(body)
        self.open += 1
        behaviour = self._next.popleft() if self._next else "take"
        try:
            if behaviour == "silent":
                await reader.read()
                return False
            if behaviour == "wait":
                await self._released.wait()
            if self.read_back is not None and head.startswith(b"GET "):
                writer.write(self.read_back(self.received, head.split(b" ")[1].decode()))
            else:
                writer.write(self._shows.get(behaviour, OK))
            await writer.drain()
        finally:
            self.open -= 1
        return not behaviour.startswith("cut")


class HttpSender(Sender):
    """Keeps one connection to a source and POSTs."""

    def __init__(self, host: str, port: int, path: str, kind: str) -> None:
        self._at = (host, port)
        self._head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {kind}\r\nContent-Length: "
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.answer = b""

    async def send(self, raw: bytes, patience: float = 10.0) -> Reply | None:
        try:
            async with asyncio.timeout(patience):
                return await self._send(raw)
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            await self.close()
            return None

    async def close(self) -> None:
        streams, self._streams = self._streams, None
        if streams is not None:
            streams[1].close()
            with contextlib.suppress(OSError):
                await streams[1].wait_closed()

    async def _send(self, raw: bytes) -> Reply:
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._at)
        reader, writer = self._streams
        writer.write(f"{self._head}{len(raw)}\r\n\r\n".encode() + raw)
        head, self.answer = await read_message(reader)
        status = int(head[9:12])
        if b"connection: close" in head.lower():
            await self.close()
        if 200 <= status < 300:
            return Reply.ACCEPT
        return Reply.ERROR if status in {400, 503} else Reply.REJECT

    def json(self) -> dict[str, object]:
        """The last answer's body."""
        return dict(json.loads(self.answer))
