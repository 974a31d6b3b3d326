"""What a crash left open is in doubt, then flows again in order; a removed destination holds until it returns."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine import recovery
from engine.balance import balance
from engine.recovery import hold_removed, recover, restore
from engine.store import queries
from engine.store.sqlite import SqliteStore
from engine.wiring import Channel
from tests import stores
from tests.building import Path_, channel, merge, oru, path, spec

pytestmark = pytest.mark.usefixtures("both_stores")


def run(folder: Path, wiring: Channel | None, story: Callable[[Path_], Awaitable[Any]]) -> Any:
    async def whole() -> Any:
        async with path(folder, wiring) as line:
            result = await story(line)
            assert (await line.store.read(balance)).faults == ()
            return result

    return asyncio.run(asyncio.wait_for(whole(), 60))


async def left_behind(line: Path_, *messages: bytes, claimed: int = 0) -> None:
    """Keep messages while nothing is sent, and claim the first of them as a process does that then dies."""
    line.is_killed = True
    for outlet in line.worker.outlets.values():
        outlet.hold("test")
    for raw in messages:
        assert (await line.send(raw)).positive
    lanes = await line.rows("SELECT lane FROM delivery WHERE destination = 'ehr' ORDER BY id")
    for delivery in (await line.store.open_of_lane("lab", "ehr", lanes[0][0], 0, 10))[:claimed]:
        assert await stores.claim(line.store, delivery)


def in_memory(line: Path_, count: int) -> int:
    """What a start does to so many deliveries of a process's own; of a shared store it takes the lanes instead."""
    return 0 if line.store.shared else count


def test_a_claim_is_in_doubt_and_the_stored_output_goes_again(tmp_path: Path) -> None:
    messages = [oru(f"C{n}") for n in range(3)]
    run(tmp_path, None, lambda line: left_behind(line, *messages, claimed=1))

    async def restarted(line: Path_) -> None:
        assert await recover(line.store) == in_memory(line, 1)
        assert await line.states() == ["in doubt", "queued", "queued"]
        assert await recover(line.store) == 0
        found = await restore(line.store, line.worker, line.running.channel)
        assert (found.offered, found.held_in_doubt) == (in_memory(line, 3), 0)
        await line.quiet()
        assert await line.states() == ["delivered"] * 3
        assert line.destinations["ehr"].received == [b'{"resourceType":"Bundle"}', *messages[1:]]

    run(tmp_path, None, restarted)


def test_by_the_policy_hold_a_person_decides(tmp_path: Path) -> None:
    wiring = channel(spec(in_doubt="hold"))
    run(tmp_path, wiring, lambda line: left_behind(line, oru("1"), oru("2"), claimed=1))

    async def restarted(line: Path_) -> None:
        await recover(line.store)
        found = await restore(line.store, line.worker, line.running.channel)
        assert (found.offered, found.held_in_doubt) == (in_memory(line, 2), in_memory(line, 1))
        await line.quiet()
        assert await line.states() == ["held", "delivered"]  # class result: another order number passes
        (number,) = [n for n, (state, _) in (await stores.states(line.store)).items() if state == "held"]
        row = await line.store.read(lambda c: queries.delivery(c, number))
        assert row is not None and row.reason == "in_doubt"
        kinds = [event.kind for event in await line.store.read(lambda c: queries.events(c, number))]
        assert kinds == ["in_doubt", "held"]

    run(tmp_path, wiring, restarted)


