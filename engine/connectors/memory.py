"""Messages without a wire, memory://name: the double that tests, cases and site authors use.

It keeps the promises that a wire keeps, one answer to each message and one outcome to each delivery, and it never hides
a fault: an error that it was told to raise, or that `accept` raised, comes out where the caller stands.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import Any

from engine import observe
from engine.clock import SystemClock
from engine.errors import ChannelNotTaking, InterlockError, TooLarge, Weight
from engine.knobs import Knob, read_options
from engine.model import Answer, Arrival, Outcome, Verdict
from engine.ports import Accept, Clock, Destination, Sending, Source
from engine.wiring import DestinationSpec, SourceSpec

SOURCE_KNOBS = (Knob("grace", "duration", "10s", "how long a stop waits for the messages being answered"),)
DESTINATION_KNOBS: tuple[Knob, ...] = ()

TAKEN = Outcome("taken", level="application")


def source(channel: str, spec: SourceSpec) -> Source:
    """The source of memory://name. Raises `Configuration`."""
    return MemorySource(channel, spec)


def destination(channel: str, spec: DestinationSpec) -> Destination:
    """The destination of memory://name. Raises `Configuration`."""
    return MemoryDestination(channel, spec)


class MemorySource:
    """Takes what `feed` is given, in any number of tasks at a time."""

    def __init__(self, channel: str, spec: SourceSpec, clock: Clock | None = None) -> None:
        options: Mapping[str, Any] = read_options(spec.options, SOURCE_KNOBS, f"{channel}: source")
        self._channel = channel
        self._spec = spec
        self._grace: float = options["grace"] / 1_000_000
        self._clock = clock or SystemClock()
        self._accept: Accept | None = None
        self._answering: set[asyncio.Task[Answer]] = set()

    async def start(self, accept: Accept) -> None:
        """Begin to take what is fed."""
        self._accept = accept

    async def feed(self, raw: bytes, peer: str = "memory") -> Answer:
        """Give one message, as a sender would, and wait for the answer.

        Raises:
            asyncio.CancelledError: when the source was stopped and its grace ran out: the sender learns nothing.
        """
        if self._accept is None:
            return self._refuse(ChannelNotTaking("taking: the source is not started"))
        if len(raw) > self._spec.max_size:
            observe.connector_events[self._channel, "too_large"] += 1
            return self._refuse(TooLarge("taking: the message is above the channel's size limit"))
        arrival = Arrival(self._channel, self._clock.now(), peer)
        task = asyncio.ensure_future(self._accept(raw, arrival))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)
        return await task

    async def stop(self) -> None:
        """Take nothing more, and wait for the answers that are being made, at most `grace`."""
        self._accept = None
        if self._answering:
            _, late = await asyncio.wait(self._answering, timeout=self._grace)
            for task in late:
                task.cancel()

    @property
    def address(self) -> str:
        """The URL it was made for."""
        return self._spec.listen

    def _refuse(self, error: InterlockError) -> Answer:
        return Answer(Verdict(error.reply, error.code, error.text, at=self._clock.now()))


class MemoryDestination:
    """Records what it is given and answers as it was told, positively when it was told nothing."""

    def __init__(self, channel: str, spec: DestinationSpec) -> None:
        read_options(spec.options, DESTINATION_KNOBS, f"{channel}: destination {spec.name}")
        self.received: list[bytes] = []
        """Every payload, in order."""
        self.sendings: list[Sending] = []
        """What was said with each of them."""
        self.arrived = asyncio.Event()
        """Set at each delivery; a test that waits for one clears it first."""
        self.reachable = True
        """Set to False to play a system that is down."""
        self.outstanding = 0
        """How many deliveries wait for their answer."""
        self._script: deque[Outcome | Exception | asyncio.Future[Outcome]] = deque()
        self._slots = asyncio.Semaphore(spec.connections)
        self._timeout = spec.timeout / 1_000_000
        self._closed = False

    def then(self, *answers: Outcome | Exception | asyncio.Future[Outcome]) -> None:
        """Answer the next deliveries with these in turn: an outcome, an error to raise, or an outcome to wait for."""
        self._script.extend(answers)

    async def deliver(self, payload: bytes, sending: Sending) -> Outcome:
        """Record the payload and answer. Raises only what `then` was told to raise."""
        async with self._slots:
            if trouble := self._trouble():
                return Outcome("unreachable", Weight.TRANSIENT, detail=trouble, unreachable=True)
            self.received.append(payload)
            self.sendings.append(sending)
            self.arrived.set()
            self.outstanding += 1
            try:
                return await self._answer()
            finally:
                self.outstanding -= 1

    async def ask(self, payload: bytes, sending: Sending) -> Outcome | None:
        """It remembers everything: whether these bytes arrived."""
        return TAKEN if payload in self.received else None

    async def test(self) -> str:
        """Say what `deliver` would meet."""
        return self._trouble()

    async def close(self) -> None:
        """Take nothing more."""
        self._closed = True

    def _trouble(self) -> str:
        if self._closed:
            return "the destination is closed; make a new one"
        return "" if self.reachable else "the destination was told to be down; set `reachable`"

    async def _answer(self) -> Outcome:
        answer = self._script.popleft() if self._script else TAKEN
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, Outcome):
            return answer
        try:
            return await asyncio.wait_for(answer, self._timeout)
        except TimeoutError:
            return Outcome("answer_timeout", Weight.AMBIGUOUS, detail="no answer came within `timeout`")
