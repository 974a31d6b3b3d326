"""One connection to an MLLP receiver: one message outstanding, its answers, and whether it may carry another.

After anything late, doubled, unreadable or cut it is not used again, so that no answer meets another message.
"""

from __future__ import annotations

import asyncio
import select
from collections import deque
from typing import cast

from engine.connectors.framing import Frame, FrameDecoder, encode
from engine.connectors.sockets import Deadline, send_now, tune
from engine.errors import Weight
from engine.failpoints import failpoint, half
from engine.model import Outcome

_WAITING = select.POLLIN | getattr(select, "POLLRDHUP", 0)  # bytes, or the peer's end

#: Between frames these are no answer: senders are known to add them.
_FILLER = b"\0\r\n \x1c"


def in_doubt(code: str, detail: str) -> Outcome:
    """The bytes left, and nobody knows what became of them."""
    return Outcome(code, Weight.AMBIGUOUS, detail=detail)


_LOST = in_doubt("answer_lost", "the connection closed before the answer came")


class Link(asyncio.Protocol):
    """One connection: what it sent last, the frames that came back, and whether it can be trusted with more."""

    def __init__(self, loop: asyncio.AbstractEventLoop, answer_bytes: int, user_timeout: float) -> None:
        self._loop = loop
        self._user_timeout = user_timeout
        self._decoder = FrameDecoder(answer_bytes)
        self._deadline = Deadline(loop, self._expired)
        self._answers: deque[bytes] = deque()
        self._end: Outcome | None = None  # why no further answer will come
        self._waiter: asyncio.Future[None] | None = None
        self._sent = False  # a message is outstanding

    # what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Set the socket up."""
        self._transport = transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass of it
        tune(transport, self._user_timeout)
        self._poll = select.poll()
        self._poll.register(transport.get_extra_info("socket").fileno(), _WAITING)

    def data_received(self, data: bytes) -> None:
        """Find the answer; anything that nobody asked for makes the connection unusable."""
        if not self._sent:
            return self.close()
        for event in self._decoder.feed(data):
            if isinstance(event, Frame):
                self._answers.append(event.payload)
                self._wake()
            else:
                self._ended(in_doubt("answer_unreadable", "the answer is no whole MLLP frame of ordinary size"))
        if not self._answers and not self._decoder.inside and data.strip(_FILLER):
            self._ended(in_doubt("answer_unframed", "the answer is not framed as MLLP; is this an MLLP port?"))

    def connection_lost(self, error: Exception | None) -> None:
        """What is outstanding is in doubt: the peer may have taken it before it went."""
        self._deadline.close()
        if self._decoder.inside:
            self._ended(in_doubt("answer_cut", "the connection closed inside the answer"))
        self._ended(_LOST)

    # what the destination calls

    @property
    def clean(self) -> bool:
        """True when it is open and nothing came that was not taken."""
        return not (self._answers or self._end or self._decoder.inside or self._transport.is_closing())

    def quiet(self) -> bool:
        """True when nothing waits on the connection, not even in the kernel: no late answer and no end."""
        return self.clean and not self._poll.poll(0)

    def send(self, payload: bytes, seconds: float) -> None:
        """Write one frame; its answers are due within so many seconds."""
        self._sent = True
        self._deadline.set(seconds)
        frame = encode(payload)
        transport = self._transport
        if half("mllp.send.half"):
            send_now(transport, frame[: len(frame) // 2])
            failpoint("mllp.send.half")
            frame = frame[len(frame) // 2 :]
        failpoint("mllp.send.before")
        transport.write(frame)
        failpoint("mllp.send.after")

    async def answer(self) -> bytes | Outcome:
        """The next answer to what was sent, or why there is none."""
        if not self._answers and self._end is None:
            self._waiter = self._loop.create_future()
            await self._waiter
        return self._answers.popleft() if self._answers else (self._end or _LOST)

    def unasked(self) -> tuple[bytes, ...]:
        """Answers that came beside the one that was due."""
        return tuple(self._answers)

    def rest(self, seconds: float) -> None:
        """Nothing is outstanding; close by itself after so many seconds."""
        self._sent = False
        self._deadline.set(seconds)

    def close(self) -> None:
        """Close at once; a late answer meets nobody."""
        self._deadline.close()
        self._transport.abort()

    def _ended(self, why: Outcome) -> None:
        """No further answer counts; the first reason stays."""
        self._end = self._end or why
        self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _expired(self) -> None:
        self._ended(in_doubt("answer_timeout", "no answer came within `timeout`"))
        self.close()
