"""MLLP under the contract, plain and with mutual TLS: its other side speaks frames byte by byte, without the engine."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import deque
from pathlib import Path
from typing import ClassVar

from engine.connectors.mllp import MllpDestination, MllpSource
from engine.errors import Reply, Weight
from engine.wiring import DestinationSpec, SourceSpec

from .certificates import Authority, Pair
from .harness import DestinationHarness, Sender, SourceHarness, control_id

REPLIES = {b"A": Reply.ACCEPT, b"E": Reply.ERROR, b"R": Reply.REJECT}


def server_side(own: Pair, authority: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(own.certificate, own.key)
    return context


def client_side(own: Pair, authority: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authority)
    context.load_cert_chain(own.certificate, own.key)
    return context


async def read_frame(reader: asyncio.StreamReader) -> bytes:
    """One payload; raises IncompleteReadError at the end of the stream."""
    payload = await reader.readuntil(b"\x1c\r")
    return payload[1:-2]


class MllpSender(Sender):
    def __init__(self, address: str, tls: ssl.SSLContext | None) -> None:
        self._host, self._port = address.rpartition("/")[2].split(":")
        self._tls = tls
        self._writer: asyncio.StreamWriter | None = None

    async def send(self, raw: bytes, patience: float = 10.0) -> Reply | None:
        with contextlib.suppress(OSError, EOFError, TimeoutError):
            async with asyncio.timeout(patience):
                if self._writer is None:
                    opened = await asyncio.open_connection(self._host, self._port, ssl=self._tls, limit=1 << 25)
                    self._reader, self._writer = opened
                self._writer.write(b"\x0b" + raw + b"\x1c\r")
                answer = await read_frame(self._reader)
                return REPLIES[answer.partition(b"\rMSA|")[2][1:2]]
        return None

    async def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()


class MllpSourceHarness(SourceHarness):
    name = "mllp"
    scheme = "mllp"
    tls: ssl.SSLContext | None = None

    async def make(self, max_size: int, grace: str) -> MllpSource:
        options = {"grace": grace, **self.options()}
        spec = SourceSpec(f"{self.scheme}://127.0.0.1:0", max_size=max_size, options=options)
        self._source = MllpSource("c", spec)
        return self._source

    def options(self) -> dict[str, str]:
        return {}

    async def sender(self) -> Sender:
        return MllpSender(self._source.address, self.tls)


class MllpsSourceHarness(MllpSourceHarness):
    name = "mllps"
    scheme = "mllps"

    def options(self) -> dict[str, str]:
        authority = Authority(self.folder)
        server, client = authority.issue("server"), authority.issue("client")
        self.tls = client_side(client, authority.certificate)
        return {
            "certificate": str(server.certificate),
            "key": str(server.key),
            "client_ca": str(authority.certificate),
            "pin": f"sha256:{client.fingerprint}",
        }


def acknowledgement(code: bytes, number: bytes) -> bytes:
    head = b"\x0bMSH|^~\\&|EHR|SOUTH|LAB|NORTH|20240101120000||ACK|A1|T|2.5.1\rMSA|"
    return head + code + b"|" + number + b"\r\x1c\r"


POSITIVE = acknowledgement(b"AA", b"%b")

#: What the other side writes: %b stands for MSH-10. Without an end of frame it closes after it.
SCRIPTS = {
    "AE": acknowledgement(b"AE", b"%b"),
    "AR": acknowledgement(b"AR", b"%b"),
    "CE": acknowledgement(b"CE", b"%b"),
    "CR": acknowledgement(b"CR", b"%b"),
    "another's": acknowledgement(b"AA", b"another"),
    "no MSA": b"\x0bMSH|^~\\&|EHR|SOUTH|LAB|NORTH|20240101120000||ACK|A1|T|2.5.1\r\x1c\r",
    "no code": acknowledgement(b"", b"%b"),
    "empty": b"\x0b\x1c\r",
    "HTML in a frame": b"\x0b<html>MSA|AA|%b</html>\x1c\r",
    "unframed": b"MSH|^~\\&|EHR|SOUTH|LAB|NORTH|2024||ACK|A1|T|2.5.1\rMSA|AA|%b\r",
    "HTML": b"HTTP/1.1 400 Bad Request\r\n\r\n<html></html>",
    "cut": POSITIVE[:-4],
    "nothing": b"",
    "too long": b"\x0b" + b"x" * (1 << 21),
    "two that contradict": POSITIVE + acknowledgement(b"AE", b"%b"),
}


class MllpDestinationHarness(DestinationHarness):
    name = "mllp"
    scheme = "mllp"
    tls: ssl.SSLContext | None = None
    answers: ClassVar = dict.fromkeys(SCRIPTS, Weight.AMBIGUOUS) | {
        "AE": Weight.TRANSIENT,
        "CE": Weight.TRANSIENT,
        "AR": Weight.PERMANENT,
        "CR": Weight.PERMANENT,
    }

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._script: deque[str] = deque()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._released = asyncio.Event()
        self._outstanding = 0
        self._port = 0

    async def make(self, connections: int, timeout: int) -> MllpDestination:
        options = self.options()
        await self.up()
        await self.down()
        spec = DestinationSpec(
            "d", f"{self.scheme}://127.0.0.1:{self._port}", connections=connections, timeout=timeout, options=options
        )
        return MllpDestination("c", spec)

    def options(self) -> dict[str, str]:
        return {}

    async def up(self) -> None:
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self._port, ssl=self.tls, limit=1 << 25, reuse_address=True
        )
        self._port = self._server.sockets[0].getsockname()[1]

    async def down(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in tuple(self._writers):
            writer.transport.abort()
        while self._writers:
            await asyncio.sleep(0)

    def show(self, *behaviours: str) -> None:
        self._script.extend(behaviours)

    def release(self) -> None:
        self._released.set()

    @property
    def outstanding(self) -> int:
        return self._outstanding

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while await self._answer(await read_frame(reader), writer):
                pass
        except (OSError, EOFError):
            pass
        finally:
            writer.transport.abort() if self._server is None else writer.close()
            self._writers.discard(writer)

    async def _answer(self, raw: bytes, writer: asyncio.StreamWriter) -> bool:
        behaviour = self._script.popleft() if self._script else "take"
        self.received.append(raw)
        if behaviour == "silent":
            return True
        if behaviour == "wait":
            self._outstanding += 1
            await self._released.wait()
            self._outstanding -= 1
        answer = SCRIPTS.get(behaviour, POSITIVE).replace(b"%b", control_id(raw))
        writer.write(answer)
        await writer.drain()
        return answer.endswith(b"\x1c\r")


class MllpsDestinationHarness(MllpDestinationHarness):
    name = "mllps"
    scheme = "mllps"

    def options(self) -> dict[str, str]:
        authority = Authority(self.folder)
        server, client = authority.issue("server"), authority.issue("client")
        self.tls = server_side(server, authority.certificate)
        return {
            "certificate": str(client.certificate),
            "key": str(client.key),
            "ca": str(authority.certificate),
            "pin": f"sha256:{server.fingerprint}",
        }


SOURCES = (MllpSourceHarness, MllpsSourceHarness)
DESTINATIONS = (MllpDestinationHarness, MllpsDestinationHarness)
