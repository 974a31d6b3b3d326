"""An engine that is asked to stop, or given changed channels, under load: nothing lost or in doubt, order kept."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from .engine_child import channel_toml, destination_toml, free_port
from .laboratory import Laboratory
from .ledger import Figures, Oracle, Way
from .sinks import MllpEhr
from .sites import Site, drained, site, until

Record = Callable[[str, object], None]


def told(record: Record, figures: Figures) -> None:
    record("figures", {"group": "graceful", **figures.as_dict()})


def states(data: Path) -> dict[tuple[str, str], int]:
    """How many deliveries stand in each (state, reason)."""
    connection = sqlite3.connect(f"file:{data / 'interlock.db'}?mode=ro", uri=True, timeout=10)
    try:
        rows = connection.execute("SELECT state, reason, count(*) FROM delivery GROUP BY state, reason").fetchall()
        return {(state, reason): number for state, reason, number in rows}
    finally:
        connection.close()


class SlowEhr(MllpEhr):
    """Answers when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int) -> None:
        await self.gate.wait()
        await super().serve(reader, writer, connection)


@pytest.mark.parametrize("round_", range(3))
def test_sigterm_under_load(tmp_path: Path, round_: int, record_property: Record) -> None:
    """Exit 0, nothing claimed or in doubt, nothing lost; then the same folder goes on."""

    async def scenario() -> Figures:
        async with site(tmp_path) as made:
            assert await made.engine.start()
            made.open_laboratories()
            await made.laboratories[0].acknowledged(40 + 60 * round_)
            assert await made.engine.stop() == 0
            left = {state for state, _ in states(made.engine.data)}
            assert left <= {"delivered", "queued", "held"}, left
            assert await made.engine.start()
            await made.settle()
            figures = await made.account()
            assert (figures.in_doubt, figures.repeated) == (0, 0)
            return figures

    told(record_property, asyncio.run(scenario()))


def test_readiness_goes_first(tmp_path: Path) -> None:
    """While a stop waits for an answer that is outstanding, /readyz says 503 and no message is taken."""

    async def scenario() -> None:
        slow = SlowEhr()
        async with slow.up(), site(tmp_path) as made:
            made.wire(slow.port, made.fhir.port, made.lis.port)
            assert await made.engine.start()
            assert (await made.engine.http("/readyz"))[0] == 200
            laboratory = Laboratory("R", made.engine.where["relay"], connections=1, patients=1)
            sending = asyncio.create_task(laboratory.run())
            await laboratory.acknowledged(1)
            await until(lambda: ("claimed", "") in states(made.engine.data))
            made.engine.signal(signal.SIGTERM)
            await _not_ready(made)
            taken = len(laboratory.book.acknowledged)
            laboratory.finish()
            slow.gate.set()
            assert await made.engine.died() == 0
            assert len(laboratory.book.acknowledged) <= taken + 1
            assert {state for state, _ in states(made.engine.data)} <= {"delivered", "queued"}
            sending.cancel()

    asyncio.run(scenario())


async def _not_ready(made: Site) -> None:
    async with asyncio.timeout(20):
        while True:
            status, body = await made.engine.http("/readyz")
            if status == 503:
                assert b"not_serving" in body
                return
            await asyncio.sleep(0.01)


def test_a_second_sigterm_ends_at_once(tmp_path: Path, record_property: Record) -> None:
    """What was under way is in doubt afterwards, and is sent again with the same bytes."""

    async def scenario() -> Figures:
        slow = SlowEhr()
        async with slow.up(), site(tmp_path) as made:
            made.wire(slow.port, made.fhir.port, made.lis.port)
            assert await made.engine.start()
            made.open_laboratories()
            await made.laboratories[0].acknowledged(10)
            made.engine.signal(signal.SIGTERM)
            await _not_ready(made)
            made.engine.signal(signal.SIGTERM)
            assert await made.engine.died() == 1
            slow.gate.set()
            assert await made.engine.start()
            await made.settle()
            made.mllp.arrivals = slow.arrivals
            return await made.account()

    told(record_property, asyncio.run(scenario()))


