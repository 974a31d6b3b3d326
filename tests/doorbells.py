"""An ear for brokers' rings, and short ways to run a broker in a test."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from engine.broker import open_broker
from engine.ports import Broker

RING_SECONDS = 0.1
"""What nearly every `ring` may hold the loop on a busy machine; one that waits for Redis takes seconds."""
BUSY_SECONDS = 1.0
"""What one ring among many may, when others keep the machine busy. One that waited for Redis would take longer."""


class Ear:
    """What was heard, in its order, and when."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self._news = asyncio.Event()

    def __call__(self, channel: str) -> None:
        asyncio.get_running_loop()  # raises on any thread but the loop's
        self.heard.append(channel)
        self._news.set()

    async def until(self, done: Callable[[list[str]], bool], seconds: float = 6) -> None:
        """Wait until what was heard satisfies a condition."""
        async with asyncio.timeout(seconds):
            while not done(self.heard):
                self._news.clear()
                await self._news.wait()

    async def hears(self, *channels: str, seconds: float = 6) -> None:
        """Wait until each of these was heard."""
        await self.until(lambda heard: set(channels) <= set(heard), seconds)

    async def silence(self, seconds: float = 0.4) -> None:
        """Nothing is heard for so long."""
        before = list(self.heard)
        await asyncio.sleep(seconds)
        assert self.heard == before


@asynccontextmanager
async def listening(url: str) -> AsyncIterator[tuple[Broker, Ear]]:
    """A broker with somebody who hears it, stopped at the end within the two seconds it has."""
    broker, ear = open_broker(url), Ear()
    await broker.start(ear)
    try:
        yield broker, ear
    finally:
        await stopped(broker)


@asynccontextmanager
async def ringing(url: str) -> AsyncIterator[Broker]:
    """A broker of a process that listens to nothing."""
    broker = open_broker(url)
    try:
        yield broker
    finally:
        await stopped(broker)


async def stopped(broker: Broker) -> None:
    """Stop it and look at the clock."""
    began = time.monotonic()
    await broker.stop()
    assert time.monotonic() - began < 2


def rung(broker: Broker, *channels: str) -> float:
    """Ring these, and tell the longest time that one took, in seconds."""
    longest = 0.0
    for channel in channels:
        began = time.perf_counter()
        broker.ring(channel)
        longest = max(longest, time.perf_counter() - began)
    return longest


async def becomes(condition: Callable[[], bool], seconds: float = 6) -> None:
    """Wait for something that tells nobody."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)
