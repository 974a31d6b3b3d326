"""One MLLP sender's connection: its frames are taken one by one, its answers leave in their order.

No answer is written before `accept` returned it. What was received whole is accepted even if its sender is gone. No
peer holds more memory than one message and one read, nor a connection longer than its deadlines.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Protocol, cast

from engine.connectors.defects import accept_failed
from engine.connectors.framing import Broken, Event, Frame, FrameDecoder, Oversize, encode
from engine.connectors.sockets import Deadline, send_now, tune
from engine.errors import TooLarge
from engine.failpoints import failpoint, half
from engine.formats.hl7v2_ack import acknowledge
from engine.model import Answer, Arrival, Verdict
from engine.ports import Accept, Clock

#: How long a connection that is given up is still read, so that its last answer is not lost in a reset.
LINGER_SECONDS = 2.0

_SECOND = 1_000_000

Report = Callable[[str, bytes], None]
"""Hears of what is not an ordinary message: its name, and the bytes of a broken frame that nobody will see again."""


class Listener(Protocol):
    """What a connection asks of the source that it belongs to."""

    channel: str
    limits: Limits
    report: Report
    clock: Clock

    def admit(self, connection: Connection, transport: asyncio.Transport, peer: str) -> str:
        """Take a new connection: "" or the name of what is against it."""
        ...

    def release(self, connection: Connection, peer: str) -> None:
        """Forget a connection that is closed and has nothing left to accept."""
        ...


class Limits:
    """The source's knobs in the units that a connection needs: seconds, bytes."""

    __slots__ = ("connections", "end", "frame", "grace", "idle", "per_peer", "size", "start_inside")

    def __init__(self, options: Mapping[str, Any], size: int) -> None:
        self.size = size
        self.frame: float = options["frame_within"] / _SECOND
        self.idle: float = options["idle"] / _SECOND
        self.grace: float = options["grace"] / _SECOND
        self.connections: int = options["connections"]
        self.per_peer: int = options["connections_each"]
        self.start_inside = options["start_inside"]
        self.end = options["end"]


