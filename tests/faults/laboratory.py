"""A laboratory as a sender: many patients over several connections, everything unanswered sent again with equal bytes.

It judges every answer (one a frame, MSA-2 = MSH-10, nothing unasked) and notes what it sent and what was acknowledged:
the sending half of the ledger.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count

START, END = b"\x0b", b"\x1c\r"
PAUSE_SECONDS = 0.02
"""Between two tries of one message: a sender does not hammer."""
ANSWER_SECONDS = 20.0

TEMPLATE = (
    "MSH|^~\\&|LAB|NORTH|EHR|LEE|20260301101500-0600||ORU^R01^ORU_R01|{control}|P|2.5.1\r"
    "PID|1||{patient}^^^INTERLOCK-TEST^MR||TESTER^{patient}||19700101|F\r"
    "OBR|1|PL{control}|FI{control}|GLU^Glucose^L|||20260301100000-0600|||||||||||||||20260301101000-0600|||F\r"
    "OBX|1|NM|GLU^Glucose^L||{value}|mg/dL|70-99|N|||F\r"
    "NTE|1||{note}\r"
)
HOLD = "HOLD-ME"
"""A note that the fault tests' converter refuses to convert."""


@dataclass(frozen=True, slots=True)
class Sent:
    """One message of the laboratory: its lane (the patient) and its place in it."""

    control: str
    lane: str
    place: int
    raw: bytes
    held: bool = False


@dataclass(slots=True)
class Where:
    """Where the engine listens now; None while nobody knows."""

    port: int | None = None


@dataclass(slots=True)
class Book:
    """What a sender knows afterwards."""

    sent: dict[str, Sent] = field(default_factory=dict)
    acknowledged: dict[str, float] = field(default_factory=dict)
    negative: list[tuple[str, str]] = field(default_factory=list)  # (control id, code)
    wrong: list[str] = field(default_factory=list)
    tries: int = 0
    refused_connections: int = 0


def fields_of(answer: bytes) -> tuple[str, str]:
    """MSA-1 and MSA-2 of an answer; ("", "") when it has none."""
    for segment in answer.split(b"\r"):
        if segment.startswith(b"MSA|"):
            parts = [*segment.decode("latin-1").split("|"), "", ""]
            return parts[1], parts[2]
    return "", ""


def control_of(raw: bytes) -> str:
    """MSH-10."""
    return raw.split(b"\r", 1)[0].split(b"|")[9].decode()


