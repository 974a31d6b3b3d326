"""MLLP under any chunking and any junk: every message comes out whole, once, in order; nothing raises or grows."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.connectors.framing import JUNK_LIMIT_BYTES, Broken, Frame, FrameDecoder, Oversize, encode, framable

LIMIT = 200

spiced = st.lists(st.sampled_from([b"\x1c", b"\r", b"\n", b"\0", b"MSH|", b"x", b"\xff"]), max_size=12).map(b"".join)
payloads = spiced.filter(framable)
junk = st.lists(st.sampled_from([b"\x1c", b"\r", b"\0", b"MSH", b" "]), max_size=6).map(b"".join)
wild = st.lists(st.sampled_from([b"\x0b", b"\x1c", b"\r", b"\x1c\r", b"a", b"bc" * 60, b"\0"]), max_size=40).map(
    b"".join
)
cuts = st.lists(st.integers(0, 2_000), max_size=20)


def chunked(stream: bytes, at: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in at), len(stream)]
    return [stream[a:b] for a, b in pairwise(edges)]


@given(st.lists(st.tuples(junk, payloads), max_size=8), cuts)
@settings(max_examples=500)
def test_every_message_comes_out(parts: list[tuple[bytes, bytes]], at: list[int]) -> None:
    decoder = FrameDecoder(LIMIT)
    stream = b"".join(between + encode(payload) for between, payload in parts)
    events = [event for chunk in chunked(stream, at) for event in decoder.feed(chunk)]
    assert events == [Frame(payload, len(between)) for between, payload in parts]
    assert decoder.finish() == []


@given(wild, cuts, st.sampled_from(["restart", "data"]), st.sampled_from(["strict", "lenient"]))
@settings(max_examples=1_000)
def test_any_bytes_in_any_chunks_give_the_same(stream: bytes, at: list[int], start_inside: str, end: str) -> None:
    whole = FrameDecoder(LIMIT, start_inside, end)  # type: ignore[arg-type]
    parts = FrameDecoder(LIMIT, start_inside, end)  # type: ignore[arg-type]
    expected = [*whole.feed(stream), *whole.finish()]
    events = []
    for chunk in chunked(stream, at):
        events += parts.feed(chunk)
        assert parts.held <= LIMIT + 1
    events += parts.finish()
    assert [comparable(event) for event in events] == [comparable(event) for event in expected]


def comparable(event: object) -> object:
    """How much of an oversize payload was seen when it was given up depends on the reads; that it was does not."""
    return Oversize if isinstance(event, Oversize) else event


@given(st.binary(max_size=400), cuts)
def test_arbitrary_bytes_are_accounted_for(stream: bytes, at: list[int]) -> None:
    decoder = FrameDecoder(LIMIT)
    events = [event for chunk in chunked(stream, at) for event in decoder.feed(chunk)] + decoder.finish()
    out = sum(len(e.payload) + e.junk for e in events if isinstance(e, Frame))
    out += sum(len(e.partial) for e in events if isinstance(e, Broken))
    assert out <= len(stream)
    if len(stream) < LIMIT and b"\x0b" not in stream:  # nothing began a frame: a whole one that follows is found
        later = FrameDecoder(LIMIT)
        assert [e for c in (stream, encode(b"x")) for e in later.feed(c) if isinstance(e, Frame)][-1].payload == b"x"


@given(st.integers(1, JUNK_LIMIT_BYTES + 50), cuts)
@settings(max_examples=50)
def test_junk_is_counted_up_to_the_cap(size: int, at: list[int]) -> None:
    decoder = FrameDecoder(LIMIT)
    stream = b"\0" * size + encode(b"a")
    events = [event for chunk in chunked(stream, at) for event in decoder.feed(chunk)]
    assert events == ([Frame(b"a", size)] if size <= JUNK_LIMIT_BYTES else [Broken("junk")])
