"""Answers that wait for a destination: whoever waits is woken, however many wait and whenever the outcome comes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from engine import applications as module
from engine.applications import Applications
from engine.errors import Reply
from engine.formats.hl7v2 import Hl7v2
from engine.model import Delivery, DeliveryState, Kept, MessageState, Outcome, Settlement, Verdict, show_id
from engine.ports import Running
from engine.wiring import SourceSpec
from tests.building import channel, spec

TAKEN = Settlement(DeliveryState.DELIVERED, "AA", Outcome("AA"), 0, 1)
KEPT = Kept(Verdict(Reply.ACCEPT, message=7), MessageState.DUPLICATE)


def under_way() -> Delivery:
    return Delivery(8, 7, "site", "lab", "ehr", b"lane", 1, b"", state=DeliveryState.CLAIMED)


def running(within: int) -> Running:
    source = SourceSpec("memory://in", answer="application", answer_within=within)
    return Running(channel(spec(answers=True), source=source), Hl7v2())


class Known:
    """A store that knows one delivery, and lets a test happen something while it looks."""

    def __init__(self, meanwhile: Callable[[], Awaitable[None]] | None = None, shared: bool = False) -> None:
        self.meanwhile = meanwhile
        self.shared = shared
        self.looks = 0
        self.found = under_way()

    async def read(self, query: Any) -> Any:
        assert self.shared, "a store of one process is not looked at again"
        self.looks += 1
        return self.found, ""

    async def delivery_of(self, message: int, destination: str) -> tuple[Delivery, str] | None:
        found = under_way()
        if self.meanwhile is not None:
            await self.meanwhile()
        return found, ""


def test_one_who_gives_up_leaves_the_others_waiting() -> None:
    async def story() -> None:
        applications = Applications(Known())
        patient = asyncio.create_task(applications.verdict(KEPT, running(30_000_000)))
        assert (await applications.verdict(KEPT, running(1000))).code == "answer_late"
        applications.settled(under_way(), TAKEN)
        assert (await patient).reply is Reply.ACCEPT

    asyncio.run(asyncio.wait_for(story(), 5))


def test_an_outcome_that_comes_while_the_store_is_read_is_heard() -> None:
    async def story() -> None:
        async def settle() -> None:
            applications.settled(replace(under_way()), TAKEN)

        applications = Applications(Known(settle))
        assert (await applications.verdict(KEPT, running(50_000))).reply is Reply.ACCEPT

    asyncio.run(story())


def test_who_has_been_answered_is_forgotten() -> None:
    async def story() -> None:
        applications = Applications(Known())
        await applications.verdict(KEPT, running(1000))
        assert not applications._waiting

    asyncio.run(story())


def test_what_another_process_tells_is_looked_at_at_once_and_believed_only_then() -> None:
    async def story() -> None:
        known = Known(shared=True)
        applications = Applications(known)
        patient = asyncio.create_task(applications.verdict(KEPT, running(3_600_000_000)))
        await asyncio.sleep(0.01)
        applications.told(show_id(7))  # before it is so: it goes on waiting
        while known.looks < 1:
            await asyncio.sleep(0)
        known.found.state = DeliveryState.DELIVERED
        applications.told(show_id(7))
        assert (await patient).reply is Reply.ACCEPT
        assert known.looks == 2

    asyncio.run(asyncio.wait_for(story(), 4))  # sooner than the look that nobody asks for


@pytest.mark.parametrize("word", [show_id(8), "no id", "", "0" * 13])
def test_what_nobody_waits_for_is_not_looked_at(word: str) -> None:
    async def story() -> None:
        known = Known(shared=True)
        applications = Applications(known)
        patient = asyncio.create_task(applications.verdict(KEPT, running(3_600_000_000)))
        await asyncio.sleep(0.01)
        applications.told(word)
        await asyncio.sleep(0.01)
        assert known.looks == 0
        patient.cancel()

    asyncio.run(story())


@pytest.mark.parametrize("is_told", [True, False])
def test_without_a_word_it_is_looked_at_all_the_same(is_told: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS" if is_told else "UNTOLD_LOOK_SECONDS", 0.01)

    async def story() -> None:
        known = Known(shared=True)
        known.found.state = DeliveryState.DELIVERED
        known.delivery_of = Known().delivery_of  # type: ignore[method-assign]
        verdict = await Applications(known, is_told).verdict(KEPT, running(3_600_000_000))
        assert verdict.reply is Reply.ACCEPT

    asyncio.run(asyncio.wait_for(story(), 4))