def test_a_stop_waits_no_longer_than_its_grace(tmp_path: Path) -> None:
    """With an EHR that never answers the stop ends by itself; what was under way is in doubt for the next process."""

    async def scenario() -> None:
        slow = SlowEhr()
        async with slow.up(), site(tmp_path) as made:
            made.wire(slow.port, made.fhir.port, made.lis.port)
            assert await made.engine.start(grace=1)
            laboratory = Laboratory("R", made.engine.where["relay"], connections=1, patients=1)
            sending = asyncio.create_task(laboratory.run())
            await laboratory.acknowledged(1)
            laboratory.finish()
            await sending
            await until(lambda: ("claimed", "") in states(made.engine.data))
            assert await made.engine.stop() == 0
            slow.gate.set()
            assert await made.engine.start()
            await drained(made.engine)
            assert await made.engine.stop() == 0
            way = Way("relay", "ehr", laboratory.book, slow.arrivals, verbatim=True)
            assert Oracle(made.engine).check([way]).in_doubt == 1

    asyncio.run(scenario())


@pytest.mark.parametrize("by", ["SIGHUP", "command"])
def test_ten_reloads_under_load(tmp_path: Path, by: str, record_property: Record) -> None:
    """A destination changes ten times: the source's port stays and refuses nobody, nothing is lost or overtaken."""

    async def scenario() -> Figures:
        async with site(tmp_path) as made:
            assert await made.engine.start()
            made.open_laboratories()
            ports = {name: where.port for name, where in made.engine.where.items()}
            for number in range(10):
                await made.laboratories[0].acknowledged(10)
                _change(made, number + 1)
                await _reload(made, by, number + 2)
            report = await made.engine.call("report")
            made.engine.take_addresses(report["channels"])
            assert {name: where.port for name, where in made.engine.where.items()} == ports
            await made.settle(10)
            figures = await made.account()
            assert [laboratory.book.refused_connections for laboratory in made.laboratories] == [0, 0, 0]
            assert (figures.in_doubt, figures.repeated, figures.negative) == (0, 0, 0)
            return figures

    told(record_property, asyncio.run(scenario()))


def _change(made: Site, number: int) -> None:
    """A new revision of two channels: other retries and connections of their destinations."""
    more = {"connections": str(number), "timeout": f'"{10 + number}s"'}
    relay = destination_toml("ehr", f"mllp://127.0.0.1:{made.mllp.port}", **more)
    fhir = f"fhir+http://127.0.0.1:{made.fhir.port}/fhir"
    results = destination_toml("ehr", fhir, convert='"faults_site:convert"', **more)
    made.engine.write_channel("relay", channel_toml("relay", relay))
    made.engine.write_channel("results", channel_toml("results", results))


async def _reload(made: Site, by: str, revisions: int) -> None:
    if by == "command":
        changes = await made.engine.call("reload")
        assert (changes["changed"], changes["errors"]) == (["relay", "results"], 0)
        return
    made.engine.signal(signal.SIGHUP)
    await until(lambda: _revisions(made.engine.data, "results") == revisions)


def _revisions(data: Path, channel: str) -> int:
    connection = sqlite3.connect(f"file:{data / 'interlock.db'}?mode=ro", uri=True, timeout=10)
    try:
        query = "SELECT count(*) FROM channel_revision WHERE channel = ?"
        return int(connection.execute(query, (channel,)).fetchone()[0])
    finally:
        connection.close()


def test_a_source_that_changes_is_away_for_a_moment(tmp_path: Path, record_property: Record) -> None:
    """The listening socket is exchanged on the same port: senders that are cut off come back and lose nothing."""

    async def scenario() -> Figures:
        async with site(tmp_path) as made:
            port = free_port()
            destination = destination_toml("ehr", f"mllp://127.0.0.1:{made.mllp.port}")

            def write(frame_within: int) -> None:
                options = f'options = {{ frame_within = "{frame_within}s" }}\n'
                text = channel_toml("relay", destination, listen=f"mllp://127.0.0.1:{port}", source=options)
                made.engine.write_channel("relay", text)

            write(60)
            assert await made.engine.start()
            made.open_laboratories()
            for number in range(5):
                await made.laboratories[0].acknowledged(20)
                write(30 + number)
                changes = await made.engine.call("reload")
                assert changes["changed"] == ["relay"]
                _, writer = await asyncio.open_connection("127.0.0.1", port)  # at once: reload waits for the source
                writer.close()
                await writer.wait_closed()
            await made.settle(10)
            return await made.account()

    told(record_property, asyncio.run(scenario()))


