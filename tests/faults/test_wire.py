"""Wires that fail between the engine and a receiver, and senders that misbehave: repeats explained, order kept."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from engine.store.open_read import open_for_reading

from .engine_child import Engine, channel_toml, destination_toml
from .laboratory import END, START, TEMPLATE, Laboratory, Line, Sent
from .ledger import Figures, Oracle, Way
from .proxy import FaultProxy, every, first
from .sinks import Arrival, Ehr, MllpEhr, ack
from .sites import drained

Record = Callable[[str, object], None]
QUICK = {"timeout": '"400ms"', "connections": "8"}


class Wired:
    """The engine with one channel, its receiver behind a proxy, and a laboratory."""

    def __init__(self, folder: Path, stack: AsyncExitStack, ehr: Ehr) -> None:
        self.stack = stack
        self.ehr = ehr
        self.engine = Engine(folder)
        stack.callback(self.engine.end)
        self.laboratory: Laboratory
        self.sending: asyncio.Task[None]

    async def start(self, proxy: FaultProxy, *others: str, connections: int = 4, patients: int = 12) -> None:
        destination = destination_toml("ehr", f"mllp://127.0.0.1:{proxy.port}", **QUICK)
        self.engine.write_channel("relay", channel_toml("relay", destination, *others))
        assert await self.engine.start()
        where = self.engine.where["relay"]
        self.laboratory = Laboratory("R", where, connections=connections, patients=patients)
        self.sending = asyncio.create_task(self.laboratory.run())
        self.stack.callback(self.sending.cancel)

    async def finish(self) -> None:
        self.laboratory.finish()
        await self.sending

    async def account(self, **others: list[Arrival]) -> Figures:
        await drained(self.engine)
        assert await self.engine.stop() == 0
        ways = {"ehr": self.ehr.arrivals, **others}
        book = self.laboratory.book
        return Oracle(self.engine).check([Way("relay", name, book, came, verbatim=True) for name, came in ways.items()])


async def wired(folder: Path, stack: AsyncExitStack, ehr: Ehr | None = None) -> tuple[Wired, FaultProxy]:
    made = Wired(folder, stack, await stack.enter_async_context((ehr or MllpEhr()).up()))
    return made, await stack.enter_async_context(FaultProxy(made.ehr.port).up())


def told(record: Record, figures: Figures) -> None:
    record("figures", {"group": "wires", **figures.as_dict()})


@pytest.mark.parametrize("fault", ["drop", "drop and close", "reset", "truncate", "delay"])
def test_answers_that_do_not_come(tmp_path: Path, fault: str, record_property: Record) -> None:
    """Each is a message that arrived and nobody knows it: in doubt, then sent again with the same bytes."""

    async def scenario() -> Figures:
        async with AsyncExitStack() as stack:
            made, proxy = await wired(tmp_path, stack)
            proxy.answers = every(25, fault)
            await made.start(proxy)
            await made.laboratory.acknowledged(150)
            await made.finish()
            proxy.answers = lambda: "pass"
            figures = await made.account()
            assert figures.repeated == proxy.spoiled == figures.in_doubt > 0
            return figures

    told(record_property, asyncio.run(scenario()))


def test_answers_that_come_twice(tmp_path: Path, record_property: Record) -> None:
    """The second belongs to nobody: the connection is given up, nothing is sent again."""

    async def scenario() -> Figures:
        async with AsyncExitStack() as stack:
            made, proxy = await wired(tmp_path, stack)
            proxy.answers = every(5, "double")
            await made.start(proxy)
            await made.laboratory.acknowledged(150)
            await made.finish()
            figures = await made.account()
            assert proxy.spoiled > 0
            assert figures.repeated == 0
            return figures

    told(record_property, asyncio.run(scenario()))


def test_a_late_answer_is_nobody_elses(tmp_path: Path, record_property: Record) -> None:
    """The answer to 1 comes while 2 is outstanding and its own answer is lost: 2 is still sent again."""

    async def scenario() -> Figures:
        async with AsyncExitStack() as stack:
            made, proxy = await wired(tmp_path, stack)
            proxy.answers = first("delay", "pass", "drop")
            await made.start(proxy, connections=1, patients=1)
            await made.laboratory.acknowledged(2)
            await made.finish()
            await made.ehr.count(3)  # 1, then 1 again, then 2
            proxy.released.set()
            figures = await made.account()
            assert Counter(arrival.control for arrival in made.ehr.arrivals)["R000002"] == 2
            return figures

    told(record_property, asyncio.run(scenario()))


def test_a_connection_that_is_cut_inside_a_message(tmp_path: Path, record_property: Record) -> None:
    async def scenario() -> Figures:
        async with AsyncExitStack() as stack:
            made, proxy = await wired(tmp_path, stack)
            proxy.requests = every(25, "cut")
            await made.start(proxy)
            await made.laboratory.acknowledged(150)
            await made.finish()
            proxy.requests = lambda: "pass"
            figures = await made.account()
            assert figures.in_doubt == proxy.spoiled > 0
            assert figures.repeated == 0
            return figures

    told(record_property, asyncio.run(scenario()))


def test_a_half_open_connection(tmp_path: Path, record_property: Record) -> None:
    """The receiver is gone without a word: nothing arrives, nothing is delivered, and all of it goes on afterwards."""

    async def scenario() -> Figures:
        async with AsyncExitStack() as stack:
            made, proxy = await wired(tmp_path, stack)
            await made.start(proxy)
            await made.laboratory.acknowledged(50)
            proxy.black_hole.set()
            await made.laboratory.acknowledged(50)  # the sender does not notice
            arrived = len(made.ehr.arrivals)
            await _doubtful(made.engine)
            assert len(made.ehr.arrivals) <= arrived + 8
            proxy.black_hole.clear()
            await made.laboratory.acknowledged(50)
            await made.finish()
            return await made.account()

    told(record_property, asyncio.run(scenario()))


async def _doubtful(engine: Engine) -> None:
    """Wait until some delivery is in doubt."""
    reader = open_for_reading(engine.data, "")
    try:
        async with asyncio.timeout(20):
            query = "SELECT count(*) FROM delivery WHERE state = 'in doubt'"
            while not reader.connection.execute(query).fetchone()[0]:
                await asyncio.sleep(0.02)
    finally:
        reader.close()


def test_bytes_that_come_one_by_one_and_late(tmp_path: Path, record_property: Record) -> None:
    """Slow is not lost: no repeats."""

    async def scenario() -> Figures:
        async with AsyncExitStack() as stack:
            made, proxy = await wired(tmp_path, stack)
            proxy.slice, proxy.latency = 7, 0.005
            await made.start(proxy)
            await made.laboratory.acknowledged(60)
            await made.finish()
            figures = await made.account()
            assert figures.repeated == 0
            return figures

    told(record_property, asyncio.run(scenario()))


def test_one_destination_that_is_silent_holds_up_no_other(tmp_path: Path, record_property: Record) -> None:
    async def scenario() -> Figures:
        async with AsyncExitStack() as stack:
            made, proxy = await wired(tmp_path, stack)
            other = await stack.enter_async_context(MllpEhr().up())
            proxy.black_hole.set()
            await made.start(proxy, destination_toml("other", f"mllp://127.0.0.1:{other.port}"))
            await made.laboratory.acknowledged(150)
            await other.has(list(made.laboratory.book.acknowledged))
            assert made.ehr.arrivals == []
            proxy.black_hole.clear()
            await made.finish()
            return await made.account(other=other.arrivals)

    told(record_property, asyncio.run(scenario()))


class SilentFor(MllpEhr):
    """Does not answer for one patient until it is let."""

    def __init__(self, lane: str) -> None:
        super().__init__()
        self.lane = lane.encode()
        self.gate = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int) -> None:
        while True:
            raw = (await reader.readuntil(END))[:-2].lstrip(START)
            control = raw.split(b"|")[9].decode()
            self.take(control, raw, connection)
            if self.lane in raw:
                await self.gate.wait()
            writer.write(START + ack(control) + END)


def test_one_lane_that_gets_no_answer_holds_up_no_other(tmp_path: Path, record_property: Record) -> None:
    async def scenario() -> Figures:
        async with AsyncExitStack() as stack:
            ehr = SilentFor("RP000")
            made, proxy = await wired(tmp_path, stack, ehr)
            await made.start(proxy)
            await made.laboratory.acknowledged(150)
            book = made.laboratory.book
            await ehr.has([control for control in book.acknowledged if book.sent[control].lane != "RP000"])
            of_lane = {arrival.control for arrival in ehr.arrivals if ehr.lane in arrival.raw}
            assert len(of_lane) == 1, "the lane went on without an answer"
            ehr.gate.set()
            await made.finish()
            return await made.account()

    told(record_property, asyncio.run(scenario()))


def test_a_storm_of_duplicates(tmp_path: Path, record_property: Record) -> None:
    """One message 300 times over 20 connections: accepted once, answered 300 times alike, delivered once."""

    async def scenario() -> Figures:
        async with AsyncExitStack() as stack:
            made, proxy = await wired(tmp_path, stack)
            await made.start(proxy, connections=1, patients=1)
            await made.laboratory.acknowledged(1)
            await made.finish()
            raw = TEMPLATE.format(control="R900000", patient="RP900", value=1, note="storm").encode()
            port = made.engine.where["relay"].port or 0
            answers = await asyncio.gather(*(_storm(made, port, raw) for _ in range(20)))
            alike = Counter(answer for some in answers for answer in some)
            assert len(alike) == 1, f"{len(alike)} different answers"
            assert sum(alike.values()) == 300
            assert b"MSA|AA|R900000" in next(iter(alike))
            made.laboratory.book.sent["R900000"] = Sent("R900000", "RP900", 1, raw)
            made.laboratory.book.acknowledged["R900000"] = 0
            figures = await made.account()
            assert Counter(arrival.control for arrival in made.ehr.arrivals)["R900000"] == 1
            counted = dict(_message_states(made.engine))
            assert (counted["accepted"], counted["duplicate"]) == (figures.acknowledged, 299)
            return figures

    told(record_property, asyncio.run(scenario()))


async def _storm(made: Wired, port: int, raw: bytes) -> list[bytes]:
    loop = asyncio.get_running_loop()
    _, line = await loop.create_connection(lambda: Line(made.laboratory.book), "127.0.0.1", port)
    try:
        return [await line.ask(raw) for _ in range(15)]
    finally:
        line.close()


def _message_states(engine: Engine) -> list[tuple[str, int]]:
    reader = open_for_reading(engine.data, "")
    try:
        return reader.connection.execute("SELECT state, count(*) FROM message GROUP BY state").fetchall()
    finally:
        reader.close()


def test_two_hundred_slow_senders(tmp_path: Path, record_property: Record) -> None:
    """They drip into frames that never end; an ordinary sender is served, and the drippers are closed in time."""

    async def scenario() -> Figures:
        async with AsyncExitStack() as stack:
            made, _ = await wired(tmp_path, stack)
            destination = destination_toml("ehr", f"mllp://127.0.0.1:{made.ehr.port}")
            source = 'options = { frame_within = "2s" }\n'
            made.engine.write_channel("relay", channel_toml("relay", destination, source=source))
            assert await made.engine.start()
            port = made.engine.where["relay"].port
            drippers = [asyncio.create_task(_drip(port)) for _ in range(200)]
            made.laboratory = Laboratory("R", made.engine.where["relay"], connections=2, patients=4)
            made.sending = asyncio.create_task(made.laboratory.run())
            await made.laboratory.acknowledged(100)
            await made.finish()
            assert made.laboratory.book.refused_connections == 0
            await asyncio.wait_for(asyncio.gather(*drippers), 30)
            return await made.account()

    told(record_property, asyncio.run(scenario()))


async def _drip(port: int | None) -> None:
    """A byte now and then, from another address, until the engine closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.2", 0))
    closed = asyncio.ensure_future(reader.read())
    try:
        writer.write(START)
        while not closed.done():
            writer.write(b"M")
            await asyncio.wait([closed], timeout=0.1)
        closed.exception()
    finally:
        writer.transport.abort()
