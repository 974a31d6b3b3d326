"""From a source to the path: batches, and above all the ones that hold nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from engine.errors import Reply
from engine.model import Answer
from tests.building import oru, path

pytestmark = pytest.mark.usefixtures("both_stores")

EMPTY = b"FHS|^~\\&|LAB\rBHS|^~\\&|LAB\rBTS|0\rFTS|1\r"


def send(folder: Path, raw: bytes) -> tuple[Answer, list[str]]:
    """The answer to these bytes, and the state of every message that was kept."""

    async def story() -> tuple[Answer, list[str]]:
        async with path(folder) as line:
            answer = await line.send(raw)
            await line.quiet()
            rows = await line.rows("SELECT state FROM message ORDER BY id")
            return answer, [row[0] for row in rows]

    return asyncio.run(asyncio.wait_for(story(), 30))


def test_an_empty_batch_is_answered_and_held_whole(tmp_path: Path) -> None:
    answer, kept = send(tmp_path, EMPTY)
    assert answer.verdict.reply is Reply.ERROR and not answer.verdict.transient
    assert answer.payload is not None and b"\rMSA|AE" in answer.payload
    assert kept == ["held"]


def test_each_message_of_a_batch_goes_its_own_way(tmp_path: Path) -> None:
    answer, kept = send(tmp_path, b"BHS|^~\\&|LAB\r" + oru("A") + oru("B") + b"BTS|2\r")
    assert answer.payload is not None
    assert (answer.positive, answer.payload.count(b"\rMSA|AA|")) == (True, 2)
    assert kept == ["accepted", "accepted"]


def test_a_batch_that_lost_a_message_is_held_as_one(tmp_path: Path) -> None:
    answer, kept = send(tmp_path, b"BHS|^~\\&|LAB\r" + oru("A") + b"BTS|2\r")
    assert not answer.positive
    assert kept == ["held"]
