"""Sites for tests: several processes that share one PostgreSQL, in one loop, and one outside that they all send to.

Each process is a `building.Path_` with a store, a worker and a role of its own. The doorbell rings at all of them. What
the outside was given is written into one log, so that order and number are judged over all processes together.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.broker.local import LocalBroker
from engine.model import Outcome, show_id
from engine.ports import Role, Sending
from engine.wiring import Channel
from tests import building
from tests.building import Path_

TAKEN = Outcome("taken", level="application")


class Bell(LocalBroker):
    """One process's bell: whoever rings is heard by all."""

    def __init__(self, bells: list[Bell]) -> None:
        super().__init__()
        self._bells = bells
        bells.append(self)

    def ring(self, channel: str) -> None:
        for bell in self._bells:
            LocalBroker.ring(bell, channel)

    def answered(self, message: str) -> None:
        for bell in self._bells:
            LocalBroker.answered(bell, message)


@dataclass
class Outside:
    """What all destinations of a site were given, in order, by whom, and whether two of a lane were ever together."""

    received: list[bytes] = field(default_factory=list)
    deliveries: list[str] = field(default_factory=list)
    carriers: list[str] = field(default_factory=list)
    sendings: list[Sending] = field(default_factory=list)
    answer: Callable[[bytes, str], Awaitable[Outcome]] | None = None
    """Called with the bytes and the carrier's name; without it everything is taken at once."""
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def given(self, payload: bytes, sending: Sending, carrier: str) -> Outcome:
        self.received.append(payload)
        self.sendings.append(sending)
        self.deliveries.append(sending.delivery)
        self.carriers.append(carrier)
        self.arrived.set()
        return await self.answer(payload, carrier) if self.answer else TAKEN

    async def has(self, count: int) -> None:
        """Wait until so many have come."""
        while len(self.received) < count:
            self.arrived.clear()
            await self.arrived.wait()


@dataclass
class Site:
    """Processes by name, and what is outside of them."""

    processes: dict[str, Path_]
    outside: Outside

    def __getitem__(self, name: str) -> Path_:
        return self.processes[name]

    def abandon(self, *names: str) -> None:
        """Give up what processes are sending: nobody hears what came of it."""
        for name in names or self.processes:
            for outlet in self.processes[name].worker.outlets.values():
                for task in outlet._tasks:
                    task.cancel()

    async def quiet(self) -> None:
        """Wait until nothing goes on in any process that no timer has to begin."""
        while any(line.is_busy for line in self.processes.values()):
            await asyncio.sleep(0)

    async def quiet_but(self, name: str) -> None:
        """Wait until nothing goes on in any process but one."""
        while any(line.is_busy for other, line in self.processes.items() if other != name):
            await asyncio.sleep(0)

    async def until(self, *states: str) -> None:
        """Wait until the deliveries stand like this, in order of id."""
        line = next(iter(self.processes.values()))
        while await line.states() != list(states):
            await asyncio.sleep(0.005)

    async def all_delivered(self) -> None:
        """Wait until nothing is open."""
        line = next(iter(self.processes.values()))
        while (await line.rows("SELECT count(*) FROM delivery WHERE state <> 'delivered'"))[0][0]:
            await asyncio.sleep(0.005)

    async def assert_once_and_in_order(self) -> None:
        """Every delivery was given once, and in each of its lanes after all that have a lower number."""
        line = next(iter(self.processes.values()))
        rows = await line.rows("SELECT id, lane, barrier, seq FROM delivery ORDER BY seq")
        given = {delivery: at for at, delivery in enumerate(self.outside.deliveries)}
        assert Counter(self.outside.deliveries) == Counter(show_id(row[0]) for row in rows)
        latest: dict[bytes, int] = {}
        for number, *lanes, seq in rows:
            at = given[show_id(number)]
            for lane in filter(None, lanes):
                assert at > latest.get(lane, -1), f"delivery {seq} went out before one with a lower number"
                latest[lane] = at


class Tap:
    """One process's destination: everything goes into the site's log."""

    def __init__(self, outside: Outside, carrier: str) -> None:
        self._outside = outside
        self._carrier = carrier

    async def deliver(self, payload: bytes, sending: Sending) -> Outcome:
        return await self._outside.given(payload, sending, self._carrier)

    async def ask(self, payload: bytes, sending: Sending) -> Outcome | None:
        return None

    async def test(self) -> str:
        return ""

    async def close(self) -> None:
        return


@asynccontextmanager
async def site(folder: Path, wiring: Channel, roles: dict[str, Role], **resolved: Any) -> AsyncIterator[Site]:
    """A site of so many processes, by name and role."""
    bells: list[Bell] = []
    async with AsyncExitStack() as stack:
        made = Site({}, Outside())
        for name, role in roles.items():
            line = building.path(folder, wiring, role=role, broker=Bell(bells), **resolved)
            made.processes[name] = await stack.enter_async_context(line)
            for outlet in made[name].worker.outlets.values():
                outlet.destination = Tap(made.outside, name)
        yield made


async def send_all(line: Path_, messages: Sequence[bytes]) -> None:
    """Give a process messages one after the other."""
    for raw in messages:
        assert (await line.send(raw)).positive
