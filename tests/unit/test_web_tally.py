"""Counting is done on its own connection, once for all who ask, and rarely when it is slow."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from engine import tally
from engine.tally import Counted, Tally
from tests.unit.web_help import keep, open_runtime


def test_those_who_ask_at_the_same_time_share_one_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        async with open_runtime(tmp_path) as (runtime, _):
            await keep(runtime.store)
            monkeypatch.setattr(tally, "PAUSE_FACTOR", 1e9)
            counts = Tally(runtime.store)
            first, second = await asyncio.gather(counts.counted(), counts.counted())
            await keep(runtime.store, "C2")
            assert first is second is await counts.counted()
            assert first.balance.channels[0].received == 1

    asyncio.run(run())


def test_a_count_that_costs_nothing_is_always_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        async with open_runtime(tmp_path) as (runtime, _):
            monkeypatch.setattr(tally, "PAUSE_FACTOR", 0)
            counts = Tally(runtime.store)
            received = []
            for number in range(2):
                await keep(runtime.store, f"C{number}")
                counted: Counted = await counts.counted()
                received.append(counted.balance.channels[0].received)
            assert received == [1, 2]
            assert counted.oldest.keys() == {("lab", "ehr")}

    asyncio.run(run())
