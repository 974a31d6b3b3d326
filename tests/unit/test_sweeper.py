"""The sweeper finds what was forgotten, gives up what is too old and watches the disk."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from engine import sweeper as module
from engine.errors import StoreUnavailable
from engine.sweeper import Sweeper
from engine.wiring import Retry
from tests import stores
from tests.building import Path_, channel, oru, spec
from tests.unit.test_recovery import left_behind, run

pytestmark = pytest.mark.usefixtures("both_stores")


async def nobody_else() -> None:
    """No other process decides anything."""


def made(line: Path_, reserve: int = 0) -> Sweeper:
    return Sweeper(line.store, line.worker, line.folder, reserve, nobody_else)


def test_what_nobody_was_told_of_is_offered_in_order(tmp_path: Path) -> None:
    messages = [oru(f"{n}", f"P{n % 3}") for n in range(12)]
    run(tmp_path, None, lambda line: left_behind(line, *messages))

    async def swept(line: Path_) -> None:
        await made(line).turn()
        while {"queued", "claimed"} & set(await line.states()):
            await line.quiet()
            await asyncio.sleep(0)
        for n in range(3):
            received = [raw for raw in line.destinations["ehr"].received if f"|P{n}^".encode() in raw]
            assert received == [raw for raw in messages if f"|P{n}^".encode() in raw]

    run(tmp_path, None, swept)


@stores.SQLITE_ONLY
def test_a_walk_goes_on_where_it_stopped_and_begins_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a store of one process; where several share it, lanes themselves say what is due and nothing is walked for."""
    monkeypatch.setattr(module, "ROWS_A_LOOK", 2)

    async def story(line: Path_) -> None:
        await left_behind(line, *(oru(str(n), f"P{n}") for n in range(5)))
        for outlet in line.worker.outlets.values():
            outlet.owned.lanes.clear()
        sweeper = made(line)
        assert [await sweeper.look() for _ in range(4)] == [True, True, True, False]
        assert len(line.worker.outlets["lab", "ehr"].owned.lanes) == 5

    run(tmp_path, None, story)


def test_behind_an_open_breaker_what_is_too_old_dies_and_blocks(tmp_path: Path) -> None:
    wiring = channel(spec(retry=Retry(give_up=0), behind="wait"))

    async def story(line: Path_) -> None:
        await left_behind(line, oru("1"), oru("2"))
        outlet = line.worker.outlets["lab", "ehr"]
        await made(line).turn()
        assert await line.states() == ["queued", "queued"]
        outlet.breaker.failed(line.store.now())
        await made(line).turn()
        assert {state for state in (await stores.states(line.store)).values()} == {("dead", "gave_up")}
        outlet.breaker.reached()
        outlet.unhold("test")
        await line.quiet()
        await line.send(oru("3"))
        await line.quiet()
        assert await line.states() == ["dead", "dead", "queued"]
        assert line.destinations["ehr"].received == []

    run(tmp_path, wiring, story)


def test_the_disk_is_watched(tmp_path: Path) -> None:
    async def story(line: Path_) -> None:
        made(line, 1 << 62).check_room()
        assert line.ports.room is False
        answer = await line.send(oru())
        assert not answer.positive and answer.verdict.code == "disk_full"
        made(line).check_room()
        assert line.ports.room is True
        assert (await line.send(oru())).positive

    run(tmp_path, None, story)


def test_it_stops_at_once_and_goes_on_after_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TURN_SECONDS", 0.001)

    async def story(line: Path_) -> None:
        turns = asyncio.Event()
        sweeper = made(line)
        calls: list[int] = []

        async def turn() -> None:
            calls.append(1)
            if len(calls) == 1:
                raise StoreUnavailable("on purpose")
            turns.set()

        monkeypatch.setattr(sweeper, "turn", turn)
        sweeper.start()
        await turns.wait()
        monkeypatch.setattr(module, "TURN_SECONDS", 3600)
        await sweeper.stop()

    run(tmp_path, None, story)


@pytest.mark.parametrize("error", [OSError("on purpose"), ZeroDivisionError()])
def test_nothing_that_a_turn_raises_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    monkeypatch.setattr(module, "TURN_SECONDS", 0.001)

    async def story(line: Path_) -> None:
        again = asyncio.Event()
        sweeper = made(line)
        calls: list[int] = []

        async def turn() -> None:
            calls.append(1)
            if len(calls) == 1:
                raise error
            again.set()

        monkeypatch.setattr(sweeper, "turn", turn)
        sweeper.start()
        await asyncio.wait_for(again.wait(), 10)
        await sweeper.stop()

    run(tmp_path, None, story)


def test_a_disk_that_does_not_say_keeps_no_delivery_from_being_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(folder: Path) -> None:
        raise OSError("on purpose")

    async def story(line: Path_) -> None:
        await left_behind(line, oru("1"))
        (outlet,) = line.worker.outlets.values()
        await line.worker.broker.stop()
        outlet.release_all()
        await line.quiet()
        assert not outlet.owned.lanes
        monkeypatch.setattr(module.shutil, "disk_usage", fails)
        await made(line).turn()
        assert outlet.owned.lanes and line.ports.room

    run(tmp_path, None, story)


def test_what_was_kept_for_a_destination_just_removed_is_held(tmp_path: Path) -> None:
    both = channel(spec("ehr"), spec("archive"))

    async def story(line: Path_) -> None:
        await left_behind(line, oru("1"))
        line.worker.outlets.pop(("lab", "ehr"))
        await made(line).turn()
        assert await line.states() == ["queued", "queued"]  # being exchanged: the channel still has it
        line.worker.outlets["lab", "archive"].running.channel = channel(spec("archive"))
        await made(line).turn()
        held = [reason for state, reason in (await stores.states(line.store)).values() if state == "held"]
        assert held == ["destination_removed"]
        assert (await line.states()).count("queued") == 1
        assert not await made(line).look()

    run(tmp_path, both, story)


def test_what_waits_for_a_channel_that_does_not_run_is_left_alone(tmp_path: Path) -> None:
    async def story(line: Path_) -> None:
        await left_behind(line, oru("1"))
        line.worker.outlets.clear()
        assert not await made(line).look()
        assert await line.states() == ["queued"]

    run(tmp_path, None, story)
