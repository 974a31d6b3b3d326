"""The MLLP source where it is more than the contract of every source: what is no frame, limits, deadlines."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator

import pytest
import uvloop

from engine import observe
from engine.connectors.mllp import MllpSource
from engine.errors import Configuration
from engine.model import Answer, Arrival
from engine.wiring import SourceSpec

from .mllp import ACCEPTED, Taking, dialled, framed, hl7, listening

Run = Callable[[Callable[[], Awaitable[None]]], None]
MOMENT = 0.05


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    factory = asyncio.new_event_loop if request.param == "asyncio" else uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        yield lambda test: runner.run(asyncio.wait_for(test(), 30))


def test_pipelined_frames_are_answered_in_order_one_at_a_time(run: Run) -> None:
    async def test() -> None:
        outstanding = most = 0

        async def accept(raw: bytes, arrival: Arrival) -> Answer:
            nonlocal outstanding, most
            outstanding += 1
            most = max(most, outstanding)
            await asyncio.sleep(0)
            outstanding -= 1
            return Answer(ACCEPTED, raw)

        sent = framed(*(hl7(n) for n in range(200)))
        async with listening(accept) as (_, _, port), dialled(port) as (reader, writer):
            writer.write(sent)
            assert await reader.readexactly(len(sent)) == sent
        assert most == 1

    run(test)


def test_one_byte_a_read(run: Run) -> None:
    async def test() -> None:
        path = Taking()
        async with listening(path) as (_, _, port), dialled(port) as (reader, writer):
            for byte in framed(b"MSH|a"):
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0)
            assert await reader.readexactly(8) == framed(b"MSH|a")

    run(test)


def test_empty_and_headless_payloads_are_the_path_s_to_judge(run: Run) -> None:
    async def test() -> None:
        path = Taking()
        async with listening(path) as (_, _, port), dialled(port) as (reader, writer):
            writer.write(framed(b"", b"no header"))
            await reader.readexactly(len(framed(b"", b"no header")))
        assert path.taken == [b"", b"no header"]

    run(test)


def test_no_payload_means_nothing_is_written(run: Run) -> None:
    async def test() -> None:
        async def accept(raw: bytes, arrival: Arrival) -> Answer:
            return Answer(ACCEPTED, raw if raw == b"b" else None)

        async with listening(accept) as (_, _, port), dialled(port) as (reader, writer):
            writer.write(framed(b"a", b"b"))
            assert await reader.readexactly(4) == framed(b"b")

    run(test)


def test_junk_is_dropped_and_noted(run: Run) -> None:
    async def test() -> None:
        path = Taking()
        async with listening(path) as (_, _, port), dialled(port) as (reader, writer):
            writer.write(b"\0\0\0" + framed(b"a", b"b"))
            await reader.readexactly(8)
        assert path.notes == ["3 bytes of junk before the frame", ""]

    run(test)


def test_too_much_junk_ends_the_connection_after_the_answers_before_it(run: Run) -> None:
    async def test() -> None:
        path = Taking()
        async with listening(path) as (_, reports, port), dialled(port) as (reader, writer):
            writer.write(framed(b"a") + b"GET / HTTP/1.1\r\n" * 300 + framed(b"b"))
            assert await reader.read() == framed(b"a")
            assert await reports.wait_for("junk") == b""
        assert path.taken == [b"a"]

    run(test)


def test_a_restarted_frame_is_reported_and_never_merged(run: Run) -> None:
    async def test() -> None:
        path = Taking()
        async with listening(path) as (_, reports, port), dialled(port) as (reader, writer):
            writer.write(b"\x0bMSH|par" + framed(b"MSH|whole"))
            assert await reader.readexactly(12) == framed(b"MSH|whole")
            assert await reports.wait_for("restarted") == b"MSH|par"
        assert path.taken == [b"MSH|whole"]

    run(test)


def test_the_end_of_the_stream_inside_a_frame_is_reported_and_never_accepted(run: Run) -> None:
    async def test() -> None:
        path = Taking()
        async with listening(path) as (_, reports, port), dialled(port) as (reader, writer):
            writer.write(framed(b"MSH|a") + b"\x0bMSH|par")
            writer.write_eof()
            assert await reader.read() == framed(b"MSH|a")
            assert await reports.wait_for("cut") == b"MSH|par"
        assert path.taken == [b"MSH|a"]

    run(test)


def test_a_sender_that_closes_its_half_still_gets_its_answers(run: Run) -> None:
    async def test() -> None:
        path = Taking()
        path.gate.clear()
        async with listening(path) as (_, _, port), dialled(port) as (reader, writer):
            writer.write(framed(b"a", b"b"))
            writer.write_eof()
            await path.entered.wait()
            path.gate.set()
            assert await reader.read() == framed(b"a", b"b")

    run(test)


def test_what_came_whole_is_accepted_though_its_sender_is_gone(run: Run) -> None:
    async def test() -> None:
        path = Taking()
        path.gate.clear()
        async with listening(path) as (_, reports, port):
            async with dialled(port) as (_, writer):
                reset = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
                writer.write(framed(b"a", b"b"))
                await path.entered.wait()
            path.gate.set()
            await reports.wait_for("answer_lost")
            while len(path.taken) < 2:
                await asyncio.sleep(0)
        assert path.taken == [b"a", b"b"]

    run(test)


def test_oversize_is_answered_with_its_own_control_id_and_then_closed(run: Run) -> None:
    async def test() -> None:
        path = Taking()
        async with listening(path, max_size=1000) as (_, reports, port), dialled(port) as (reader, writer):
            writer.write(framed(hl7("C77", "x" * 500_000)))
            answer = await reader.readuntil(b"\x1c\r")
            assert b"\rMSA|AR|C77" in answer
            writer.write_eof()
            assert await reader.read() == b""
            assert (await reports.wait_for("oversize")).startswith(b"MSH|")
        assert path.taken == []

    run(test)


def test_a_reader_that_never_reads_its_answers_holds_no_memory_and_no_place(run: Run) -> None:
    async def test() -> None:
        taken = 0

        async def accept(raw: bytes, arrival: Arrival) -> Answer:
            nonlocal taken
            taken += 1
            return Answer(ACCEPTED, b"x" * 1_000_000)

        async with listening(accept, frame_within="200ms") as (source, _, port), dialled(port) as (_, writer):
            expired: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            source.report = lambda what, _: None if expired.done() else expired.set_result(taken)
            writer.transport.pause_reading()
            writer.write(framed(*[b"a"] * 1000))
            assert 0 < await expired < 100

    run(test)


def test_reading_pauses_while_accept_is_at_work(run: Run) -> None:
    async def test() -> None:
        path = Taking()
        path.gate.clear()
        payload = b"x" * 50_000
        async with listening(path) as (source, _, port), dialled(port) as (_, writer):
            writer.write(framed(payload))
            await path.entered.wait()
            writer.write(framed(*[payload] * 400))
            await asyncio.sleep(MOMENT)
            [connection] = source._connections
            waiting = len(connection._events)
            assert 0 < waiting < 100
            assert writer.transport.get_write_buffer_size() > 0

    run(test)


@pytest.mark.parametrize(
    ("options", "sent", "reported"),
    [
        ({"frame_within": "50ms"}, b"\x0bMSH|slow", "frame_timeout"),
        ({"frame_within": "50ms"}, framed(b"a") + b"\x0bMSH|slow", "frame_timeout"),
        ({"idle": "50ms"}, b"", "idle_timeout"),
        ({"idle": "50ms"}, b"\0\0\0", "idle_timeout"),
        ({"idle": "50ms"}, framed(b"a"), "idle_timeout"),
    ],
)
def test_deadlines(run: Run, options: dict[str, str], sent: bytes, reported: str) -> None:
    async def test() -> None:
        async with listening(Taking(), **options) as (_, reports, port), dialled(port) as (_, writer):
            writer.write(sent)
            assert await reports.wait_for(reported) == b""

    run(test)


def test_a_drip_does_not_move_the_deadline_of_its_frame(run: Run) -> None:
    async def test() -> None:
        async with listening(Taking(), frame_within="150ms") as (_, reports, port), dialled(port) as (_, writer):

            async def drip() -> None:
                writer.write(b"\x0b")
                while True:
                    writer.write(b"x")
                    await asyncio.sleep(0.02)

            dripping = asyncio.ensure_future(drip())
            await reports.wait_for("frame_timeout")
            dripping.cancel()

    run(test)


def test_no_deadline_runs_while_accept_is_at_work(run: Run) -> None:
    async def test() -> None:
        path = Taking()
        path.gate.clear()
        limits = {"idle": "60ms", "frame_within": "60ms"}
        async with listening(path, **limits) as (_, reports, port), dialled(port) as (reader, writer):
            writer.write(framed(b"a", b"b") + b"\x0bMSH|begun")
            await path.entered.wait()
            await asyncio.sleep(0.2)
            path.gate.set()
            assert await reader.readexactly(8) == framed(b"a", b"b")
            assert list(reports) == []

    run(test)


def test_more_connections_than_allowed_are_refused_and_none_is_closed_for_them(run: Run) -> None:
    async def test() -> None:
        async with (
            listening(Taking(), connections=2) as (_, reports, port),
            dialled(port) as (reader, writer),
            dialled(port) as (other, _),
        ):
            async with dialled(port) as (refused, _):
                assert await refused.read() == b""
            await reports.wait_for("too_many")
            writer.write(framed(b"a"))
            assert await reader.readexactly(4) == framed(b"a")
            assert not other.at_eof()

    run(test)


def test_a_closed_connection_makes_room(run: Run) -> None:
    async def test() -> None:
        async with listening(Taking(), connections_each=1) as (source, reports, port):
            for _ in range(3):
                async with dialled(port) as (reader, writer):
                    writer.write(framed(b"a"))
                    assert await reader.readexactly(4) == framed(b"a")
                    async with dialled(port) as (refused, _):
                        assert await refused.read() == b""
                while source._connections:
                    await asyncio.sleep(0)
            assert [name for name, _ in reports] == ["too_many_from_peer"] * 3
            assert not source._per_peer

    run(test)


@pytest.mark.parametrize(("peers", "taken"), [("127.0.0.0/8", True), ("10.0.0.0/8, ::1", False)])
def test_only_the_peers_on_the_list(run: Run, peers: str, taken: bool) -> None:
    async def test() -> None:
        async with listening(Taking(), peers=peers) as (_, reports, port), dialled(port) as (reader, writer):
            if not taken:
                assert await reader.read() == b""
                return await reports.wait_for("peer_not_allowed") and None
            writer.write(framed(b"a"))
            assert await reader.readexactly(4) == framed(b"a")

    run(test)


def test_when_the_path_breaks_the_sender_is_told_to_come_again(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        async def accept(raw: bytes, arrival: Arrival) -> Answer:
            if raw == hl7("C1"):
                raise IndexError("DOE^JANE")
            return Answer(ACCEPTED, raw)

        async with listening(accept) as (_, _, port), dialled(port) as (reader, writer):
            writer.write(framed(hl7("C1"), b"next"))
            answer = await reader.readuntil(b"\x1c\r")
            assert b"\rMSA|AE|C1\rERR|||207^" in answer
            assert await reader.readexactly(7) == framed(b"next")

    observe.connector_events.pop(("c", "accept_failed"), None)
    caplog.set_level("INFO")
    run(test)
    assert observe.connector_events.pop(("c", "accept_failed")) == 1
    assert "accept_failed" in caplog.text and "DOE" not in caplog.text


def test_a_connection_that_breaks_is_closed_and_reported(run: Run) -> None:
    async def test() -> None:
        def broken(what: str, _: bytes) -> None:
            raise RuntimeError("a defect")

        seen: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: seen.append(context["exception"]))
        async with listening(Taking()) as (source, _, port), dialled(port) as (reader, writer):
            source.report = broken
            writer.write(b"\x0bMSH|par" + framed(b"a"))
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)
        assert [type(error) for error in seen] == [RuntimeError]

    run(test)


def test_stop_does_not_wait_for_idle_or_half_framed_connections(run: Run) -> None:
    async def test() -> None:
        async with (
            listening(Taking(), grace="1h") as (source, _, port),
            dialled(port) as (idle, _),
            dialled(port) as (reader, writer),
        ):
            writer.write(framed(b"a") + b"\x0bMSH|par")
            await reader.readexactly(4)
            await source.stop()
            assert await idle.read() == b""
            assert await reader.read() == b""

    run(test)


def test_a_stopped_source_starts_again_at_its_address(run: Run) -> None:
    async def test() -> None:
        path = Taking()
        async with listening(path) as (source, _, port):
            await source.stop()
            await source.start(path)
            assert source.address.endswith(f":{port}")
            async with dialled(port) as (reader, writer):
                writer.write(framed(b"a"))
                assert await reader.readexactly(4) == framed(b"a")

    run(test)


def test_a_port_in_use_is_a_fault_with_advice(run: Run) -> None:
    async def test() -> None:
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            source = MllpSource("c", SourceSpec(f"mllp://127.0.0.1:{other.getsockname()[1]}"))
            with pytest.raises(Configuration, match="listening: ") as caught:
                await source.start(Taking())
            assert caught.value.where == "c: source"
            assert caught.value.advice

    run(test)


@pytest.mark.parametrize(
    ("listen", "options", "text"),
    [
        ("mllp://", {}, "no host and port"),
        ("mllp://127.0.0.1", {}, "no host and port"),
        ("mllp://127.0.0.1:1", {"idel": "1s"}, 'no option "idel"'),
        ("mllp://127.0.0.1:1", {"idle": "1"}, 'option "idle"'),
        ("mllp://127.0.0.1:1", {"end": "loose"}, 'option "end"'),
        ("mllp://127.0.0.1:1", {"peers": "everybody"}, 'option "peers"'),
        ("mllps://127.0.0.1:1", {}, 'option "certificate"'),
    ],
)
def test_what_cannot_work_is_refused_before_it_starts(listen: str, options: dict[str, str], text: str) -> None:
    with pytest.raises(Configuration, match=text) as caught:
        MllpSource("c", SourceSpec(listen, options=options))
    assert caught.value.advice


def test_without_a_listener_what_is_reported_is_counted(run: Run) -> None:
    async def test() -> None:
        source = MllpSource("counted", SourceSpec("mllp://127.0.0.1:0"))
        await source.start(Taking())
        async with dialled(int(source.address.rpartition(":")[2])) as (reader, writer):
            writer.write(b"\x0bMSH|par" + framed(b"a"))
            assert await reader.readexactly(4) == framed(b"a")
        await source.stop()
        assert observe.connector_events.pop(("counted", "restarted")) == 1

    run(test)


def test_knobs_are_all_documented() -> None:
    from engine.connectors.mllp import DESTINATION_KNOBS, SOURCE_KNOBS

    for knobs in (SOURCE_KNOBS, DESTINATION_KNOBS):
        assert len({knob.name for knob in knobs}) == len(knobs)
        assert all(knob.help for knob in knobs)
