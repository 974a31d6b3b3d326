"""MLLP framing without input or output: bytes in, frames and faults out, and the other way round.

A frame is 0x0B, the payload, 0x1C 0x0D. The invariant: a payload is reported whole, once and unchanged, or not at all;
nothing is merged over a fault, no input raises, no more than the limit is held, and the time taken is linear.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

START = b"\x0b"
END = b"\x1c\r"

#: Bytes between two frames that are dropped and counted before the connection is given up.
JUNK_LIMIT_BYTES = 4096

#: Bytes of an oversize payload that are reported, so that its header can be answered.
HEAD_BYTES = 4096

_START = START[0]
_RETURN = END[1]


class Frame(NamedTuple):
    """One whole payload, and how many bytes of junk were dropped before it."""

    payload: bytes
    junk: int = 0


@dataclass(frozen=True, slots=True)
class Broken:
    """Bytes that are no frame and never will be: `partial` is what there was of the payload, never to be dispatched.

    restarted: a new frame began inside it. cut: the stream ended inside it. junk: too much between two frames, and the
    decoder gives up.
    """

    reason: Literal["restarted", "cut", "junk"]
    partial: bytes = b""


@dataclass(frozen=True, slots=True)
class Oversize:
    """A payload above the limit; `head` is its beginning. The decoder gives up."""

    head: bytes


Event = Frame | Broken | Oversize


def encode(payload: bytes) -> bytes:
    """Frame a payload. One that holds 0x1C 0x0D cannot be framed: ask `framable` first."""
    return b"\x0b" + payload + b"\x1c\r"


def framable(payload: bytes) -> bool:
    """False when a receiver would take the payload to end early."""
    return END not in payload


class FrameDecoder:
    """Finds the frames of one stream of bytes.

    `start_inside` decides what 0x0B inside a payload is: "restart" (a sender that gave up and began again; what there
    was is reported as Broken) or "data". `end` decides what ends a payload: "strict" (0x1C 0x0D only, a lone 0x1C is
    data) or "lenient" (0x1C alone, for senders that leave the 0x0D out; 0x0D after it is dropped).
    """

    __slots__ = ("_buffer", "_data_start", "_dead", "_end", "_inside", "_junk", "_limit", "_scanned", "_skip_return")

    def __init__(
        self,
        limit: int,
        start_inside: Literal["restart", "data"] = "restart",
        end: Literal["strict", "lenient"] = "strict",
    ) -> None:
        self._limit = limit
        self._data_start = start_inside == "data"
        self._end = END if end == "strict" else END[:1]
        self._buffer = bytearray()  # while inside: the payload so far
        self._inside = False
        self._scanned = 0  # how much of the buffer was searched for an end
        self._junk = 0  # dropped since the last frame
        self._skip_return = False
        self._dead = False

    @property
    def inside(self) -> bool:
        """True when a frame has begun and has not ended."""
        return self._inside

    @property
    def held(self) -> int:
        """Bytes kept for the frame that has begun; at most the limit and one."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[Event]:
        """What these bytes complete, in order. After Oversize or junk above the cap everything is ignored."""
        if (
            not self._inside
            and data[:1] == START
            and data.find(self._end) == len(data) - 2
            and data[-1] == _RETURN
            and (self._data_start or data.rfind(START) == 0)
            and len(data) - 3 <= self._limit
            and not self._dead
        ):
            junk, self._junk, self._skip_return = self._junk, 0, False
            return [Frame(data[1:-2], junk)]
        return [] if self._dead else self._search(data)

    def finish(self) -> list[Event]:
        """What the end of the stream means: a frame that had begun is broken."""
        partial, inside = bytes(self._buffer), self._inside
        self._give_up()
        return [Broken("cut", partial)] if inside else []

    def _search(self, data: bytes) -> list[Event]:
        """Move along buffer and data; `end` is looked for at most once over the same bytes."""
        events: list[Event] = []
        self._buffer += data
        at, end = 0, -2  # -2: not looked for yet, -1: there is none
        while not self._dead:
            if not self._inside:
                at = self._enter(at, events)
                if not self._inside:
                    break
                self._scanned = at
            if end != -1 and end < self._scanned:
                end = self._buffer.find(self._end, self._scanned)
            moved = self._restart(at, end, events) if not self._data_start else at
            if moved == at and end == -1:
                break
            at = moved if moved != at else self._leave(at, end, events)
        self._keep_from(at, events)
        return events

    def _enter(self, at: int, events: list[Event]) -> int:
        """Drop what lies before the next start of a frame; returns where its payload begins, or the buffer's end."""
        size = len(self._buffer)
        if self._skip_return and at < size:
            at += self._buffer[at] == _RETURN
            self._skip_return = False
        found = self._buffer.find(START, at)
        self._inside = found >= 0
        self._drop((found if self._inside else size) - at, events)
        return found + 1 if self._inside else size

    def _restart(self, at: int, end: int, events: list[Event]) -> int:
        """Where the payload really begins when another start lies in it; the partial before it is reported."""
        found = self._buffer.find(START, self._scanned, end if end >= 0 else len(self._buffer))
        if found < 0:
            return at
        if found == at:
            self._drop(1, events)  # a doubled start byte: nothing was lost
        else:
            events.append(self._measured(at, found) or Broken("restarted", self._cut(at, found)))
        self._scanned = found + 1
        return found + 1

    def _drop(self, junk: int, events: list[Event]) -> None:
        self._junk += junk
        if self._junk > JUNK_LIMIT_BYTES:
            events.append(Broken("junk"))
            self._dead, self._inside = True, False

    def _leave(self, at: int, end: int, events: list[Event]) -> int:
        """Report the payload that ends at `end`; returns where the next search begins."""
        events.append(self._measured(at, end) or Frame(self._cut(at, end), self._junk))
        self._junk, self._inside = 0, False
        self._skip_return = len(self._end) == 1
        return end + len(self._end)

    def _keep_from(self, at: int, events: list[Event]) -> None:
        """Forget what was dealt with, remember how far was searched, and give up above the limit."""
        if self._dead:
            return self._give_up()
        del self._buffer[:at]
        size = len(self._buffer)
        pending = self._inside and len(self._end) == 2 and self._buffer.endswith(END[:1])
        self._scanned = size - pending
        if self._scanned > self._limit:
            events.append(Oversize(bytes(self._buffer[:HEAD_BYTES])))
            self._give_up()

    def _measured(self, start: int, end: int) -> Oversize | None:
        """Oversize, and nothing more after it, when so much payload is above the limit."""
        if end - start <= self._limit:
            return None
        head = self._cut(start, min(end, start + HEAD_BYTES))
        self._dead = True
        return Oversize(head)

    def _cut(self, start: int, end: int) -> bytes:
        return bytes(memoryview(self._buffer)[start:end])

    def _give_up(self) -> None:
        self._dead, self._inside = True, False
        self._buffer = bytearray()
