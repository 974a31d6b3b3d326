"""The contract of every source and every destination: one suite, each connector, both event loops.

How to add a connector: `connectors/harness.py`.
"""

from __future__ import annotations

import asyncio
import importlib
import pkgutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop

from engine.errors import Reply, Weight
from engine.model import Answer, Arrival, Verdict
from engine.ports import Destination, Source

from . import connectors
from .connectors.harness import DestinationHarness, SourceHarness, answer_bytes, message, sending

MODULES = [
    importlib.import_module(f"{connectors.__name__}.{found.name}")
    for found in pkgutil.iter_modules(connectors.__path__)
    if found.name.startswith("harness_")
]
SOURCES = [harness for module in MODULES for harness in module.SOURCES]
DESTINATIONS = [harness for module in MODULES for harness in module.DESTINATIONS]
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}

SMALL = 1 << 16
BIG = 5_000_000
SECOND = 1_000_000
MOMENT = 0.05  # seconds in which something that must not happen would have happened

Run = Callable[[Awaitable[None]], None]


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
        yield lambda test: runner.run(test)  # type: ignore[arg-type]


class Behind:
    """What stands behind the source: records what it is given, answers as told, waits where told."""

    def __init__(self, reply: Reply = Reply.ACCEPT) -> None:
        self.reply = reply
        self.taken: list[bytes] = []
        self.arrivals: list[Arrival] = []
        self.entered = asyncio.Event()
        self.open = asyncio.Event()
        self.open.set()

    async def accept(self, raw: bytes, arrival: Arrival) -> Answer:
        self.taken.append(raw)
        self.arrivals.append(arrival)
        self.entered.set()
        await self.open.wait()
        verdict = Verdict(self.reply, "accepted" if self.reply is Reply.ACCEPT else "refused")
        return Answer(verdict, answer_bytes(raw, verdict))


@asynccontextmanager
async def started(
    kind: type[SourceHarness], folder: Path, path: Behind, max_size: int = SMALL, grace: str = "5s"
) -> AsyncIterator[tuple[SourceHarness, Source]]:
    harness = kind(folder)
    source = await harness.make(max_size, grace)
    await source.start(path.accept)
    try:
        yield harness, source
    finally:
        await source.stop()
        await harness.close()


@asynccontextmanager
async def opened(
    kind: type[DestinationHarness], folder: Path, up: bool = True, connections: int = 4, timeout: int = 10 * SECOND
) -> AsyncIterator[tuple[Any, Destination]]:
    harness = kind(folder)
    destination = await harness.make(connections, timeout)
    try:
        if up:
            await harness.up()
        yield harness, destination
    finally:
        harness.release()
        await destination.close()
        await harness.close()


