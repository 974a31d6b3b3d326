"""The memory connector where it is more than the contract: what it records, and that it hides nothing."""

from __future__ import annotations

import asyncio

import pytest

from engine import observe
from engine.connectors.memory import MemoryDestination, MemorySource
from engine.errors import Reply, StoreUnavailable, Weight
from engine.model import Answer, Arrival, Outcome
from engine.ports import Sending
from engine.wiring import DestinationSpec, SourceSpec

SENDING = Sending("0000000000001", "0000000000002", 1, "c", "d")


def destination(**spec: int) -> MemoryDestination:
    return MemoryDestination("c", DestinationSpec("d", "memory://d", **spec))  # type: ignore[arg-type]


def test_it_records_what_it_is_given_and_what_was_said_with_it() -> None:
    async def test() -> None:
        double = destination()
        assert (await double.deliver(b"a", SENDING)).taken
        assert (double.received, double.sendings) == ([b"a"], [SENDING])
        assert double.arrived.is_set()

    asyncio.run(test())


def test_it_answers_in_turn_and_then_positively_again() -> None:
    async def test() -> None:
        double = destination()
        double.then(Outcome("AR", Weight.PERMANENT), Outcome("AA"))
        assert [(await double.deliver(b"a", SENDING)).code for _ in range(3)] == ["AR", "AA", "taken"]

    asyncio.run(test())


def test_an_error_comes_out_where_the_caller_stands() -> None:
    async def test() -> None:
        double = destination()
        double.then(StoreUnavailable("told to"), ValueError("told to"))
        with pytest.raises(StoreUnavailable):
            await double.deliver(b"a", SENDING)
        with pytest.raises(ValueError, match="told to"):
            await double.deliver(b"a", SENDING)
        assert double.outstanding == 0

    asyncio.run(test())


def test_it_remembers_what_arrived() -> None:
    async def test() -> None:
        double = destination()
        await double.deliver(b"a", SENDING)
        known = await double.ask(b"a", SENDING)
        assert known is not None
        assert known.taken
        assert await double.ask(b"b", SENDING) is None

    asyncio.run(test())


def test_what_accept_raises_comes_out_of_feed() -> None:
    async def test() -> None:
        async def accept(raw: bytes, arrival: Arrival) -> Answer:
            raise RuntimeError("a defect")

        source = MemorySource("c", SourceSpec("memory://c"))
        await source.start(accept)
        with pytest.raises(RuntimeError, match="a defect"):
            await source.feed(b"a")

    asyncio.run(test())


def test_a_source_that_is_not_started_answers_negatively() -> None:
    async def test() -> None:
        answer = await MemorySource("c", SourceSpec("memory://c")).feed(b"a")
        assert answer.verdict.reply is Reply.ERROR
        assert answer.verdict.code == "channel_not_taking"

    asyncio.run(test())


def test_what_is_too_large_is_counted() -> None:
    async def test() -> None:
        source = MemorySource("sized", SourceSpec("memory://c", max_size=1))

        async def accept(raw: bytes, arrival: Arrival) -> Answer:
            raise AssertionError("it is too large")

        await source.start(accept)
        assert (await source.feed(b"ab")).verdict.code == "too_large"

    asyncio.run(test())
    assert observe.connector_events.pop(("sized", "too_large")) == 1