def test_lanes_keep_their_order_also_where_memory_holds_a_part_of_them(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("engine.lane.MOST_IN_MEMORY", 3)
    monkeypatch.setattr(recovery, "CHUNK", 4)
    messages = [oru(f"{patient}{n}", patient) for n in range(8) for patient in "ABC"]
    run(tmp_path, None, lambda line: left_behind(line, *messages))

    async def restarted(line: Path_) -> None:
        await recover(line.store)
        assert (await restore(line.store, line.worker, line.running.channel)).offered == in_memory(line, 24)
        while "queued" in await line.states() or "claimed" in await line.states():
            await line.quiet()
            await asyncio.sleep(0)
        received = line.destinations["ehr"].received
        for patient in "ABC":
            assert [raw for raw in received if raw in messages[0:] and f"|{patient}^".encode() in raw] == [
                raw for raw in messages if f"|{patient}^".encode() in raw
            ]

    run(tmp_path, None, restarted)


def test_a_merge_still_waits_for_both_lanes(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("engine.lane.MOST_IN_MEMORY", 2)
    messages = [oru(f"B{n}", "B") for n in range(5)] + [oru(f"A{n}", "A") for n in range(2)]
    messages += [merge("M", "A", "B"), oru("B9", "B"), oru("A9", "A")]
    run(tmp_path, None, lambda line: left_behind(line, *messages))

    async def restarted(line: Path_) -> None:
        await recover(line.store)
        await restore(line.store, line.worker, line.running.channel)
        while {"queued", "claimed"} & set(await line.states()):
            await line.quiet()
            await asyncio.sleep(0)
        received = line.destinations["ehr"].received
        assert len(received) == len(messages)
        at = received.index(messages[7])
        assert set(received[:at]) == set(messages[:7])
        assert set(received[at + 1 :]) == set(messages[8:])

    run(tmp_path, None, restarted)


def test_a_removed_destination_holds_and_a_returned_one_goes_on(tmp_path: Path) -> None:
    wiring = channel(spec("ehr"), spec("archive"))
    run(tmp_path, wiring, lambda line: left_behind(line, oru("1"), oru("2"), claimed=1))
    without = channel(spec("archive"))

    async def removed(line: Path_) -> None:
        await recover(line.store)
        found = await restore(line.store, line.worker, line.running.channel)
        await line.quiet()
        assert found.held_removed == 2
        assert await hold_removed(line.store, line.running.channel) == 0
        held = [reason for state, reason in (await stores.states(line.store)).values() if state == "held"]
        assert held == ["destination_removed"] * 2

    run(tmp_path, without, removed)

    async def returned(line: Path_) -> None:
        found = await restore(line.store, line.worker, replace(line.running.channel), "ehr")
        assert (found.taken_back, found.offered) == (2, in_memory(line, 2))
        await line.quiet()
        assert await line.states() == ["delivered"] * 4
        assert line.destinations["ehr"].received == [b'{"resourceType":"Bundle"}', oru("2")]

    run(tmp_path, wiring, returned)


def test_a_dead_delivery_blocks_its_lane_after_a_restart(tmp_path: Path) -> None:
    wiring = channel(spec(behind="wait"))

    async def dead(line: Path_) -> None:
        await left_behind(line, oru("1"), oru("2"), oru("3", "OTHER"))
        lane = await line.store.read(lambda c: c.execute("SELECT lane FROM delivery ORDER BY id").fetchone())
        await stores.kill(line.store, (await line.store.open_of_lane("lab", "ehr", lane[0], 0, 1))[0])

    run(tmp_path, wiring, dead)

    async def restarted(line: Path_) -> None:
        await recover(line.store)
        await restore(line.store, line.worker, line.running.channel)
        await line.quiet()
        assert await line.states() == ["dead", "queued", "delivered"]

    run(tmp_path, wiring, restarted)


@stores.SQLITE_ONLY
def test_a_restored_backup_is_noted_once(tmp_path: Path) -> None:
    """A backup of SQLite is restored by this program; PostgreSQL is backed up and restored by its own."""

    async def work(store: SqliteStore) -> list[str]:
        add = "INSERT INTO site VALUES ('restored', '1790000000000000')"
        await store.act(lambda t: t.connection.execute(add).rowcount)
        await recover(store)
        await recover(store)
        bodies = await store.read(lambda c: c.execute("SELECT body FROM event").fetchall())
        return [body for (body,) in bodies if b'"restored"' in body]

    assert len(stores.run(tmp_path, work)) == 1
