"""Builders for tests: synthetic messages, channels and a running path on a real store, without a wire.

The store is the one that the fixture `both_stores` chose. On PostgreSQL the path is one process of a site: its lanes
are taken, carried and released, and its broker rings in its own loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from engine.applications import Applications
from engine.broker.local import LocalBroker
from engine.channels.checks import Known
from engine.channels.site import inspect_channel
from engine.clock import SystemClock
from engine.connectors.memory import MemoryDestination
from engine.formats.hl7v2 import Hl7v2
from engine.intake import take
from engine.model import Answer, Arrival, Finding
from engine.organizations.directory import SiteDirectory
from engine.outlet import Outlet
from engine.ports import Ports, Role, Running
from engine.store.committing import CommittingStore
from engine.store.postgres.store import PostgresStore
from engine.store.sqlite import open_store
from engine.wiring import Channel, DestinationSpec, Retry, SourceSpec
from engine.worker import Worker
from tests import postgres, stores


def oru(control: str = "C1", patient: str = "P1", value: str = "13.9", order: str = "", **more: str) -> bytes:
    """A synthetic ORU^R01 of an invented patient."""
    kind, flag = more.get("kind", "ORU^R01^ORU_R01"), more.get("flag", "N")
    segments = [
        f"MSH|^~\\&|LAB|NORTH|EHR|LEE|20260301101500-0600||{kind}|{control}|{more.get('processing', 'P')}|2.5.1",
        f"PID|1||{patient}^^^{more.get('authority', 'NORTH')}^MR||TESTER^ANN||19700101|F",
        f"OBR|1|PL{order or control}|FI{order or control}|GLU^Glucose^L|||20260301100000-0600|||||||||||||||||||F",
        f"OBX|1|NM|GLU^Glucose^L||{value}|mg/dL|70-99|{flag}|||F",
    ]
    return ("\r".join(segments) + "\r").encode()


def merge(control: str, survivor: str, ended: str) -> bytes:
    """A synthetic ADT^A40: `ended` becomes `survivor`."""
    segments = [
        f"MSH|^~\\&|ADT|NORTH|EHR|LEE|20260301101500-0600||ADT^A40^ADT_A39|{control}|P|2.5.1",
        "EVN|A40|20260301101500-0600",
        f"PID|1||{survivor}^^^NORTH^MR||TESTER^ANN||19700101|F",
        f"MRG|{ended}^^^NORTH^MR",
    ]
    return ("\r".join(segments) + "\r").encode()


QUICK = Retry(attempts=3, first=1, cap=1)


def spec(name: str = "ehr", **more: Any) -> DestinationSpec:
    """A destination in memory that retries at once."""
    return replace(DestinationSpec(name, f"memory://{name}", retry=QUICK), **more)


def channel(*destinations: DestinationSpec, **more: Any) -> Channel:
    """A result channel with a memory source."""
    source = more.pop("source", SourceSpec("memory://in"))
    made = Channel("lab", "Laboratory", "result", source, destinations or (spec(),), revision="r1")
    return replace(made, **more)


def read_channel(folder: Path, known: Known | None = None) -> Channel:
    """The channel in a folder; it has no fault that keeps it from running."""
    found, faults = inspect_channel(folder, known or Known())
    assert found is not None, faults
    return found


class MovedClock(SystemClock):
    """The system's clock, set back by `back` microseconds."""

    def __init__(self) -> None:
        self.back = 0

    def now(self) -> int:
        return super().now() - self.back


class NoTables:
    """No tables at all."""

    def lookup(self, table: str, code: str, at: int) -> Any:
        raise AssertionError("nothing is mapped here")

    def revision(self, table: str) -> str:
        return ""

    def names(self) -> tuple[str, ...]:
        return ()

    def reload(self) -> tuple[str, ...]:
        return ()


