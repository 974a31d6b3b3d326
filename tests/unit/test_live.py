"""Channels are exchanged, paused and removed alone; what fails half-way leaves them as they were."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine import live as module
from engine import registry
from engine.connectors.memory import MemoryDestination
from engine.errors import Configuration, StoreUnavailable
from engine.live import Live
from engine.model import Outcome
from engine.outlet import Outlet
from engine.recovery import restore
from engine.wiring import SourceSpec
from tests.building import Path_, channel, oru, path, spec

pytestmark = pytest.mark.usefixtures("both_stores")

FIRST = channel(spec("ehr"), spec("archive"))


def run(folder: Path, story: Callable[[Live, Path_], Awaitable[Any]]) -> None:
    """Tell a story with the channel `FIRST` started."""

    async def whole() -> None:
        async with path(folder, FIRST) as line:
            line.worker.outlets.clear()
            live = Live(line.ports, line.store, line.worker, "all")
            await live.start(FIRST)
            await story(live, line)
            await live.stop()

    asyncio.run(asyncio.wait_for(whole(), 30))


def outlet(line: Path_, name: str = "ehr") -> Outlet:
    return line.worker.outlets["lab", name]


def received(line: Path_, name: str = "ehr") -> list[bytes]:
    destination = outlet(line, name).destination
    assert isinstance(destination, MemoryDestination)
    return destination.received


async def feed(live: Live, raw: bytes) -> None:
    source: Any = live.sources["lab"]
    assert (await source.feed(raw)).positive


def test_another_class_exchanges_the_outlet_for_its_rule_changes(tmp_path: Path) -> None:
    async def story(live: Live, line: Path_) -> None:
        assert outlet(line).owned.lane(b"k").rule == "order"
        await live.replace(replace(FIRST, kind="order", revision="r2"))
        assert outlet(line).owned.lane(b"k").rule == "wait"

    run(tmp_path, story)


def test_what_did_not_change_stays_open(tmp_path: Path) -> None:
    async def story(live: Live, line: Path_) -> None:
        kept, source = outlet(line), live.sources["lab"]
        second = replace(FIRST, destinations=(spec("ehr"), spec("archive", connections=1)), revision="r2")
        await live.replace(second)
        assert outlet(line) is kept and live.sources["lab"] is source
        assert kept.running.channel is second
        await feed(live, oru())
        await line.quiet()
        assert received(line) == received(line, "archive") == [oru()]

    run(tmp_path, story)


def test_a_part_that_cannot_be_made_leaves_the_channel_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = channel(spec("ehr", connections=1), spec("new"), source=SourceSpec("memory://other"), revision="r2")
    make = registry.destination

    def fails(wiring: Any, one: Any) -> Any:
        if one.name == "new":
            raise Configuration("making it: on purpose")
        return make(wiring, one)

    async def story(live: Live, line: Path_) -> None:
        before, source = dict(line.worker.outlets), live.sources["lab"]
        monkeypatch.setattr(registry, "destination", fails)
        with pytest.raises(Configuration):
            await live.replace(second)
        assert line.worker.outlets == before and live.sources["lab"] is source
        assert live.channels["lab"].channel is FIRST
        await feed(live, oru())
        await line.quiet()
        assert received(line) == [oru()]

    run(tmp_path, story)


def test_a_connector_that_cannot_be_closed_does_not_keep_the_channel_from_changing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails() -> None:
        raise OSError("on purpose")

    async def story(live: Live, line: Path_) -> None:
        monkeypatch.setattr(outlet(line).destination, "close", fails)
        await live.replace(replace(FIRST, destinations=(spec("ehr", connections=1),), revision="r2"))
        await feed(live, oru())
        await line.quiet()
        assert received(line) == [oru()]

    run(tmp_path, story)


def test_while_the_store_is_not_there_a_new_outlet_stands_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STORE_PAUSE_SECONDS", 0)
    seen: list[bool] = []

    async def story(live: Live, line: Path_) -> None:
        async def fails_once(*given: Any) -> Any:
            seen.append(outlet(line).paused)
            if len(seen) == 1:
                raise StoreUnavailable("on purpose")
            return await restore(*given)

        outlet(line).hold("test")
        await feed(live, oru("1"))
        monkeypatch.setattr(module, "restore", fails_once)
        await live.replace(replace(FIRST, destinations=(spec("ehr", connections=1), spec("archive")), revision="r2"))
        assert seen == [True, True]
        await feed(live, oru("2"))
        await line.quiet()
        assert received(line) == [oru("1"), oru("2")]

    run(tmp_path, story)


def test_a_channel_that_could_not_start_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*given: Any) -> Any:
        raise StoreUnavailable("on purpose")

    async def story(live: Live, line: Path_) -> None:
        await live.remove("lab")
        with monkeypatch.context() as patched:
            patched.setattr(module, "restore", fails)
            with pytest.raises(StoreUnavailable):
                await live.start(FIRST)
        assert not live.channels and not line.worker.outlets
        await live.start(FIRST)
        await feed(live, oru())

    run(tmp_path, story)


def test_a_pause_while_an_outlet_is_restored_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(live: Live, line: Path_) -> None:
        async def paused_meanwhile(*given: Any) -> Any:
            changing = asyncio.ensure_future(restore(*given))
            await asyncio.sleep(0)
            await live.set("lab", "ehr", "paused")
            return await changing

        monkeypatch.setattr(module, "restore", paused_meanwhile)
        await live.replace(replace(FIRST, destinations=(spec("ehr", connections=1), spec("archive")), revision="r2"))
        assert outlet(line).paused and not outlet(line, "archive").paused
        await live.set("lab", "ehr", "started")
        assert not outlet(line).paused

    run(tmp_path, story)


def test_an_outlet_that_drains_can_be_paused_and_is_found(tmp_path: Path) -> None:
    async def story(live: Live, line: Path_) -> None:
        slow: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        old: Any = outlet(line).destination
        old.then(slow)
        await feed(live, oru())
        await old.arrived.wait()
        changing = asyncio.ensure_future(
            live.replace(replace(FIRST, destinations=(spec("ehr", connections=1), spec("archive")), revision="r2"))
        )
        await asyncio.sleep(0)
        await live.set("lab", "ehr", "paused")
        slow.set_result(Outcome("AA"))
        await changing
        assert outlet(line).paused and outlet(line).destination is not old

    run(tmp_path, story)


def test_a_source_that_nobody_wants_any_more_when_it_is_up_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = registry.source

    async def story(live: Live, line: Path_) -> None:
        begun, go_on = asyncio.Event(), asyncio.Event()
        stopped: list[str] = []

        def slow(wiring: Any) -> Any:
            source: Any = made(wiring)
            start, stop = source.start, source.stop

            async def started(accept: Any) -> None:
                begun.set()
                await go_on.wait()
                await start(accept)

            async def noted() -> None:
                stopped.append(wiring.name)
                await stop()

            source.start, source.stop = started, noted
            return source

        await live.set("lab", "", "paused")
        monkeypatch.setattr(registry, "source", slow)
        starting = asyncio.ensure_future(live.set("lab", "", "started"))
        await begun.wait()
        await live.set("lab", "", "paused")
        go_on.set()
        await starting
        assert not live.sources and stopped == ["lab"]

    run(tmp_path, story)
