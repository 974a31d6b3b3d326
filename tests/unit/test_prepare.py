"""The check against the standard: once a message, wherever it goes first, and it only reports."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.errors import Weight
from engine.model import Finding, Outcome
from engine.wiring import Channel, SourceSpec
from tests.building import Path_, channel, oru, path, spec

pytestmark = pytest.mark.usefixtures("both_stores")

CHECKED = SourceSpec("memory://in", validate="hl7apy")
FOUND = Finding("required", "PID-3", "a required part is missing")


def run(folder: Path, wiring: Channel, story: Callable[[Path_, list[bytes]], Awaitable[Any]]) -> None:
    """Tell a story of a path whose check notes what it is given."""
    checked: list[bytes] = []

    async def check(raw: bytes) -> list[Finding]:
        checked.append(raw)
        return [FOUND]

    async def whole() -> None:
        async with path(folder, wiring) as line:
            line.ports.check = check
            await story(line, checked)

    asyncio.run(asyncio.wait_for(whole(), 30))


@pytest.mark.parametrize("first", [spec("first", when={"abnormal": ("HH",)}), spec("first")])
def test_a_message_for_two_is_checked_once(tmp_path: Path, first: Any) -> None:
    async def story(line: Path_, checked: list[bytes]) -> None:
        assert (await line.send(oru())).positive
        await line.quiet()
        assert checked == [oru()] and await line.rows("SELECT code, count FROM item") == [("nonconformant", 1)]

    run(tmp_path, channel(first, spec("second"), spec("third"), source=CHECKED), story)


def test_it_is_checked_after_a_reload_that_keeps_the_outlet(tmp_path: Path) -> None:
    async def story(line: Path_, checked: list[bytes]) -> None:
        other = replace(line.running.channel, destinations=(spec("ehr"),), revision="r2")
        line.worker.outlets["lab", "ehr"].running = replace(line.running, channel=other)
        assert (await line.send(oru())).positive
        await line.quiet()
        assert checked == [oru()]

    run(tmp_path, channel(spec("ehr"), source=CHECKED), story)


def test_a_later_attempt_does_not_check_again(tmp_path: Path) -> None:
    async def story(line: Path_, checked: list[bytes]) -> None:
        line.destinations["ehr"].then(Outcome("AE 207", Weight.TRANSIENT))
        assert (await line.send(oru())).positive
        while await line.states() != ["delivered"]:
            await asyncio.sleep(0)
        assert checked == [oru()] and len(line.destinations["ehr"].received) == 2

    run(tmp_path, channel(spec("ehr"), source=CHECKED), story)


def test_a_check_that_fails_is_logged_and_the_message_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def fails(raw: bytes) -> list[Finding]:
        raise ZeroDivisionError

    async def story(line: Path_, checked: list[bytes]) -> None:
        line.ports.check = fails
        assert (await line.send(oru())).positive
        await line.quiet()
        assert await line.states() == ["delivered"] and "check_failed" in caplog.text

    with caplog.at_level("INFO", logger="interlock"):
        run(tmp_path, channel(spec("ehr"), source=CHECKED), story)
