"""Answers that wait for a destination: whoever waits is woken, however many wait and whenever the outcome comes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from engine.applications import Applications
from engine.errors import Reply
from engine.formats.hl7v2 import Hl7v2
from engine.model import Delivery, DeliveryState, Kept, MessageState, Outcome, Settlement, Verdict
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

    shared = False

    async def read(self, query: Any) -> Any:
        raise AssertionError("a store of one process is not looked at again")

    def __init__(self, meanwhile: Callable[[], Awaitable[None]] | None = None) -> None:
        self.meanwhile = meanwhile

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