@pytest.mark.parametrize("kind", SOURCES, ids=lambda kind: kind.name)
class TestSource:
    def test_each_message_is_accepted_once_with_its_exact_bytes(
        self, kind: type[SourceHarness], run: Run, tmp_path: Path
    ) -> None:
        async def test() -> None:
            path = Behind()
            async with started(kind, tmp_path, path) as (harness, _):
                sender = await harness.sender()
                sent = [message(n) for n in range(5)]
                assert [await sender.send(raw) for raw in sent] == [Reply.ACCEPT] * 5
                assert path.taken == sent
                assert {arrival.channel for arrival in path.arrivals} == {"c"}
                assert all(arrival.at > 0 and arrival.peer for arrival in path.arrivals)
                await sender.close()

        run(test())

    @pytest.mark.parametrize("reply", [Reply.ERROR, Reply.REJECT])
    def test_a_negative_answer_reaches_the_sender(
        self, kind: type[SourceHarness], run: Run, tmp_path: Path, reply: Reply
    ) -> None:
        async def test() -> None:
            path = Behind(reply)
            async with started(kind, tmp_path, path) as (harness, _):
                sender = await harness.sender()
                seen = await sender.send(message(1))
                assert seen is reply if kind.tells_error_from_reject else seen in {Reply.ERROR, Reply.REJECT}
                path.reply = Reply.ACCEPT
                assert await sender.send(message(2)) is Reply.ACCEPT
                await sender.close()

        run(test())

    def test_no_answer_leaves_before_accept_returned(self, kind: type[SourceHarness], run: Run, tmp_path: Path) -> None:
        async def test() -> None:
            path = Behind()
            path.open.clear()
            async with started(kind, tmp_path, path) as (harness, _):
                sender = await harness.sender()
                answer = asyncio.ensure_future(sender.send(message(1)))
                await path.entered.wait()
                await asyncio.wait({answer}, timeout=MOMENT)
                assert not answer.done()
                path.open.set()
                assert await answer is Reply.ACCEPT
                await sender.close()

        run(test())

    def test_a_message_of_5_MB_passes(self, kind: type[SourceHarness], run: Run, tmp_path: Path) -> None:
        async def test() -> None:
            path = Behind()
            async with started(kind, tmp_path, path, max_size=2 * BIG) as (harness, _):
                sender = await harness.sender()
                assert await sender.send(message(1, BIG)) is Reply.ACCEPT
                assert path.taken == [message(1, BIG)]
                await sender.close()

        run(test())

    def test_above_the_limit_nothing_is_accepted(self, kind: type[SourceHarness], run: Run, tmp_path: Path) -> None:
        async def test() -> None:
            path = Behind()
            async with started(kind, tmp_path, path, max_size=SMALL) as (harness, _):
                for size in (SMALL + 1, 10 * SMALL):
                    sender = await harness.sender()
                    assert await sender.send(message(1, size)) is Reply.REJECT
                    await sender.close()
                assert path.taken == []
                sender = await harness.sender()
                assert await sender.send(message(2, SMALL - 10)) is Reply.ACCEPT
                await sender.close()

        run(test())

    def test_two_senders_at_once_get_their_own_answers(
        self, kind: type[SourceHarness], run: Run, tmp_path: Path
    ) -> None:
        async def test() -> None:
            path = Behind()
            async with started(kind, tmp_path, path) as (harness, _):
                senders = [await harness.sender() for _ in range(2)]
                for n in range(0, 20, 2):
                    sent = (sender.send(message(n + i)) for i, sender in enumerate(senders))
                    assert await asyncio.gather(*sent) == [Reply.ACCEPT] * 2
                assert sorted(path.taken) == sorted(message(n) for n in range(20))
                for sender in senders:
                    await sender.close()

        run(test())

    def test_stop_lets_the_message_being_answered_finish(
        self, kind: type[SourceHarness], run: Run, tmp_path: Path
    ) -> None:
        async def test() -> None:
            path = Behind()
            path.open.clear()
            async with started(kind, tmp_path, path) as (harness, source):
                sender = await harness.sender()
                answer = asyncio.ensure_future(sender.send(message(1)))
                await path.entered.wait()
                stop = asyncio.ensure_future(source.stop())
                await asyncio.wait({stop}, timeout=MOMENT)
                assert not stop.done()
                path.open.set()
                await stop
                assert await answer is Reply.ACCEPT
                await sender.close()

        run(test())

    def test_an_accept_that_never_returns_holds_stop_no_longer_than_its_grace(
        self, kind: type[SourceHarness], run: Run, tmp_path: Path
    ) -> None:
        async def test() -> None:
            path = Behind()
            path.open.clear()
            async with started(kind, tmp_path, path, grace="50ms") as (harness, source):
                sender = await harness.sender()
                answer = asyncio.ensure_future(sender.send(message(1), patience=1.0))
                await path.entered.wait()
                await asyncio.wait_for(source.stop(), 20)
                assert await answer is not Reply.ACCEPT
                await sender.close()

        run(test())

    def test_after_stop_nothing_is_accepted_and_a_second_stop_is_nothing(
        self, kind: type[SourceHarness], run: Run, tmp_path: Path
    ) -> None:
        async def test() -> None:
            path = Behind()
            async with started(kind, tmp_path, path) as (harness, source):
                connected, late = await harness.sender(), await harness.sender()
                assert await connected.send(message(1)) is Reply.ACCEPT
                await source.stop()
                await source.stop()
                assert await connected.send(message(2), patience=0.3) is not Reply.ACCEPT
                assert await late.send(message(3), patience=0.3) is not Reply.ACCEPT
                assert path.taken == [message(1)]
                await connected.close()
                await late.close()

        run(test())

    def test_stop_before_start_is_nothing(self, kind: type[SourceHarness], run: Run, tmp_path: Path) -> None:
        async def test() -> None:
            harness = kind(tmp_path)
            source = await harness.make(SMALL, "1s")
            await source.stop()
            await harness.close()

        run(test())

    def test_its_address_names_scheme_and_place(self, kind: type[SourceHarness], run: Run, tmp_path: Path) -> None:
        async def test() -> None:
            async with started(kind, tmp_path, Behind()) as (_, source):
                scheme, _, place = source.address.partition("://")
                assert scheme
                assert place
                assert not place.endswith(":0")

        run(test())