def test_a_faulty_change_changes_nothing(tmp_path: Path, record_property: Record) -> None:
    async def scenario() -> Figures:
        async with site(tmp_path) as made:
            assert await made.engine.start()
            made.open_laboratories()
            await made.laboratories[0].acknowledged(20)
            (made.engine.channels / "relay" / "channel.toml").write_text("name = [")
            changes = await made.engine.call("reload")
            assert (changes["kept"], changes["changed"], changes["errors"]) == (["relay"], [], 1)
            await made.laboratories[0].acknowledged(20)
            _change(made, 2)
            assert (await made.engine.call("reload"))["changed"] == ["relay", "results"]
            await made.settle(10)
            return await made.account()

    told(record_property, asyncio.run(scenario()))


def test_a_channel_that_goes_and_comes_back_keeps_its_deliveries(tmp_path: Path, record_property: Record) -> None:
    """Deliveries that waited when their channel was removed are sent when it returns, in order and once."""

    async def scenario() -> Figures:
        async with site(tmp_path) as made:
            port, ehr = free_port(), MllpEhr()
            ehr.port = free_port()
            text = channel_toml(
                "relay", destination_toml("ehr", f"mllp://127.0.0.1:{ehr.port}"), listen=f"mllp://127.0.0.1:{port}"
            )
            made.engine.write_channel("relay", text)
            assert await made.engine.start()
            laboratory = Laboratory("R", made.engine.where["relay"])
            sending = asyncio.create_task(laboratory.run())
            await laboratory.acknowledged(100)
            (made.engine.channels / "relay" / "channel.toml").unlink()
            os.rmdir(made.engine.channels / "relay")
            assert (await made.engine.call("reload"))["removed"] == ["relay"]
            before = sum(states(made.engine.data).values())
            assert before >= 100
            made.engine.write_channel("relay", text)
            async with ehr.up():
                assert (await made.engine.call("reload"))["added"] == ["relay"]
                await laboratory.acknowledged(40)
                laboratory.finish()
                await sending
                await drained(made.engine)
                assert await made.engine.stop() == 0
                way = Way("relay", "ehr", laboratory.book, ehr.arrivals, verbatim=True)
                figures = Oracle(made.engine).check([way])
            assert (figures.arrived, figures.repeated) == (figures.acknowledged, 0)
            return figures

    told(record_property, asyncio.run(scenario()))


def test_a_destination_that_goes_holds_and_flows_again_when_it_returns(tmp_path: Path, record_property: Record) -> None:
    async def scenario() -> Figures:
        async with site(tmp_path) as made:
            ehr = MllpEhr()
            ehr.port = free_port()
            second = destination_toml("second", f"mllp://127.0.0.1:{ehr.port}")
            first = destination_toml("ehr", f"mllp://127.0.0.1:{made.mllp.port}")
            made.engine.write_channel("relay", channel_toml("relay", first, second))
            assert await made.engine.start()
            laboratory = Laboratory("R", made.engine.where["relay"])
            sending = asyncio.create_task(laboratory.run())
            await laboratory.acknowledged(60)
            made.engine.write_channel("relay", channel_toml("relay", first))
            assert (await made.engine.call("reload"))["changed"] == ["relay"]
            held = states(made.engine.data)["held", "destination_removed"]
            assert held >= 60
            await laboratory.acknowledged(30)
            assert states(made.engine.data)["held", "destination_removed"] >= held
            laboratory.finish()
            await sending
            waited = states(made.engine.data)["held", "destination_removed"]
            made.engine.write_channel("relay", channel_toml("relay", first, second))
            async with ehr.up():
                assert (await made.engine.call("reload"))["changed"] == ["relay"]
                await drained(made.engine)
                assert await made.engine.stop() == 0
            assert len(ehr.seen) == waited, "a returning destination gets what was routed to it, and nothing else"
            assert {state for state, _ in states(made.engine.data)} == {"delivered"}
            return Oracle(made.engine).check([Way("relay", "ehr", laboratory.book, made.mllp.arrivals, verbatim=True)])

    told(record_property, asyncio.run(scenario()))
