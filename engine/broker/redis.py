"""Rings over Redis: one Dramatiq actor whose messages carry the name of a channel and nothing else; and answers told.

Invariant: whatever Redis does, `ring` and `answered` return at once; what waits here is bounded by the number of
channels and `MOST_QUEUED`, what waits in Redis by `MOST_QUEUED`. A site needs a database of its own: in a shared one a
site takes the other's rings.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import suppress

import dramatiq
from dramatiq import Worker

from engine.broker.answers import Answers
from engine.broker.carrier import NAMESPACE, QUEUE, Carrier
from engine.broker.reach import Reach

RUNG_SECONDS = 5
"""A ring that nobody has heard is repeated after this long: as long as the sweeper's turn, so a lost one costs that."""
MOST_QUEUED = 500
"""Rings in Redis while nobody listens. A process hears about 130 a second: what is further back, the sweeper finds."""
RETRY_SECONDS = 1.0
GATHER_SECONDS = 0.02
"""Pause between two sendings, so that a busy loop does not share its interpreter with a busy sender."""
LOOK_SECONDS = 5.0
"""An idle sender asks this often whether Redis is there."""
LISTEN_MILLISECONDS = 100
"""The longest pause between two looks into the queue: how late a ring is heard, against 1 % of a core while idle."""
JOIN_SECONDS = 0.5

_ACTOR = "work"


class RedisBroker:
    """A doorbell for a site of several processes: each ring is heard by one of those that listen."""

    def __init__(self, url: str) -> None:
        _silence()
        self._ending = threading.Event()
        self._carrier = Carrier(url, _ACTOR, self._ending)
        self._reach: Reach = self._carrier.reach
        self._actor = dramatiq.actor(actor_name=_ACTOR, queue_name=QUEUE, broker=self._carrier)(self._hear)
        self._answers = Answers(self._carrier)
        self._pending: set[str] = set()
        self._pending_answers: set[str] = set()
        self._news = threading.Event()
        self._sender: threading.Thread | None = None
        self._unsure = False
        self._worker: Worker | None = None
        self._waiting: set[str] = set()
        self._heard: Callable[[str], None] | None = None
        self._loop: asyncio.AbstractEventLoop

    async def start(self, heard: Callable[[str], None]) -> None:
        """Listen with one thread, whether Redis is there or not."""
        self._loop = asyncio.get_running_loop()
        self._heard = heard
        self._worker = Worker(self._carrier, worker_threads=1, worker_timeout=LISTEN_MILLISECONDS)
        self._worker.queue_prefetch = 1  # a process that dies takes one ring with it
        self._worker.start()

    def ring(self, channel: str) -> None:
        """Leave the channel's name to the sender. Sets lose nothing between two threads: `add` and `pop` are atomic."""
        self._leave(self._pending, channel)

    async def hear_answers(self, heard: Callable[[str], None]) -> None:
        """Listen for answers with a thread of their own, whether Redis is there or not."""
        loop = asyncio.get_running_loop()

        def tell(message: str) -> None:
            if not self._ending.is_set():
                heard(message)

        def hear(message: str) -> None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(tell, message)

        self._answers.listen(hear)

    def answered(self, message: str) -> None:
        """Leave the message's id to the sender; while Redis is away at most so many wait, and nobody misses them."""
        if len(self._pending_answers) < MOST_QUEUED:
            self._leave(self._pending_answers, message)

    async def stop(self) -> None:
        """Send what was rung, if Redis is there, and end both threads within two seconds."""
        self._heard = None
        if not self._ending.is_set():
            self._ending.set()
            self._news.set()
            await asyncio.to_thread(self._end)

    def well(self) -> bool:
        """True while nothing that was tried fails; a process that has neither rung nor listened has tried nothing."""
        return self._reach.well()

    def _leave(self, pending: set[str], name: str) -> None:
        if self._ending.is_set():
            return
        pending.add(name)
        self._news.set()
        if self._sender is None:
            self._begin_sending()

    def _begin_sending(self) -> None:
        sender = threading.Thread(target=self._send_for_ever, name="interlock-ringing", daemon=True)
        with suppress(RuntimeError):  # no thread to be had: the next ring tries again
            sender.start()
            self._sender = sender

    def _send_for_ever(self) -> None:
        last = False
        while not last:
            self._news.wait(LOOK_SECONDS)
            self._news.clear()
            last = self._ending.is_set()
            self._ending.wait(GATHER_SECONDS if self._send(_take(self._pending)) else RETRY_SECONDS)

    def _send(self, channels: list[str]) -> bool:
        try:
            if self._pending_answers:
                self._answers.tell(_take(self._pending_answers))
            for channel in self._unheard(channels):
                self._actor.send(channel)
        except Exception as error:  # whatever it is, the thread must live, and nothing is lost
            self._unsure = True
            self._pending.update(channels)
            self._news.set()
            self._reach.failed("sending", error)
            return False
        self._unsure = False
        self._reach.worked("sending")
        return True

    def _unheard(self, channels: list[str]) -> list[str]:
        """Those that nobody has rung since they were last heard. After a failure nobody knows: then all of them."""
        with self._carrier.client.pipeline(transaction=False) as pipe:
            pipe.llen(f"{NAMESPACE}:{QUEUE}")
            for channel in channels:
                pipe.set(_rung(channel), "", nx=not self._unsure, ex=RUNG_SECONDS)
            queued, *fresh = pipe.execute()
        room = max(0, MOST_QUEUED - queued)
        return [channel for channel, is_fresh in zip(channels, fresh, strict=True) if is_fresh][:room]

    def _hear(self, channel: str) -> None:
        """The actor, on the worker's thread: what is rung from here on counts as a new ring, then the loop hears it."""
        with suppress(Exception):  # the key ends by itself; that Redis is away, the next look tells
            self._carrier.client.delete(_rung(channel))
        if channel not in self._waiting:
            self._waiting.add(channel)
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._tell, channel)

    def _tell(self, channel: str) -> None:
        self._waiting.discard(channel)
        if self._heard is not None:
            self._heard(channel)

    def _end(self) -> None:
        if self._sender is not None:
            self._sender.join(JOIN_SECONDS)
        if self._worker is not None:
            self._worker.stop(timeout=int(JOIN_SECONDS * 1000))
        self._carrier.client.connection_pool.disconnect()  # wakes a thread that still waits for an answer
        self._answers.join(JOIN_SECONDS)


def _take(pending: set[str]) -> list[str]:
    """What is pending, taken out before it is sent: what is rung from now on is a new ring."""
    taken = []
    while pending:
        taken.append(pending.pop())
    return taken


def _rung(channel: str) -> str:
    return f"{NAMESPACE}:rung:{channel}"


def _silence() -> None:
    """What there is to say, `Reach` says once an outage; these would say it with a traceback every second."""
    for name in ("dramatiq", "redis", __name__):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
