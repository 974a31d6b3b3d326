"""Batches: taken whole, with their counts, or refused."""

from __future__ import annotations

import pytest

from engine.errors import Unreadable
from engine.formats.hl7v2 import read, split_batch

ONE = b"MSH|^~\\&|A||||||ADT^A01|1|T|2.5\rPID|1||P1\r"
TWO = ONE.replace(b"|1|T", b"|2|T")
FHS, BHS = b"FHS|^~\\&|A\r", b"BHS|^~\\&|A\r"


@pytest.mark.parametrize(
    ("raw", "messages"),
    [
        (ONE, [ONE]),
        (b"\xef\xbb\xbf" + ONE, [b"\xef\xbb\xbf" + ONE]),
        (ONE + TWO, [ONE, TWO]),
        (b"\r\n" + ONE + TWO, [ONE, TWO]),
        (BHS + ONE + TWO + b"BTS|2\r", [ONE, TWO]),
        (BHS + ONE + TWO + b"BTS\r", [ONE, TWO]),
        (BHS + ONE + TWO + b"BTS||note\r", [ONE, TWO]),
        (FHS + BHS + ONE + b"BTS|1\r" + BHS + TWO + b"BTS|1\rFTS|2\r", [ONE, TWO]),
        (FHS + BHS + b"BTS|0\rFTS|1\r", []),
        (FHS + ONE + TWO + b"FTS|1\r", [ONE, TWO]),
        (FHS + ONE + TWO + b"FTS|2\r", [ONE, TWO]),
        (ONE + TWO + b"BTS|2\r", [ONE, TWO]),
        (FHS + ONE + TWO + b"BTS|2\rFTS|1\r\n", [ONE, TWO]),
        (b"\xef\xbb\xbf" + BHS + ONE + b"BTS|1\r\r\n", [ONE]),
        (b"FHS#^~\\&\rBHS#^~\\&\r" + ONE + b"BTS#1\rFTS#1", [ONE]),
        ((BHS + ONE + TWO + b"BTS|2\r").replace(b"\r", b"\r\n"), [m.replace(b"\r", b"\r\n") for m in (ONE, TWO)]),
    ],
)
def test_the_messages_of_a_batch_come_as_they_stand(raw: bytes, messages: list[bytes]) -> None:
    assert split_batch(raw) == messages
    for one in split_batch(raw):
        assert read(one).write() == one


@pytest.mark.parametrize(
    ("raw", "code", "where"),
    [
        (BHS + ONE + b"BTS|2\r", "batch_count", "BTS-1"),
        (BHS + ONE + b"BTS|x\r", "batch_count", "BTS-1"),
        (BHS + ONE + b"BTS|99999999999999999999\r", "batch_count", "BTS-1"),
        (FHS + BHS + ONE + b"BTS|1\rFTS|2\r", "batch_count", "FTS-1"),
        (BHS + ONE, "batch_end", "BTS"),
        (FHS + BHS + ONE + b"BTS|1\r", "batch_end", "FTS"),
        (FHS + BHS + ONE + b"FTS|1\r", "batch_end", "BTS"),
        (BHS + ONE + BHS + ONE + b"BTS|1\r", "batch_end", "BTS"),
        (BHS + b"PID|1\r" + ONE + b"BTS|1\r", "batch_content", "BHS"),
        (BHS + ONE + b"BTS|1\rPID|1\r", "batch_content", "BTS"),
        (b"", "no_header", "MSH"),
        (b"hello\r" + ONE + TWO, "no_header", "MSH"),
        (b"PID|1\r", "no_header", "MSH"),
    ],
)
def test_half_a_batch_is_not_taken(raw: bytes, code: str, where: str) -> None:
    with pytest.raises(Unreadable) as caught:
        split_batch(raw)
    assert (caught.value.code, caught.value.where) == (code, where)


def test_a_field_that_holds_the_name_of_a_header_splits_nothing() -> None:
    raw = ONE + b"OBX|1|ST|MSH||BTS|FHS|\r"
    assert split_batch(raw) == [raw]