REFUSALS = [(kind, shown) for kind in DESTINATIONS for shown in kind.answers]


@pytest.mark.parametrize(("kind", "shown"), REFUSALS, ids=[f"{kind.name}-{shown}" for kind, shown in REFUSALS])
def test_each_refusal_gets_its_class_and_the_next_delivery_its_own_answer(
    kind: type[DestinationHarness], shown: str, run: Run, tmp_path: Path
) -> None:
    async def test() -> None:
        async with opened(kind, tmp_path, connections=1) as (harness, destination):
            harness.show("take", shown, "take", shown)
            assert (await destination.deliver(message(0), sending(1))).taken
            outcome = await destination.deliver(message(1), sending(2))
            assert outcome.weight is kind.answers[shown]
            assert outcome.code
            assert not outcome.unreachable
            assert "Invented" not in outcome.detail
            assert (await destination.deliver(message(2), sending(3))).taken
            assert (await destination.deliver(message(3), sending(4))).weight is kind.answers[shown]

    run(test())


@pytest.mark.parametrize("kind", DESTINATIONS, ids=lambda kind: kind.name)
class TestDestination:
    def test_what_is_delivered_is_exact(self, kind: type[DestinationHarness], run: Run, tmp_path: Path) -> None:
        async def test() -> None:
            async with opened(kind, tmp_path) as (harness, destination):
                sent = [message(n) for n in range(5)] + [message(5, BIG)]
                for n, raw in enumerate(sent):
                    outcome = await destination.deliver(raw, sending(n + 1))
                    assert outcome.taken, outcome
                    assert outcome.level in {"commit", "application"}
                assert harness.received == sent

        run(test())

    def test_a_peer_that_is_down_is_unreachable_and_nothing_left(
        self, kind: type[DestinationHarness], run: Run, tmp_path: Path
    ) -> None:
        async def test() -> None:
            async with opened(kind, tmp_path, up=False) as (harness, destination):
                outcome = await destination.deliver(message(1), sending())
                assert outcome.unreachable
                assert outcome.weight is Weight.TRANSIENT
                assert outcome.detail
                assert harness.received == []

        run(test())

    def test_silence_is_in_doubt_and_the_next_delivery_gets_its_own_answer(
        self, kind: type[DestinationHarness], run: Run, tmp_path: Path
    ) -> None:
        if not kind.can_be_silent:
            pytest.skip("by its nature it always answers")

        async def test() -> None:
            async with opened(kind, tmp_path, connections=1, timeout=SECOND // 10) as (harness, destination):
                harness.show("silent", "take")
                outcome = await destination.deliver(message(1), sending(1))
                assert outcome.weight is Weight.AMBIGUOUS
                assert not outcome.unreachable
                assert (await destination.deliver(message(2), sending(2))).taken
                assert harness.received == [message(1), message(2)]

        run(test())

    def test_it_comes_back_after_the_peer_was_away(
        self, kind: type[DestinationHarness], run: Run, tmp_path: Path
    ) -> None:
        async def test() -> None:
            async with opened(kind, tmp_path) as (harness, destination):
                assert (await destination.deliver(message(1), sending(1))).taken
                await harness.down()
                outcome = await destination.deliver(message(2), sending(2))
                assert not outcome.taken
                assert outcome.unreachable
                await harness.up()
                assert (await destination.deliver(message(2), sending(3))).taken
                assert harness.received == [message(1), message(2)]

        run(test())

    def test_as_many_at_once_as_it_has_connections_and_no_more(
        self, kind: type[DestinationHarness], run: Run, tmp_path: Path
    ) -> None:
        if not kind.parallel:
            pytest.skip("by its nature nothing is outstanding")

        async def test() -> None:
            async with opened(kind, tmp_path, connections=3) as (harness, destination):
                harness.show(*["wait"] * 5)
                deliveries = [asyncio.ensure_future(destination.deliver(message(n), sending(n))) for n in range(5)]
                while harness.outstanding < 3:
                    await asyncio.sleep(0.001)
                await asyncio.wait(deliveries, timeout=MOMENT)
                assert harness.outstanding == 3
                harness.release()
                assert all(outcome.taken for outcome in await asyncio.gather(*deliveries))
                assert sorted(harness.received) == sorted(message(n) for n in range(5))

        run(test())

    def test_a_cancelled_delivery_leaves_nothing_that_meets_the_next(
        self, kind: type[DestinationHarness], run: Run, tmp_path: Path
    ) -> None:
        if not kind.parallel:
            pytest.skip("by its nature nothing is outstanding")

        async def test() -> None:
            async with opened(kind, tmp_path, connections=1) as (harness, destination):
                harness.show("wait", "AE" if "AE" in kind.answers else "take")
                first = asyncio.ensure_future(destination.deliver(message(1), sending(1)))
                while not harness.outstanding:
                    await asyncio.sleep(0.001)
                first.cancel()
                await asyncio.wait({first})
                second = asyncio.ensure_future(destination.deliver(message(2), sending(2)))
                harness.release()
                assert (await second).taken is ("AE" not in kind.answers)

        run(test())

    def test_close_twice_is_nothing_and_afterwards_nothing_leaves(
        self, kind: type[DestinationHarness], run: Run, tmp_path: Path
    ) -> None:
        async def test() -> None:
            async with opened(kind, tmp_path) as (harness, destination):
                assert (await destination.deliver(message(1), sending(1))).taken
                await destination.close()
                await destination.close()
                outcome = await destination.deliver(message(2), sending(2))
                assert outcome.unreachable
                assert outcome.weight is Weight.TRANSIENT
                assert harness.received == [message(1)]

        run(test())

    def test_test_says_what_is_wrong_and_delivers_nothing(
        self, kind: type[DestinationHarness], run: Run, tmp_path: Path
    ) -> None:
        async def test() -> None:
            async with opened(kind, tmp_path, up=False) as (harness, destination):
                assert len(await destination.test()) > 10
                await harness.up()
                assert await destination.test() == ""
                assert harness.received == []

        run(test())

    def test_ask_tells_the_truth_or_nothing(self, kind: type[DestinationHarness], run: Run, tmp_path: Path) -> None:
        async def test() -> None:
            async with opened(kind, tmp_path) as (_, destination):
                assert (await destination.deliver(message(1), sending(1))).taken
                known, unknown = (
                    await destination.ask(message(1), sending(1)),
                    await destination.ask(message(2), sending(2)),
                )
                assert known is None or known.taken
                assert unknown is None or not unknown.taken

        run(test())
