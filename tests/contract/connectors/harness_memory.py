"""The memory connector under the contract: the double must keep the promises of what it stands for."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from engine.connectors.memory import MemoryDestination, MemorySource
from engine.errors import Reply, Weight
from engine.model import Outcome
from engine.wiring import DestinationSpec, SourceSpec

from .harness import DestinationHarness, Sender, SourceHarness

UNREACHABLE = Outcome("connection_refused", Weight.TRANSIENT, detail="told to be down", unreachable=True)


class MemorySender(Sender):
    def __init__(self, source: MemorySource) -> None:
        self._source = source

    async def send(self, raw: bytes, patience: float = 10.0) -> Reply | None:
        feeding = asyncio.ensure_future(self._source.feed(raw))
        await asyncio.wait({feeding}, timeout=patience)
        if feeding.cancelled() or not feeding.done():
            return None
        return feeding.result().verdict.reply


class MemorySourceHarness(SourceHarness):
    name = "memory"

    async def make(self, max_size: int, grace: str) -> MemorySource:
        self._source = MemorySource("c", SourceSpec("memory://c", max_size=max_size, options={"grace": grace}))
        return self._source

    async def sender(self) -> Sender:
        return MemorySender(self._source)


class MemoryDestinationHarness(DestinationHarness):
    name = "memory"
    answers: ClassVar = {weight.value: weight for weight in Weight}

    async def make(self, connections: int, timeout: int) -> MemoryDestination:
        spec = DestinationSpec("d", "memory://d", connections=connections, timeout=timeout)
        self._destination = MemoryDestination("c", spec)
        self.received = self._destination.received
        self._waiting: list[asyncio.Future[Outcome]] = []
        await self.down()
        return self._destination

    async def up(self) -> None:
        self._destination.reachable = True

    async def down(self) -> None:
        self._destination.reachable = False

    def show(self, *behaviours: str) -> None:
        self._destination.then(*(self._outcome(behaviour) for behaviour in behaviours))

    def release(self) -> None:
        while self._waiting:
            waiting = self._waiting.pop()
            if not waiting.done():
                waiting.set_result(Outcome("taken"))

    def _outcome(self, behaviour: str) -> Outcome | asyncio.Future[Outcome]:
        if behaviour in self.answers:
            return Outcome(behaviour, self.answers[behaviour])
        if behaviour == "take":
            return Outcome("taken")
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        if behaviour == "wait":
            self._waiting.append(future)
        return future

    @property
    def outstanding(self) -> int:
        return self._destination.outstanding


SOURCES = (MemorySourceHarness,)
DESTINATIONS = (MemoryDestinationHarness,)