@dataclass
class Path_:
    """The path at work."""

    ports: Ports
    store: Any  # the one of both that the test is for
    worker: Worker
    running: Running
    destinations: Mapping[str, MemoryDestination]
    folder: Path
    is_killed: bool = False
    """True: its store ends without a word to the others, as a process does that is killed."""
    taking: set[asyncio.Task[None]] = field(default_factory=set)

    async def send(self, raw: bytes) -> Answer:
        """What a source does with one message."""
        return await take(raw, Arrival(self.running.channel.name, self.store.now()), self.running, self.ports)

    async def quiet(self) -> None:
        """Wait until no lane is at work, none is ready, and none is being taken or released."""
        while self.is_busy:
            await asyncio.sleep(0)

    @property
    def is_busy(self) -> bool:
        """True while something goes on that no timer has to begin."""
        at_work = (o._at_work or o._ready or o.owned.releasing for o in self.worker.outlets.values())
        rung: Any = self.worker.broker
        return bool(any(at_work) or self.taking or self.worker.sharing.is_taking or rung._waiting)

    async def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What a query finds in the store."""
        return await self.store.read(lambda c: [tuple(row) for row in c.execute(query)])  # type: ignore[no-any-return]

    async def states(self) -> list[str]:
        """The state of every delivery, in order of id."""
        return [row[0] for row in await self.rows("SELECT state FROM delivery ORDER BY id")]

    def heard(self, channel: str) -> None:
        """A channel rang."""
        task = asyncio.get_running_loop().create_task(self.worker.sharing.take(channel))
        self.taking.add(task)
        task.add_done_callback(self.taking.discard)

    def end(self) -> None:
        """Close the store, or leave it as a killed process does."""
        if self.is_killed and isinstance(self.store, PostgresStore):
            postgres.kill(self.store)
        else:
            self.store.close()


async def open_chosen(folder: Path, role: Role = "all") -> CommittingStore:
    """The chosen store of a folder, with the system's clock."""
    if stores.CHOSEN == "postgres":
        return await postgres.join(folder, MovedClock(), role)
    return open_store(folder, "", MovedClock(), asyncio.get_running_loop())


@asynccontextmanager
async def path(
    folder: Path, wiring: Channel | None = None, agreed: bool = True, role: Role = "all", **resolved: Any
) -> AsyncIterator[Path_]:
    """The path on a real store in a folder, with memory destinations; `role` is for one of several on PostgreSQL."""
    wiring = wiring or channel()
    store = await open_chosen(folder, role)
    await store.know(wiring.owner)
    line = _line(folder, store, wiring, agreed, resolved)
    if role in ("all", "worker"):
        _outlets(line)
        await line.worker.broker.start(line.heard)
    if role in ("all", "ingress"):
        await line.worker.broker.hear_answers(line.ports.applications.told)  # type: ignore[attr-defined]
    try:
        yield line
    finally:
        await line.worker.broker.stop()
        await line.worker.drain()
        await asyncio.gather(*line.taking)
        line.end()


def _line(folder: Path, store: CommittingStore, wiring: Channel, agreed: bool, resolved: Mapping[str, Any]) -> Path_:
    running = Running(wiring, Hl7v2(), resolved.get("converters", {}), resolved.get("predicates", {}))

    async def nothing_found(raw: bytes) -> list[Finding]:
        return resolved.get("findings", [])  # type: ignore[no-any-return]

    def no_maps(parsed: Any, rules: Any, tables: Any, at: int) -> Any:
        return parsed, (), {}

    applications = Applications(store)
    ports = Ports(store, SiteDirectory(agreed), NoTables(), no_maps, None, applications, nothing_found)  # type: ignore[arg-type]
    worker = Worker(ports, resolved.get("broker") or LocalBroker(), 1 << 20)
    ports.lanes = worker
    worker.on_settled = applications.settled
    store.on_expelled = worker.sharing.lose_all
    return Path_(ports, store, worker, running, {}, folder)


def _outlets(line: Path_) -> None:
    wiring = line.running.channel
    made = {one.name: MemoryDestination(wiring.name, one) for one in wiring.destinations}
    for one in wiring.destinations:
        line.worker.outlets[wiring.name, one.name] = Outlet(line.running, one, made[one.name], line.worker)
    line.destinations = made
