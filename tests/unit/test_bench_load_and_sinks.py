"""The load and the sinks against each other and against peers that misbehave, over real sockets."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Callable

import pytest

from engine.bench import messages
from engine.bench.load import Load, Phase, Record
from engine.bench.sinks import Arrivals, FhirSink, Ledger, MllpSink, Wait, content_length, wait_for

TAG = messages.new_tag(12345)


async def drive(phase: Phase, protocol: Callable[[], asyncio.Protocol], connections: int = 3) -> Record:
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    load = Load(TAG, patients=7)
    await load.connect(server.sockets[0].getsockname()[1], connections)
    record = await load.run(phase)
    for link in load.links:
        link.transport.close()
    server.close()
    await asyncio.sleep(0)
    return record


def run(phase: Phase, connections: int = 3) -> tuple[Record, Arrivals]:
    ledger = Ledger(TAG)
    record = asyncio.run(drive(phase, lambda: MllpSink(ledger), connections))
    return record, ledger.take()


@pytest.mark.parametrize(
    "phase",
    [Phase(count=60, seconds=30), Phase(rate=5000, count=60), Phase(count=10, pause=0.001)],
    ids=["closed", "open", "one by one"],
)
def test_every_message_is_sent_once_acknowledged_and_seen(phase: Phase) -> None:
    record, arrivals = run(phase)
    assert len(record.sent) == phase.count
    assert all(record.acked)
    assert record.refused == record.broken == 0
    assert sorted(arrivals.sequence) == list(range(record.first, record.first + phase.count))
    assert arrivals.repeats == 0


def test_a_patient_belongs_to_one_connection() -> None:
    record, _ = run(Phase(count=40, seconds=30))
    assert set(record.patient) == set(range(7))


def test_due_times_of_an_open_loop_are_evenly_spaced() -> None:
    record, _ = run(Phase(rate=2000, count=20))
    gaps = {round(later - earlier, 7) for earlier, later in zip(record.due, record.due[1:], strict=False)}
    assert gaps == {0.0005}
    assert all(sent >= due for due, sent in zip(record.due, record.sent, strict=True))


class Answers(asyncio.Protocol):
    """A peer that answers every frame with the same words."""

    def __init__(self, words: bytes) -> None:
        self.words = words

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        assert isinstance(self.transport, asyncio.Transport)
        if data.endswith(messages.END):
            self.transport.write(messages.START + self.words + messages.END)


@pytest.mark.parametrize(
    "words",
    [
        b"MSH|^~\\&|X\rMSA|AE|" + messages.control_id(TAG, 1) + b"\r",
        b"MSH|^~\\&|X\rMSA|AA|" + messages.control_id(TAG, 999) + b"\r",
        b"nothing of the kind",
    ],
    ids=["negative", "of another message", "no answer at all"],
)
def test_what_is_no_positive_answer_to_this_message_does_not_count(words: bytes) -> None:
    record = asyncio.run(drive(Phase(count=1, seconds=30), lambda: Answers(words), connections=1))
    assert record.refused == 1
    assert not any(record.acked)


def test_a_commit_accept_counts_and_may_come_in_pieces() -> None:
    class Pieces(Answers):
        def data_received(self, data: bytes) -> None:
            assert isinstance(self.transport, asyncio.Transport)
            answer = messages.START + b"MSH|^~\\&|X\rMSA|CA|" + messages.control_id(TAG, 1) + b"\r" + messages.END
            self.transport.write(answer[:9])
            asyncio.get_running_loop().call_soon(self.transport.write, answer[9:])

    record = asyncio.run(drive(Phase(count=1, seconds=30), lambda: Pieces(b""), connections=1))
    assert record.refused == 0
    assert all(record.acked)


def test_a_lost_connection_is_no_acknowledgement() -> None:
    class Hangs(Answers):
        def data_received(self, data: bytes) -> None:
            assert isinstance(self.transport, asyncio.Transport)
            self.transport.abort()

    record = asyncio.run(drive(Phase(count=1, seconds=30), lambda: Hangs(b""), connections=1))
    assert record.broken == 1
    assert not any(record.acked)


class Wire(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def is_closing(self) -> bool:
        return False


def request(body: bytes) -> bytes:
    return b"POST /fhir HTTP/1.1\r\nHost: x\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


def test_the_fhir_sink_takes_requests_in_any_pieces_and_answers_each_entry() -> None:
    bodies = [b'{"id":"%s","request":1,"request":2}' % messages.control_id(TAG, number) for number in (4, 5)]
    stream = b"".join(request(body) for body in bodies)
    for size in (1, 7, len(stream)):
        ledger, wire = Ledger(TAG), Wire()
        sink = FhirSink(ledger)
        sink.transport = wire
        for start in range(0, len(stream), size):
            sink.data_received(stream[start : start + size])
        assert ledger.take().sequence == array("Q", [4, 5])
        assert wire.written.count(b"HTTP/1.1 200 OK") == 2
        assert wire.written.count(b'"200 OK"') == 4


def test_the_mllp_sink_takes_frames_in_any_pieces_and_names_each_in_its_answer() -> None:
    frame = messages.template() % _parts(8)
    stream = frame + messages.template() % _parts(9)
    for size in (1, 13, len(stream)):
        ledger, wire = Ledger(TAG), Wire()
        sink = MllpSink(ledger)
        sink.transport = wire
        for start in range(0, len(stream), size):
            sink.data_received(stream[start : start + size])
        assert ledger.take().sequence == array("Q", [8, 9])
        assert [part.split(b"\r")[0] for part in wire.written.split(b"MSA|AA|")[1:]] == [
            messages.control_id(TAG, 8),
            messages.control_id(TAG, 9),
        ]


def _parts(sequence: int) -> tuple[bytes, bytes, bytes, int, int]:
    identifier = messages.control_id(TAG, sequence)
    return identifier, messages.patient(1), identifier, sequence // 10, sequence % 10


def test_what_comes_again_is_counted_also_in_a_later_phase() -> None:
    ledger = Ledger(TAG)
    ledger.note(messages.control_id(TAG, 1))
    assert ledger.take().repeats == 0
    ledger.note(messages.control_id(TAG, 1))
    ledger.note(b"a request of nobody's")
    again = ledger.take()
    assert again.repeats == 1
    assert not again.sequence


def test_waiting_ends_when_all_are_there_or_nothing_comes_any_more() -> None:
    ledger = Ledger(TAG)
    ledger.note(messages.control_id(TAG, 1))
    assert asyncio.run(wait_for(ledger, Wait(1, stall=60))) == 1
    assert asyncio.run(wait_for(ledger, Wait(2, stall=0))) == 1


def test_no_two_messages_are_equal_and_each_is_about_1200_bytes() -> None:
    bodies = {messages.template() % (b"", messages.patient(0), b"", n // 10, n % 10) for n in range(2000)}
    assert len(bodies) == 2000
    frame = messages.template() % _parts(77777)
    assert 1100 <= len(frame) <= 1200
    assert frame.count(b"\rOBX|") == 10
    assert b"|T|2.5.1\r" in frame
    assert b"^^^INTERLOCK-TEST^MR|" in frame


def test_tags_differ_and_are_found_wherever_they_are() -> None:
    assert len({messages.new_tag(seed) for seed in range(3000)}) == 3000
    assert messages.sequence_in(b"..." + messages.control_id(TAG, 42) + b"...", TAG) == 42
    assert messages.sequence_in(messages.control_id(TAG, 42), messages.new_tag(1)) == -1


def test_the_length_is_read_whatever_its_case_and_is_nothing_when_absent() -> None:
    assert content_length(b"POST / HTTP/1.1\r\nContent-Length: 12\r\nA: b") == 12
    assert content_length(b"POST / HTTP/1.1\r\nCONTENT-LENGTH:7") == 7
    assert content_length(b"GET / HTTP/1.1\r\nX-Content-Length-Hint: 9") == 0
