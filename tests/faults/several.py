"""A site of several processes on one PostgreSQL and one Redis: any of them killed, paused, stopped, started again."""

from __future__ import annotations

import asyncio
import base64
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Protocol

from .engine_child import Engine, channel_toml, destination_toml, free_port
from .laboratory import Laboratory, Where
from .ledger import Figures, Oracle, Way
from .sinks import FhirEhr, MllpEhr

KEY = base64.b64encode(bytes(range(32))).decode()
"""Synthetic, for tests."""


class SharedDatabase(Protocol):
    """What a site asks of its database."""

    url: str

    def rows(self, query: str) -> list[tuple[int, ...]]:
        """What a query finds, past row security."""
        ...


class Several:
    """relay (R): HL7 v2 as it came. results (F): to FHIR, one in nine held. As many processes as roles are named."""

    def __init__(self, folder: Path, database: SharedDatabase, broker: str, roles: Sequence[str]) -> None:
        self.folder = folder
        self.database = database
        self.figures = Figures()
        self.mllp, self.fhir = MllpEhr(), FhirEhr()
        self.ports = {"relay": free_port(), "results": free_port()}
        self.engines = [self._engine(number, role, broker) for number, role in enumerate(roles)]
        self.laboratories: list[Laboratory] = []
        self._running: list[asyncio.Task[None]] = []

    def _engine(self, number: int, role: str, broker: str) -> Engine:
        engine = Engine(self.folder / f"{number}-{role}")
        engine.channels = self.folder / "channels"
        engine.channels.mkdir(exist_ok=True)
        engine.arguments = ("--role", role)
        engine.more_environment = {
            "INTERLOCK_STORE": self.database.url, "INTERLOCK_BROKER": broker, "INTERLOCK_KEY": KEY,
        }  # fmt: skip
        return engine

    def of_role(self, role: str) -> list[Engine]:
        return [engine for engine in self.engines if engine.arguments[-1] == role]

    def wire(self) -> None:
        """Write the channels, once for all."""
        relay = destination_toml("ehr", f"mllp://127.0.0.1:{self.mllp.port}", connections="8")
        where = f"fhir+http://127.0.0.1:{self.fhir.port}/fhir"
        results = destination_toml("ehr", where, convert='"faults_site:convert"', connections="8")
        for name, destination in (("relay", relay), ("results", results)):
            text = channel_toml(name, destination, listen=f"mllp://127.0.0.1:{self.ports[name]}")
            self.engines[0].write_channel(name, text)

    async def start(self) -> None:
        """Every process, all at once."""
        assert all(await asyncio.gather(*(engine.start() for engine in self.engines)))

    def open_laboratories(self, pause: float = 0) -> None:
        self.laboratories = [
            Laboratory("R", Where(self.ports["relay"]), pause=pause),
            Laboratory("F", Where(self.ports["results"]), hold_every=9, pause=pause),
        ]
        self._running = [asyncio.create_task(laboratory.run()) for laboratory in self.laboratories]

    async def settle(self, seconds: float = 60) -> None:
        """Finish what was begun, and wait until nothing flows any more."""
        for laboratory in self.laboratories:
            laboratory.finish()
        await asyncio.wait_for(asyncio.gather(*self._running), 90)
        async with asyncio.timeout(seconds):
            while await asyncio.to_thread(self.flowing):
                await asyncio.sleep(0.1)

    def flowing(self) -> int:
        """How many deliveries still flow."""
        return int(self.database.rows("SELECT count(*) FROM delivery WHERE open = 1")[0][0])

    async def account(self) -> Figures:
        """Stop every process gracefully, then let the oracle judge."""
        for engine in self.engines:
            if engine.process is not None:
                assert await engine.stop() == 0, engine.log.read_text()[-2000:]
        assert self.database.rows("SELECT count(*) FROM process")[0][0] == 0, "a process did not leave"
        return await asyncio.to_thread(Oracle(self.engines[0], self.figures).check, self.ways())

    def ways(self) -> list[Way]:
        relay, results = (laboratory.book for laboratory in self.laboratories)
        return [
            Way("relay", "ehr", relay, self.mllp.arrivals, verbatim=True),
            Way("results", "ehr", results, self.fhir.arrivals, verbatim=False),
        ]

    def logs(self) -> str:
        """The end of what every process wrote."""
        return "\n".join(f"--- {e.folder.name}\n{e.log.read_text()[-1500:]}" for e in self.engines if e.log.exists())

    def close(self) -> None:
        for task in self._running:
            task.cancel()
        for engine in self.engines:
            if engine.process is not None:
                engine.signal(signal.SIGCONT)
            engine.end()


@asynccontextmanager
async def several(folder: Path, database: SharedDatabase, broker: str, roles: Sequence[str]) -> AsyncIterator[Several]:
    """A site with its receivers up; no process is started yet."""
    made = Several(folder, database, broker, roles)
    async with AsyncExitStack() as stack:
        for ehr in (made.mllp, made.fhir):
            await stack.enter_async_context(ehr.up())
        made.wire()
        stack.callback(made.close)
        yield made