class Connection(asyncio.Protocol):
    """One sender. A worker takes its frames one by one; reading pauses when more come than it takes."""

    def __init__(self, source: Listener, accept: Accept, loop: asyncio.AbstractEventLoop) -> None:
        limits = source.limits
        self._source = source
        self._accept = accept
        self._loop = loop
        self._limits = limits
        self._decoder = FrameDecoder(limits.size, limits.start_inside, limits.end)
        self._deadline = Deadline(loop, self._expired)
        self._events: deque[Event] = deque()
        self._idle: asyncio.Future[None] | None = None  # set while the worker waits for a frame
        self._full: asyncio.Future[None] | None = None  # set while the sender does not read its answers
        self._worker: asyncio.Task[None] | None = None
        self._paused = False
        self._inside = False
        self._ending = False  # nothing more will come, or be taken
        self._deaf = False  # given up: what still comes is dropped
        self._lost = False
        self._peer = ""

    # what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection or drop it at once."""
        self._transport = transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass of it
        host, port = (transport.get_extra_info("peername") or ("", 0))[:2]
        self._peer = host.removeprefix("::ffff:")  # IPv4 on a socket for both
        self._from = f"{self._peer}:{port}"
        if refusal := self._source.admit(self, transport, self._peer):
            self._source.report(refusal, b"")
            self._deaf = True
            transport.abort()
            return
        tune(transport, self._limits.frame)
        self._deadline.set(self._limits.idle)
        self._worker = self._loop.create_task(self._work())
        self._worker.add_done_callback(self._worked)

    def data_received(self, data: bytes) -> None:
        """Find frames and hand them to the worker."""
        if self._deaf or self._ending:
            return
        events = self._decoder.feed(data)
        if events:
            self._events.extend(events)
            if not self._wake() and not self._paused:
                self._transport.pause_reading()
                self._paused = True
        inside = self._decoder.inside
        if inside and not self._paused and (events or not self._inside):
            self._deadline.set(self._limits.frame)
        self._inside = inside

    def eof_received(self) -> bool:
        """The sender has sent all: what came whole is still answered where TLS does not forbid it."""
        if self._deaf:
            return False
        self._finish()
        return self._transport.get_extra_info("ssl_object") is None

    def connection_lost(self, error: Exception | None) -> None:
        """Nothing can be answered any more; what came whole is still accepted."""
        self._lost = True
        self._deadline.close()
        self.resume_writing()
        self._finish()
        self._release()

    def pause_writing(self) -> None:
        """The answer did not leave whole: take no further frame before it has."""
        self._full = self._loop.create_future()
        self._deadline.set(self._limits.frame)

    def resume_writing(self) -> None:
        """The answer has left."""
        full, self._full = self._full, None
        if full is not None and not full.done():
            full.set_result(None)

    # what the source calls

    def drain(self) -> None:
        """Take no more; close now when idle or given up, else after the answer that is being made."""
        self._events.clear()
        self._ending = True
        if self._deaf or self._idle is not None:
            self._transport.abort() if self._deaf else self._transport.close()
        self._wake()

    def abandon(self) -> None:
        """Close without waiting for anything."""
        self._transport.abort()
        if self._worker is not None:
            self._worker.cancel()

    # the worker

    async def _work(self) -> None:
        """Take frames until none will come."""
        while (event := await self._next()) is not None:
            if type(event) is Frame:
                await self._serve(event)
                continue
            if self._report(event):
                return self._linger()
        self._transport.close()

    async def _next(self) -> Event | None:
        while not self._events:
            if self._ending:
                return None
            self._listen()
            self._idle = self._loop.create_future()
            await self._idle
        return self._events.popleft()

    async def _serve(self, frame: Frame) -> None:
        note = f"{frame.junk} bytes of junk before the frame" if frame.junk else ""
        self._deadline.clear()
        arrival = Arrival(self._source.channel, self._source.clock.now(), self._from, note)
        try:
            answer = await self._accept(frame.payload, arrival)
        except Exception as error:
            verdict = accept_failed(arrival.channel, error, arrival.at)
            answer = Answer(verdict, acknowledge(None, frame.payload, verdict))
        if answer.payload is not None:
            self._answer(answer.payload)
        if self._full is not None:
            await self._full

    def _answer(self, payload: bytes) -> None:
        transport = self._transport
        if transport.is_closing():
            self._source.report("answer_lost", b"")
            return
        frame = encode(payload)
        if half("mllp.answer.half"):
            send_now(transport, frame[: len(frame) // 2])
            failpoint("mllp.answer.half")
            frame = frame[len(frame) // 2 :]
        failpoint("mllp.answer.before")
        transport.write(frame)
        failpoint("mllp.answer.after")

    def _report(self, event: Event) -> bool:
        """Say what went wrong; True when the stream cannot go on."""
        if isinstance(event, Oversize):
            self._source.report("oversize", event.head)
            self._refuse(event)
            return True
        if isinstance(event, Broken):
            self._source.report(event.reason, event.partial)
            return event.reason == "junk"
        return False

    def _refuse(self, event: Oversize) -> None:
        """Answer what was not even received: the header is there, so the sender can be told why."""
        error = TooLarge("receiving: the message is above the channel's size limit")
        verdict = Verdict(error.reply, error.code, error.text, at=self._source.clock.now())
        answer = acknowledge(None, event.head, verdict)
        if answer is not None:
            self._answer(answer)

    def _listen(self) -> None:
        """Nothing to do: read on, for so long as the connection's state allows."""
        if self._paused:
            self._transport.resume_reading()
            self._paused = False
        self._deadline.set(self._limits.frame if self._decoder.inside else self._limits.idle)

    def _linger(self) -> None:
        """Give the connection up: say so, drop what still comes, and close when the sender does or soon after."""
        self._deaf = True
        self._events.clear()
        if self._lost or self._ending:
            self._transport.close()
            return
        if self._transport.can_write_eof() and not self._transport.is_closing():
            self._transport.write_eof()
        if self._paused:
            self._transport.resume_reading()
        self._deadline.set(LINGER_SECONDS)

    def _finish(self) -> None:
        if not self._ending:
            self._ending = True
            self._events.extend(self._decoder.finish())
        self._wake()

    def _wake(self) -> bool:
        """Let the worker go on; False when it is at work."""
        idle, self._idle = self._idle, None
        if idle is not None and not idle.done():
            idle.set_result(None)
        return idle is not None

    def _expired(self) -> None:
        if not self._deaf:
            slow = self._full is not None or self._decoder.inside
            self._source.report("frame_timeout" if slow else "idle_timeout", b"")
        self._transport.abort()

    def _worked(self, worker: asyncio.Task[None]) -> None:
        """A worker that broke takes its connection with it and is reported."""
        error = None if worker.cancelled() else worker.exception()
        if error is not None:
            self._transport.abort()
            self._loop.call_exception_handler({"message": "an MLLP connection broke", "exception": error})
        self._release()

    def _release(self) -> None:
        if self._lost and self._worker is not None and self._worker.done():
            self._source.release(self, self._peer)
