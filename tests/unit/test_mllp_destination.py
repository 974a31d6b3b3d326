"""The MLLP destination where it is more than the contract of every destination: whose answer is it, and how sure."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator

import pytest
import uvloop

from engine.connectors.mllp import MllpDestination
from engine.errors import Configuration, Weight
from engine.ports import Sending
from engine.wiring import DestinationSpec

from .mllp import Script, ack, framed, hl7, receiver

Run = Callable[[Callable[[], Awaitable[None]]], None]
SENDING = Sending("0000000000001", "0000000000002", 1, "c", "d")
TENTH = 100_000


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    factory = asyncio.new_event_loop if request.param == "asyncio" else uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        yield lambda test: runner.run(asyncio.wait_for(test(), 30))


def number(frame: bytes) -> str:
    return frame.split(b"|", 10)[9].decode()


def replying(*answers: Callable[[str], bytes]) -> Script:
    """Answer the messages of all connections with these in turn, then positively."""
    left = list(answers)

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            frame = await reader.readuntil(b"\x1c\r")
            answer = left.pop(0) if left else positive
            writer.write(answer(number(frame)))

    return script


def positive(n: str) -> bytes:
    return framed(ack(n))


def test_one_connection_is_kept_for_all(run: Run) -> None:
    async def test() -> None:
        async with receiver(replying()) as (destination, connections):
            for n in range(20):
                assert (await destination.deliver(hl7(n), SENDING)).taken
            assert len(connections) == 1

    run(test)


def test_a_late_answer_never_matches_the_next_message(run: Run) -> None:
    async def test() -> None:
        asked = asyncio.Event()

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            first = number(await reader.readuntil(b"\x1c\r"))
            if first == "1":
                await asked.wait()
                writer.write(positive(first))
                await writer.drain()
            else:
                writer.write(framed(ack(first, "AE")))
                asked.set()
            await reader.read()

        async with receiver(script, timeout=TENTH) as (destination, connections):
            late = await destination.deliver(hl7(1), SENDING)
            assert (late.code, late.weight) == ("answer_timeout", Weight.AMBIGUOUS)
            refused = await destination.deliver(hl7(2), SENDING)
            assert refused.code.startswith("AE")
            assert len(connections) == 2

    run(test)


def test_an_answer_to_another_message_closes_the_connection(run: Run) -> None:
    async def test() -> None:
        async with receiver(replying(lambda n: positive("9"))) as (destination, connections):
            outcome = await destination.deliver(hl7(1), SENDING)
            assert outcome.weight is Weight.AMBIGUOUS
            assert (await destination.deliver(hl7(2), SENDING)).taken
            assert len(connections) == 2

    run(test)


def test_bytes_that_wait_on_an_idle_connection_are_seen_before_anything_is_sent(run: Run) -> None:
    async def test() -> None:
        writers: list[asyncio.StreamWriter] = []

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.append(writer)
            await replying()(reader, writer)

        async with receiver(script) as (destination, connections):
            assert (await destination.deliver(hl7(1), SENDING)).taken
            # in the kernel, unseen by the loop: written past it, and delivered to in the same turn
            os.write(writers[0].get_extra_info("socket").fileno(), positive("2"))
            assert (await destination.deliver(hl7(2), SENDING)).taken
            assert len(connections) == 2

    run(test)


def test_an_idle_connection_that_the_peer_closed_costs_no_doubt(run: Run) -> None:
    async def test() -> None:
        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(positive(number(await reader.readuntil(b"\x1c\r"))))

        async with receiver(script) as (destination, connections):
            for n in range(10):
                assert (await destination.deliver(hl7(n), SENDING)).taken
                while any(not link._transport.is_closing() for link in destination._idle):
                    await asyncio.sleep(0)
            assert len(connections) == 10

    run(test)


def test_an_equal_second_answer_harms_nobody_but_the_connection(run: Run) -> None:
    async def test() -> None:
        async with receiver(replying(lambda n: positive(n) * 2)) as (destination, connections):
            assert (await destination.deliver(hl7(1), SENDING)).taken
            assert (await destination.deliver(hl7(2), SENDING)).taken
            assert len(connections) == 2

    run(test)


def test_a_negative_answer_keeps_the_connection(run: Run) -> None:
    async def test() -> None:
        async with receiver(replying(lambda n: framed(ack(n, "AR")))) as (destination, connections):
            assert (await destination.deliver(hl7(1), SENDING)).weight is Weight.PERMANENT
            assert (await destination.deliver(hl7(2), SENDING)).taken
            assert len(connections) == 1

    run(test)


def test_the_answer_may_come_in_pieces_with_filler_around(run: Run) -> None:
    async def test() -> None:
        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for byte in b"\0\r\n" + positive(number(await reader.readuntil(b"\x1c\r"))):
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0)
            await reader.read()

        async with receiver(script) as (destination, _):
            assert (await destination.deliver(hl7(1), SENDING)).taken

    run(test)


ENHANCED = [
    ("AA", [lambda n: framed(ack(n, "CA"), ack(n, "AA"))], None, "application"),
    ("AE", [lambda n: framed(ack(n, "CA")) + framed(ack(n, "AE"))], Weight.TRANSIENT, "application"),
    ("AR", [lambda n: framed(ack(n, "CA"), ack(n, "AR"))], Weight.PERMANENT, "application"),
    ("only a commit", [lambda n: framed(ack(n, "CA"))], Weight.AMBIGUOUS, ""),
    ("two commits", [lambda n: framed(ack(n, "CA"), ack(n, "CA"))], Weight.AMBIGUOUS, ""),
    ("CE", [lambda n: framed(ack(n, "CE"))], Weight.TRANSIENT, "commit"),
    ("AA at once", [lambda n: framed(ack(n, "AA"))], None, "application"),
    ("another's", [lambda n: framed(ack(n, "CA"), ack("9", "AA"))], Weight.AMBIGUOUS, ""),
]


@pytest.mark.parametrize(("answers", "weight", "level"), [c[1:] for c in ENHANCED], ids=[c[0] for c in ENHANCED])
def test_enhanced_mode_waits_for_the_application(
    run: Run, answers: list[Callable[[str], bytes]], weight: Weight | None, level: str
) -> None:
    async def test() -> None:
        spec = {"delivered_at": "application", "timeout": TENTH}
        async with receiver(replying(*answers), **spec) as (destination, _):
            outcome = await destination.deliver(hl7(1), SENDING)
            assert outcome.weight is weight
            if level:
                assert outcome.level == level
            assert (await destination.deliver(hl7(2), SENDING)).taken

    run(test)


def test_a_commit_answer_is_enough_where_the_destination_says_so(run: Run) -> None:
    async def test() -> None:
        async with receiver(replying(lambda n: framed(ack(n, "CA")))) as (destination, _):
            outcome = await destination.deliver(hl7(1), SENDING)
            assert (outcome.taken, outcome.level) == (True, "commit")

    run(test)


@pytest.mark.parametrize(
    ("payload", "code"), [(b"<xml/>", "no_header"), (b"", "no_header"), (hl7(1, "a\x1c\rb"), "unframable")]
)
def test_what_cannot_be_sent_or_answered_is_refused_before_a_byte_leaves(run: Run, payload: bytes, code: str) -> None:
    async def test() -> None:
        async with receiver(replying()) as (destination, connections):
            outcome = await destination.deliver(payload, SENDING)
            assert (outcome.code, outcome.weight) == (code, Weight.PERMANENT)
            assert connections == []

    run(test)


def test_an_idle_connection_is_closed_after_a_while_and_made_again_on_demand(run: Run) -> None:
    async def test() -> None:
        gone = asyncio.Event()

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await replying()(reader, writer)
            finally:
                gone.set()

        async with receiver(script, options={"keep_idle": "50ms"}) as (destination, connections):
            for n in range(3):
                gone.clear()
                assert (await destination.deliver(hl7(n), SENDING)).taken
                await gone.wait()
            assert len(connections) == 3

    run(test)


def test_a_peer_that_speaks_first_is_no_mllp_port(run: Run) -> None:
    async def test() -> None:
        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"220 mail.example ESMTP\r\n")
            await reader.read()

        async with receiver(script) as (destination, _):
            assert not (await destination.deliver(hl7(1), SENDING)).taken

    run(test)


def test_close_leaves_an_outstanding_message_in_doubt(run: Run) -> None:
    async def test() -> None:
        arrived = asyncio.Event()

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\x1c\r")
            arrived.set()
            await reader.read()

        async with receiver(script) as (destination, _):
            delivery = asyncio.ensure_future(destination.deliver(hl7(1), SENDING))
            await arrived.wait()
            await destination.close()
            assert (await delivery).weight is Weight.AMBIGUOUS

    run(test)


@pytest.mark.parametrize(
    ("to", "code"),
    [
        ("mllp://no-such-host.invalid:2575", "connect_failed"),
        ("mllp://169.254.169.254:80", "address_refused"),
    ],
)
def test_what_cannot_be_dialled_says_why(run: Run, to: str, code: str) -> None:
    async def test() -> None:
        destination = MllpDestination("c", DestinationSpec("d", to))
        outcome = await destination.deliver(hl7(1), SENDING)
        assert (outcome.code, outcome.weight, outcome.unreachable) == (code, Weight.TRANSIENT, True)
        assert (await destination.test()).startswith(f"{code}: ")

    run(test)


@pytest.mark.parametrize("to", ["mllp://", "mllp://host", "mllp://host:0"])
def test_a_url_without_a_place_is_a_fault(to: str) -> None:
    with pytest.raises(Configuration) as caught:
        MllpDestination("c", DestinationSpec("d", to))
    assert caught.value.where == "c: destination d"
