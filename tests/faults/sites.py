"""The site that the kill tests run: three channels, their receivers, a laboratory on each, the oracle at the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from .engine_child import Engine, channel_toml, destination_toml
from .laboratory import Laboratory
from .ledger import Figures, Oracle, Way, flowing
from .sinks import FhirEhr, MllpEhr

KILLED = -9
APPLICATION = 'answer = "application"\nanswer_within = "2s"\n'


class Site:
    """relay (R): HL7 v2 as it came. results (F): to FHIR, one in nine held. direct (D): answered by its receiver."""

    def __init__(self, folder: Path) -> None:
        self.engine = Engine(folder)
        self.figures = Figures()
        self.mllp, self.fhir, self.lis = MllpEhr(), FhirEhr(), MllpEhr()
        self.laboratories: list[Laboratory] = []
        self._running: list[asyncio.Task[None]] = []

    def wire(self, mllp: int, fhir: int, lis: int) -> None:
        """Write the channels."""
        relay = destination_toml("ehr", f"mllp://127.0.0.1:{mllp}")
        results = destination_toml("ehr", f"fhir+http://127.0.0.1:{fhir}/fhir", convert='"faults_site:convert"')
        direct = destination_toml("lis", f"mllp://127.0.0.1:{lis}", answers="true")
        self.engine.write_channel("relay", channel_toml("relay", relay))
        self.engine.write_channel("results", channel_toml("results", results))
        self.engine.write_channel("direct", channel_toml("direct", direct, kind="order", source=APPLICATION))

    def open_laboratories(self) -> None:
        """Begin to send; while the engine is away they go on trying."""
        where = self.engine.where
        self.laboratories = [
            Laboratory("R", where["relay"]),
            Laboratory("F", where["results"], hold_every=9),
            Laboratory("D", where["direct"], connections=2, patients=4),
        ]
        self._running = [asyncio.create_task(laboratory.run()) for laboratory in self.laboratories]

    async def killed(self, point: str) -> None:
        """Wait for the point to fire."""
        status = await self.engine.died()
        assert status == KILLED, f"{point} did not fire: exit {status}\n{self.engine.log.read_text()[-2000:]}"
        self.figures.kills += 1

    async def settle(self, more: int = 60) -> None:
        """Some more traffic, then finish what was begun, and wait until nothing flows any more."""
        await asyncio.gather(*(laboratory.acknowledged(more) for laboratory in self.laboratories[:2]))
        for laboratory in self.laboratories:
            laboratory.finish()
        await asyncio.wait_for(asyncio.gather(*self._running), 60)
        await drained(self.engine)

    async def account(self) -> Figures:
        """Stop gracefully, then let the oracle judge."""
        assert await self.engine.stop() == 0, self.engine.log.read_text()[-2000:]
        return Oracle(self.engine, self.figures).check(self.ways())

    def ways(self) -> list[Way]:
        relay, results, direct = (laboratory.book for laboratory in self.laboratories)
        return [
            Way("relay", "ehr", relay, self.mllp.arrivals, verbatim=True),
            Way("results", "ehr", results, self.fhir.arrivals, verbatim=False),
            Way("direct", "lis", direct, self.lis.arrivals, verbatim=True),
        ]

    def close(self) -> None:
        for task in self._running:
            task.cancel()
        self.engine.end()


async def until(holds: Callable[[], Any], seconds: float = 20) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.01)


async def drained(engine: Engine, seconds: float = 30) -> None:
    """Wait until no delivery flows."""
    async with asyncio.timeout(seconds):
        while await asyncio.to_thread(flowing, engine.data):
            await asyncio.sleep(0.02)


@asynccontextmanager
async def site(folder: Path) -> AsyncIterator[Site]:
    """A site with its receivers up; the engine is not yet started."""
    made = Site(folder)
    async with AsyncExitStack() as stack:
        for ehr in (made.mllp, made.fhir, made.lis):
            await stack.enter_async_context(ehr.up())
        made.wire(made.mllp.port, made.fhir.port, made.lis.port)
        stack.callback(made.close)
        yield made
