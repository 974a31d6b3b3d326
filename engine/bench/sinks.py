"""The sink process: a FHIR server and an MLLP receiver that take everything and note when each message came first.

It parses no more than it must to answer correctly, so that it is never the bottleneck; a message is recognised by the
run's tag (see `messages`), wherever in the bytes the conversion put it.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import time
from array import array
from dataclasses import dataclass
from multiprocessing.connection import Connection
from time import monotonic
from typing import cast

import uvloop

from engine.bench.messages import END, START, sequence_in

ACK = START + rb"MSH|^~\&|BENCHSINK|SINK|ENGINE|ENGINE|20250611093000||ACK^R01^ACK|%s|T|2.5.1" + b"\rMSA|AA|%s\r" + END
CHECK_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class Wait:
    """An order to the sink: answer when `count` different messages came in all, or none for `stall` seconds."""

    count: int
    stall: float


@dataclass(frozen=True, slots=True)
class Take:
    """An order to the sink: hand over what has arrived since the last time."""


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Messages in the order of their first arrival, when that was, and how many came again."""

    sequence: array[int]
    at: array[float]
    repeats: int
    connections: int
    cpu_seconds: float


class Ledger:
    """What has arrived, in order; a message that came in an earlier phase is still known when it comes again."""

    def __init__(self, tag: bytes) -> None:
        self.tag = tag
        self.seen: set[int] = set()
        self.connections = 0
        self.cpu = time.process_time()
        self._turn_page()

    def note(self, data: bytes) -> None:
        """Note the message these bytes carry; bytes without the run's tag are nobody's message."""
        sequence = sequence_in(data, self.tag)
        if sequence in self.seen:
            self.repeats += 1
        elif sequence >= 0:
            self.seen.add(sequence)
            self.sequence.append(sequence)
            self.at.append(monotonic())

    def take(self) -> Arrivals:
        """Everything since the last `take`."""
        cpu, self.cpu = self.cpu, time.process_time()
        arrivals = Arrivals(self.sequence, self.at, self.repeats, self.connections, self.cpu - cpu)
        self._turn_page()
        return arrivals

    def _turn_page(self) -> None:
        self.sequence, self.at, self.repeats = array("Q"), array("d"), 0


class MllpSink(asyncio.Protocol):
    """Answers AA to every frame, several frames in one read included."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count it."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self.ledger.connections += 1

    def data_received(self, data: bytes) -> None:
        """Take whole frames, keep the rest."""
        if self.buffer:
            data = self.buffer + data
        while (end := data.find(END)) >= 0:
            frame, data = data[:end], data[end + 2 :]
            self.ledger.note(frame)
            identifier = frame.split(b"|", 10)[9]
            if not self.transport.is_closing():
                self.transport.write(ACK % (identifier, identifier))
        self.buffer = data


@functools.lru_cache(maxsize=64)
def transaction_response(entries: int) -> bytes:
    """An HTTP answer to a bundle of so many requests: a transaction response that took each of them."""
    each = b'{"response":{"status":"200 OK"}}'
    body = b'{"resourceType":"Bundle","type":"transaction-response","entry":[%s]}' % b",".join([each] * entries)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/fhir+json\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body


class FhirSink(asyncio.Protocol):
    """Answers 200 and a transaction response to every request of a keep-alive connection."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.buffer = b""
        self.wanted = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count it."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self.ledger.connections += 1

    def data_received(self, data: bytes) -> None:
        """Take whole requests, keep the rest without looking at it again until enough is there."""
        if self.buffer:
            data = self.buffer + data
        while len(data) >= self.wanted and (head := data.find(b"\r\n\r\n")) >= 0:
            end = head + 4 + content_length(data[:head])
            if len(data) < end:
                self.wanted = end
                break
            request, data, self.wanted = data[:end], data[end:], 0
            self.ledger.note(request)
            if not self.transport.is_closing():
                self.transport.write(transaction_response(request.count(b'"request"')))
        self.buffer = data


def content_length(head: bytes) -> int:
    """The length that a request's head announces; 0 where it announces none."""
    head = head.lower()
    start = head.find(b"\r\ncontent-length:")
    if start < 0:
        return 0
    return int(head[start + 17 :].split(b"\r", 1)[0])


async def wait_for(ledger: Ledger, order: Wait) -> int:
    """How many different messages are there, once all are or nothing has come for a while."""
    seen, since = -1, monotonic()
    while len(ledger.seen) < order.count and monotonic() - since < order.stall:
        if len(ledger.seen) != seen:
            seen, since = len(ledger.seen), monotonic()
        await asyncio.sleep(CHECK_SECONDS)
    return len(ledger.seen)


def sink_process(orders: Connection, kind: str, tag: bytes) -> None:
    """The sink process: listen, say where, then obey each order that comes through the pipe until None does."""
    gc.disable()  # nothing here makes cycles, and a collection would look like the engine's latency

    async def serve() -> None:
        ledger = Ledger(tag)
        protocol = {"fhir": FhirSink, "mllp": MllpSink}[kind]
        server = await asyncio.get_running_loop().create_server(lambda: protocol(ledger), "127.0.0.1", 0)
        orders.send(server.sockets[0].getsockname()[1])
        while order := await asyncio.to_thread(orders.recv):
            orders.send(await wait_for(ledger, order) if isinstance(order, Wait) else ledger.take())
        server.close()

    uvloop.run(serve())
