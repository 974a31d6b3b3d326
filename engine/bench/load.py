"""The load process: MLLP connections that each keep exactly one message outstanding, as MLLP senders do.

It is never the bottleneck, so it parses no more of an answer than proves that it is positive and for this message.
In an open loop a message's time counts from when it was due, also while no connection was free to send it.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import socket
import threading
import time
from array import array
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from time import monotonic
from typing import cast

import uvloop

from engine.bench.messages import END, control_id, patient, template

#: how long a phase waits for the answers still outstanding at its end
LAST_ANSWERS_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Phase:
    """One stretch of load. `rate` 0 is a closed loop; `count` ends it early; `pause` sends one message at a time."""

    seconds: float = 0.0
    rate: float = 0.0
    count: int = 0
    pause: float = 0.0


@dataclass(frozen=True, slots=True)
class Record:
    """What happened to each message of a phase; the times are of the host's monotonic clock, in seconds.

    `first` is the sequence number of index 0. An `acked` of 0 means: not answered positively.
    """

    first: int
    due: array[float]
    sent: array[float]
    acked: array[float]
    patient: array[int]
    refused: int
    broken: int
    cpu_seconds: float


class Book:
    """The record while it is being written. One list index a message, no object."""

    def __init__(self, first: int) -> None:
        self.first = first
        self.due, self.sent, self.acked = array("d"), array("d"), array("d")
        self.patient = array("I")
        self.refused = self.broken = 0
        self.cpu = time.process_time()

    def close(self) -> Record:
        """The record, as it stands."""
        cpu = time.process_time() - self.cpu
        return Record(
            self.first, self.due, self.sent, self.acked, self.patient, self.refused, self.broken, cpu_seconds=cpu
        )


class Link(asyncio.Protocol):
    """One connection. It owns its patients, so that the order of one patient's messages is never in question."""

    def __init__(self, load: Load, patients: list[int]) -> None:
        self.load = load
        self.patients = itertools.cycle([(number, patient(number)) for number in patients])
        self.buffer = b""
        self.expected = b""
        self.index = -1
        self.alive = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send at once: a frame is one segment of the protocol's dialogue."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self.transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, due: float) -> None:
        """Send the next message. `due` is when it should have left; 0 means now."""
        load, book = self.load, self.load.book
        number, name = next(self.patients)
        sequence = load.sequence
        load.sequence = sequence + 1
        identifier = control_id(load.tag, sequence)
        self.expected = b"A|" + identifier
        self.index = sequence - book.first
        frame = load.template % (identifier, name, identifier, sequence // 10, sequence % 10)
        now = monotonic()
        book.due.append(due or now)
        book.sent.append(now)
        book.acked.append(0.0)
        book.patient.append(number)
        self.transport.write(frame)

    def data_received(self, data: bytes) -> None:
        """Take an answer: MSA-1 AA or CA and MSA-2 the control id sent, or it is counted as refused."""
        now = monotonic()
        if self.buffer:
            data = self.buffer + data
        if not data.endswith(END):
            self.buffer = data
            return
        self.buffer = b""
        book = self.load.book
        if data.startswith(self.expected, data.find(b"\rMSA|") + 6):
            book.acked[self.index] = now
        else:
            book.refused += 1
        self.index = -1
        self.load.on_idle(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """A lost connection sends no more; what it had outstanding counts as not acknowledged."""
        self.alive = False
        if self.index >= 0:
            self.load.book.broken += 1
            self.index = -1


class Load:
    """The connections and the loop that feeds them."""

    def __init__(self, tag: bytes, patients: int) -> None:
        self.tag = tag
        self.patients = patients
        self.template = template()
        self.sequence = 1
        self.book = Book(1)
        self.links: list[Link] = []
        self.on_idle: Callable[[Link], None] = lambda link: None

    async def connect(self, port: int, connections: int) -> None:
        """Open the connections and share the patients among them; with fewer patients, connections share one."""
        loop = asyncio.get_running_loop()
        for number in range(connections):
            mine = list(range(number, self.patients, connections)) or [number % self.patients]
            _, link = await loop.create_connection(lambda mine=mine: Link(self, mine), "127.0.0.1", port)  # type: ignore[misc]
            self.links.append(link)

    async def run(self, phase: Phase) -> Record:
        """Run one phase to its end, answers included."""
        self.book = Book(self.sequence)
        if phase.pause:
            await self._one_by_one(phase)
        elif phase.rate:
            await self._open(phase)
        else:
            await self._closed(phase)
        await self._quiet()
        return self.book.close()

    async def _closed(self, phase: Phase) -> None:
        end = monotonic() + phase.seconds if phase.seconds else float("inf")
        last = self.sequence + phase.count if phase.count else float("inf")

        def again(link: Link) -> None:
            if monotonic() < end and self.sequence < last:
                link.send(0.0)

        self.on_idle = again
        for link in self._alive():
            again(link)

    async def _open(self, phase: Phase) -> None:
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        total = phase.count or int(phase.rate * phase.seconds)
        free, late, start = deque(self._alive()), deque[float](), monotonic() + 0.01

        def release(first: int, end: int) -> None:
            for number in range(first, end):
                late.append(start + number / phase.rate)
            while late and free:
                free.popleft().send(late.popleft())
            if end == total:
                done.set()

        def idle(link: Link) -> None:
            if late:
                link.send(late.popleft())
            else:
                free.append(link)

        self.on_idle = idle
        threading.Thread(target=_metronome, args=(loop, release, start, phase.rate, total), daemon=True).start()
        await done.wait()
        while late and self._alive():
            await asyncio.sleep(0.005)

    async def _one_by_one(self, phase: Phase) -> None:
        turns = itertools.cycle(self._alive())
        for _ in range(phase.count):
            answered = asyncio.Event()
            self.on_idle = lambda link, answered=answered: answered.set()  # type: ignore[misc]
            next(turns).send(0.0)
            await asyncio.wait_for(answered.wait(), LAST_ANSWERS_SECONDS)
            await asyncio.sleep(phase.pause)

    async def _quiet(self) -> None:
        """Wait until nothing is outstanding; what stays unanswered is simply not acknowledged."""
        give_up = monotonic() + LAST_ANSWERS_SECONDS
        while any(link.index >= 0 for link in self.links) and monotonic() < give_up:
            await asyncio.sleep(0.002)

    def _alive(self) -> list[Link]:
        return [link for link in self.links if link.alive]


def _metronome(
    loop: asyncio.AbstractEventLoop, release: Callable[[int, int], None], start: float, rate: float, total: int
) -> None:
    """Release messages when they are due. A thread, because the loop's own timers are a millisecond coarse."""
    done = 0
    while done < total:
        due = min(total, int((monotonic() - start) * rate) + 1)
        if due > done:
            loop.call_soon_threadsafe(release, done, due)
            done = due
        time.sleep(max(0.0, start + done / rate - monotonic()))


def load_process(orders: Connection, port: int, connections: int, patients: int, tag: bytes) -> None:
    """The load process: connect, say so, then run each `Phase` that comes through the pipe until None does."""
    gc.disable()  # nothing here makes cycles, and a collection would look like the engine's latency

    async def serve() -> None:
        load = Load(tag, patients)
        await load.connect(port, connections)
        orders.send(len(load.links))
        while phase := await asyncio.to_thread(orders.recv):
            orders.send(await load.run(phase))

    uvloop.run(serve())
