"""worker: what a lane does when its store, its task or its memory fails it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from engine import outlet as module
from engine.model import Delivery, DeliveryState
from engine.outlet import Outlet
from tests.building import channel, path, spec

pytestmark = pytest.mark.usefixtures("both_stores")


class Reads:
    """A backlog that answers when it is told to."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.answer: asyncio.Future[list[Delivery]] = asyncio.get_running_loop().create_future()
        self.count = 0

    async def open_of_lane(self, *_: Any) -> list[Delivery]:
        self.count += 1
        self.asked.set()
        return await self.answer


def delivery(seq: int) -> Delivery:
    return Delivery(seq, seq, "site", "lab", "ehr", b"lane", seq, b"", raw=b"x")


def test_what_is_offered_while_a_lane_reads_is_read_too(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stale sight makes a lane read; meanwhile a new delivery comes: it must not be taken for one that was read."""

    async def story() -> None:
        async with path(tmp_path) as line:
            outlet = line.worker.outlets["lab", "ehr"]
            reads = Reads()
            monkeypatch.setattr(line.store, "open_of_lane", reads.open_of_lane)
            line.worker.remind("lab", "ehr", b"lane", 1)
            await reads.asked.wait()
            outlet.offer(delivery(2))
            lane = outlet.owned.lanes[b"lane"]
            assert lane.later == 2
            reads.asked.clear()
            reads.answer.set_result([])
            await reads.asked.wait()  # it reads again, for delivery 2
            assert reads.count == 2

    asyncio.run(asyncio.wait_for(story(), 10))


def test_a_blocked_lane_with_more_in_the_store_rests(tmp_path: Any) -> None:
    async def story() -> None:
        async with path(tmp_path, channel(spec(behind="wait"))) as line:
            outlet = line.worker.outlets["lab", "ehr"]
            held = delivery(1)
            held.state = DeliveryState.HELD
            line.worker.restore(held)
            outlet.owned.lanes[b"lane"].seen = 1
            outlet.owned.lanes[b"lane"].later = 5
            turns = []
            carry_some = outlet._carry_some
            outlet._carry_some = lambda lane: turns.append(1) or carry_some(lane)  # type: ignore[method-assign,func-returns-value]
            outlet.wake(outlet.owned.lanes[b"lane"])
            for _ in range(50):
                await asyncio.sleep(0)
            assert len(turns) <= 1

    asyncio.run(asyncio.wait_for(story(), 10))


def test_a_turn_that_raises_is_given_again_and_the_others_go_on(tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "STORE_PAUSE_SECONDS", 0.01)

    async def story() -> None:
        async with path(tmp_path) as line:
            outlet = line.worker.outlets["lab", "ehr"]
            fails = iter([True, False])
            carried: Callable[..., Any] = outlet._carry

            async def carry_once(one: Delivery) -> Any:
                if next(fails, False):
                    raise RuntimeError("unforeseen")
                return await carried(one)

            outlet._carry = carry_once  # type: ignore[method-assign]
            from tests.building import oru

            await line.send(oru())
            while await line.states() != ["delivered"]:
                await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(story(), 10))


def test_whoever_holds_an_outlet_ends_its_own_hold_only(tmp_path: Any) -> None:
    async def story() -> None:
        async with path(tmp_path) as line:
            outlet: Outlet = line.worker.outlets["lab", "ehr"]
            outlet.hold("person")
            outlet.hold("restoring")
            outlet.unhold("restoring")
            assert outlet.paused
            outlet.unhold("person")
            assert not outlet.paused

    asyncio.run(asyncio.wait_for(story(), 10))


def test_an_outlet_counts_a_common_failure_once(tmp_path: Any) -> None:
    async def story() -> None:
        async with path(tmp_path) as line:
            outlet = line.worker.outlets["lab", "ehr"]
            for _ in range(8):
                outlet._judge_reach(unreachable=True)
            assert outlet.breaker.failures == 1

    asyncio.run(asyncio.wait_for(story(), 10))
