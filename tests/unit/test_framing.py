"""Every decision of the MLLP decoder, one case each."""

from __future__ import annotations

import pytest

from engine.connectors.framing import JUNK_LIMIT_BYTES, Broken, Frame, FrameDecoder, Oversize, encode, framable

LIMIT = 100


def run(*chunks: bytes, limit: int = LIMIT, **knobs: str) -> list[object]:
    decoder = FrameDecoder(limit, **knobs)  # type: ignore[arg-type]
    return [event for chunk in chunks for event in decoder.feed(chunk)]


def one_byte_a_read(stream: bytes, **knobs: str) -> list[object]:
    return run(*(stream[i : i + 1] for i in range(len(stream))), **knobs)


CASES = [
    ("one frame", b"\x0bMSH\x1c\r", [Frame(b"MSH")]),
    ("several frames", b"\x0ba\x1c\r\x0bb\x1c\r\x0bc\x1c\r", [Frame(b"a"), Frame(b"b"), Frame(b"c")]),
    ("an empty frame", b"\x0b\x1c\r", [Frame(b"")]),
    ("nothing", b"", []),
    ("only junk", b"\r\n\0", []),
    ("NULs between frames", b"\x0ba\x1c\r\0\0\x0bb\x1c\r", [Frame(b"a"), Frame(b"b", 2)]),
    ("junk before the first frame", b"GET /\x0ba\x1c\r", [Frame(b"a", 5)]),
    ("a lone 0x1C is data", b"\x0ba\x1cb\x1c\r", [Frame(b"a\x1cb")]),
    ("a lone 0x0D is a segment's end", b"\x0ba\rb\r\x1c\r", [Frame(b"a\rb\r")]),
    ("two 0x1C before the 0x0D", b"\x0ba\x1c\x1c\r", [Frame(b"a\x1c")]),
    ("a missing 0x0D joins what follows", b"\x0ba\x1cb", []),
    ("a new start breaks the partial", b"\x0bab\x0bc\x1c\r", [Broken("restarted", b"ab"), Frame(b"c")]),
    ("a doubled start is junk", b"\x0b\x0ba\x1c\r", [Frame(b"a", 1)]),
    ("an end outside a frame is junk", b"\x1c\r\x0ba\x1c\r", [Frame(b"a", 2)]),
    ("at the limit", b"\x0b" + b"x" * LIMIT + b"\x1c\r", [Frame(b"x" * LIMIT)]),
]


@pytest.mark.parametrize(("stream", "events"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_the_same_in_one_read_and_byte_by_byte(stream: bytes, events: list[object]) -> None:
    assert run(stream) == events
    assert one_byte_a_read(stream) == events


@pytest.mark.parametrize("over", [1, 2, 5_000])
def test_above_the_limit_only_the_head_is_reported_and_nothing_follows(over: int) -> None:
    body = b"x" * (LIMIT + over)
    stream = encode(body) + encode(b"next")
    assert run(stream) == [Oversize(body[:4096])]
    [event] = one_byte_a_read(stream)
    assert isinstance(event, Oversize)
    assert body.startswith(event.head)


def test_an_oversize_partial_before_a_new_start_is_oversize_too() -> None:
    assert run(b"\x0b" + b"x" * (LIMIT + 1) + b"\x0ba\x1c\r") == [Oversize(b"x" * (LIMIT + 1))]


def test_a_pending_0x1c_does_not_count_against_the_limit() -> None:
    decoder = FrameDecoder(3)
    assert decoder.feed(b"\x0babc\x1c") == []
    assert decoder.held == 4
    assert decoder.feed(b"\r") == [Frame(b"abc")]


def test_junk_above_the_cap_ends_the_stream() -> None:
    junk = b"\0" * JUNK_LIMIT_BYTES
    assert run(junk + b"\x0ba\x1c\r") == [Frame(b"a", JUNK_LIMIT_BYTES)]
    assert run(junk + b"\0\x0ba\x1c\r") == [Broken("junk")]
    assert run(junk, b"\0", b"\x0ba\x1c\r") == [Broken("junk")]
    assert run(junk, b"\x0ba\x1c\r", junk, b"\x0bb\x1c\r") == [Frame(b"a", len(junk)), Frame(b"b", len(junk))]


def test_the_end_of_the_stream_inside_a_frame_breaks_it() -> None:
    decoder = FrameDecoder(LIMIT)
    assert decoder.feed(b"\x0ba\x1c\r\x0bMSH|par") == [Frame(b"a")]
    assert decoder.inside
    assert decoder.finish() == [Broken("cut", b"MSH|par")]
    assert not decoder.inside
    assert decoder.feed(b"t\x1c\r\x0bb\x1c\r") == []


def test_the_end_of_the_stream_between_frames_is_nothing() -> None:
    decoder = FrameDecoder(LIMIT)
    decoder.feed(b"\x0ba\x1c\r\0")
    assert decoder.finish() == []


def test_a_start_inside_as_data() -> None:
    stream = b"\x0ba\x0bb\x1c\r\x0bc\x1c\r"
    for events in (run(stream, start_inside="data"), one_byte_a_read(stream, start_inside="data")):
        assert events == [Frame(b"a\x0bb"), Frame(b"c")]


LENIENT = [
    (b"\x0ba\x1c\x0bb\x1c\x0bc\x1c", [Frame(b"a"), Frame(b"b"), Frame(b"c")]),
    (b"\x0ba\x1c\r\x0bb\x1c\r", [Frame(b"a"), Frame(b"b")]),
    (b"\x0ba\x1c\r\r\x0bb\x1c", [Frame(b"a"), Frame(b"b", 1)]),
    (b"\x0ba\x1cb\x1c\r\x0bc\x1c", [Frame(b"a"), Frame(b"c", 3)]),
]


@pytest.mark.parametrize(("stream", "events"), LENIENT)
def test_lenient_ends_at_0x1c_alone(stream: bytes, events: list[object]) -> None:
    assert run(stream, end="lenient") == events
    assert one_byte_a_read(stream, end="lenient") == events


def test_what_is_encoded_is_decoded_and_the_rest_is_not_framable() -> None:
    assert run(encode(b"a\x1cb\rc")) == [Frame(b"a\x1cb\rc")]
    assert framable(b"a\x1cb\r")
    assert not framable(b"a\x1c\rb")


class CountingDecoder(FrameDecoder):
    """Counts how many bytes the searches for an end could have looked at."""

    looked = 0

    def _search(self, data: bytes) -> list[object]:  # type: ignore[override]
        CountingDecoder.looked += len(self._buffer) + len(data) - self._scanned
        return super()._search(data)  # type: ignore[return-value]


def test_a_long_frame_in_many_reads_is_searched_once() -> None:
    decoder = CountingDecoder(1 << 24)
    chunk, reads = b"x" * 1000 + b"\x1c", 500
    for data in (b"\x0b", *[chunk] * reads):
        assert decoder.feed(data) == []
    assert len(decoder.feed(b"\r")) == 1
    assert CountingDecoder.looked <= (len(chunk) + 1) * (reads + 2)