class Line(asyncio.Protocol):
    """One connection of the laboratory: one frame outstanding, whatever else comes is noted as wrong."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._buffer = bytearray()
        self._waiter: asyncio.Future[bytes] | None = None
        self.transport: asyncio.Transport
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._waiter is None:
            self._book.wrong.append("bytes came that nobody asked for")
        elif (end := self._buffer.find(END)) >= 0:
            frame = bytes(self._buffer[: end + 2])
            del self._buffer[: end + 2]
            if self._buffer or not frame.startswith(START):
                self._book.wrong.append("more, or less, than one framed answer")
            waiter, self._waiter = self._waiter, None
            waiter.set_result(frame[1:-2])

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(ConnectionResetError("the engine closed"))

    async def ask(self, raw: bytes) -> bytes:
        """Send one message and give its answer. Raises `OSError` when there is none."""
        self._waiter = asyncio.get_running_loop().create_future()
        self.transport.write(START + raw + END)
        try:
            return await asyncio.wait_for(self._waiter, ANSWER_SECONDS)
        finally:
            self._waiter = None

    def close(self) -> None:
        self.transport.abort()


class Laboratory:
    """Sends until told to finish; `run` returns when everything that was begun has been acknowledged."""

    def __init__(
        self,
        name: str,
        where: Where,
        *,
        connections: int = 8,
        patients: int = 40,
        hold_every: int = 0,
        pause: float = 0,
    ) -> None:
        self.book = Book()
        self.name = name
        self._where = where
        self._connections = connections
        self._patients = patients
        self._hold_every = hold_every
        self._pause = pause
        self._numbers = count(1)
        self._finishing = False
        self._goal: tuple[int, asyncio.Event] | None = None

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(self._connections):
                group.create_task(self._connection(number))

    def finish(self) -> None:
        """Begin no further message."""
        self._finishing = True

    async def acknowledged(self, more: int) -> None:
        """Wait until so many more messages have been acknowledged."""
        goal = asyncio.Event()
        self._goal = (len(self.book.acknowledged) + more, goal)
        await asyncio.wait_for(goal.wait(), 60)

    async def _connection(self, number: int) -> None:
        line: Line | None = None
        for message in self._messages(number):
            line = await self._until_acknowledged(message, line)
            if self._pause:
                await asyncio.sleep(self._pause)
        if line is not None:
            line.close()

    def _messages(self, number: int) -> Iterator[Sent]:
        mine = [f"{self.name}P{patient:03}" for patient in range(number, self._patients, self._connections)]
        for place in count(1):
            for lane in mine:
                if self._finishing:
                    return
                yield self.write(lane, place)

    def write(self, lane: str, place: int) -> Sent:
        """A new message of a patient."""
        number = next(self._numbers)
        control = f"{self.name}{number:06}"
        held = bool(self._hold_every) and number % self._hold_every == 0
        text = TEMPLATE.format(control=control, patient=lane, value=70 + number % 300, note=HOLD if held else control)
        message = self.book.sent[control] = Sent(control, lane, place, text.encode(), held)
        return message

    async def _until_acknowledged(self, message: Sent, line: Line | None) -> Line | None:
        while True:
            try:
                if line is None or line.lost:
                    line = await self._connect()
                self.book.tries += 1
                answer = await line.ask(message.raw)
            except (OSError, TimeoutError):
                if line is not None:
                    line.close()
                    line = None
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            if self.judge(message, answer):
                return line
            await asyncio.sleep(PAUSE_SECONDS)

    def judge(self, message: Sent, answer: bytes) -> bool:
        """Note an answer; True when the message need not be sent again."""
        code, answered = fields_of(answer)
        if answered != message.control:
            self.book.wrong.append(f"the answer to {message.control} names {answered or 'nothing'}")
        if code not in ("AA", "CA"):
            self.book.negative.append((message.control, code))
            return False
        self.book.acknowledged.setdefault(message.control, asyncio.get_running_loop().time())
        if self._goal is not None and len(self.book.acknowledged) >= self._goal[0]:
            self._goal[1].set()
        return True

    async def _connect(self) -> Line:
        port = self._where.port
        if port is None:
            raise ConnectionRefusedError
        try:
            _, line = await asyncio.get_running_loop().create_connection(lambda: Line(self.book), "127.0.0.1", port)
        except OSError:
            self.book.refused_connections += 1
            raise
        return line


class HttpLaboratory(Laboratory):
    """The same over HTTP: POST, and 202 is the acknowledgement."""

    async def _until_acknowledged(self, message: Sent, line: Line | None) -> Line | None:
        while True:
            with suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
                self.book.tries += 1
                if await self._post(message) == 202:
                    self.judge(message, b"MSA|AA|" + message.control.encode())
                    return None
                self.book.negative.append((message.control, "HTTP"))
            await asyncio.sleep(PAUSE_SECONDS)

    async def _post(self, message: Sent) -> int:
        if self._where.port is None:
            raise ConnectionRefusedError
        reader, writer = await asyncio.open_connection("127.0.0.1", self._where.port)
        try:
            head = f"POST /lab HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(message.raw)}\r\n\r\n"
            writer.write(head.encode() + message.raw)
            answer = await asyncio.wait_for(reader.readuntil(b"\r\n"), ANSWER_SECONDS)
            return int(answer.split()[1])
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
