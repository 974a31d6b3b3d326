"""Builders for tests: synthetic messages, channels and a running path on a real store, without a wire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engine.applications import Applications
from engine.broker.local import LocalBroker
from engine.clock import SystemClock
from engine.connectors.memory import MemoryDestination
from engine.formats.hl7v2 import Hl7v2
from engine.intake import take
from engine.model import Answer, Arrival, Finding
from engine.organizations.directory import SiteDirectory
from engine.outlet import Outlet
from engine.ports import Ports, Running
from engine.store.sqlite import SqliteStore, open_store
from engine.wiring import Channel, DestinationSpec, Retry, SourceSpec
from engine.worker import Worker


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
    store: SqliteStore
    worker: Worker
    running: Running
    destinations: Mapping[str, MemoryDestination]

    async def send(self, raw: bytes) -> Answer:
        """What a source does with one message."""
        return await take(raw, Arrival(self.running.channel.name, self.store.now()), self.running, self.ports)

    async def quiet(self) -> None:
        """Wait until no lane is at work and none is ready."""
        while any(outlet._at_work or outlet._ready for outlet in self.worker.outlets.values()):
            await asyncio.sleep(0)

    def states(self) -> list[str]:
        """The state of every delivery, in order of id."""
        rows = self.store._connection.execute("SELECT state FROM delivery ORDER BY id")
        return [row[0] for row in rows]


@asynccontextmanager
async def path(
    folder: Path, wiring: Channel | None = None, agreed: bool = True, **resolved: Any
) -> AsyncIterator[Path_]:
    """The path on a real store in a folder, with memory destinations."""
    wiring = wiring or channel()
    store = open_store(folder, "", MovedClock(), asyncio.get_running_loop())
    await store.know(wiring.owner)
    running = Running(wiring, Hl7v2(), resolved.get("converters", {}), resolved.get("predicates", {}))
    directory = SiteDirectory(agreed)

    async def nothing_found(raw: bytes) -> list[Finding]:
        return resolved.get("findings", [])

    def no_maps(parsed: Any, rules: Any, tables: Any, at: int) -> Any:
        return parsed, (), {}

    ports = Ports(store, directory, NoTables(), no_maps, None, Applications(store), nothing_found)  # type: ignore[arg-type]
    worker = Worker(ports, LocalBroker(), 1 << 20)
    ports.lanes = worker
    worker.on_settled = ports.applications.settled  # type: ignore[attr-defined]
    made = {}
    for one in wiring.destinations:
        made[one.name] = MemoryDestination(wiring.name, one)
        worker.outlets[wiring.name, one.name] = Outlet(running, one, made[one.name], worker)
    try:
        yield Path_(ports, store, worker, running, made)
    finally:
        await worker.drain()
        store.close()
