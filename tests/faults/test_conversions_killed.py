"""Children that are killed, hang or die of a message: they are replaced, and every message gets its answer."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.bench.process import family
from engine.conversions import pool as module
from engine.conversions.pool import ConversionFailed
from tests.conversion_pools import (
    HERE,
    at_it,
    convert,
    make_converter,  # noqa: F401
    pids,
    pool,
    running,
    until,
)

from .engine_child import ROOT
from .ledger import Figures
from .sites import Site, site

Record = Callable[[str, object], None]

PARENT = """
import asyncio, sys
from engine import registry
from tests.conversion_pools import convert, pool, running

async def main():
    async with pool() as made:
        await convert(made, running(sys.argv[1]), "SPIN")

asyncio.run(main())
"""


def alive(pid: int) -> bool:
    """True while a process runs; one that has ended and was not yet collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_one_that_is_killed_in_mid_message_is_replaced(converter: str, tmp_path: Path) -> None:
    """Its message goes to another child, what stood behind it goes on, and nothing of it runs in the engine."""

    async def story() -> None:
        async with pool() as made:
            line, killed = running(converter), pids(made)
            at_work = asyncio.create_task(convert(made, line, "WAIT"))
            behind = [asyncio.create_task(convert(made, line)) for _ in range(20)]
            await until(lambda: at_it(tmp_path))
            os.kill(at_it(tmp_path)[0], signal.SIGKILL)
            assert set(await asyncio.gather(*behind)) == {HERE}  # there was no other child
            await until(lambda: len(at_it(tmp_path)) == 2)
            (tmp_path / "go").touch()
            assert {await at_work} == pids(made) and not pids(made) & killed

    asyncio.run(story())


def test_a_second_child_takes_what_stood_behind(converter: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with pool(2) as made:
            line = running(converter)
            waiting = [asyncio.create_task(convert(made, line, "WAIT")) for _ in range(2)]
            behind = [asyncio.create_task(convert(made, line)) for _ in range(10)]
            await until(lambda: len(at_it(tmp_path)) == 2)
            first = at_it(tmp_path)[0]
            (other,) = pids(made) - {str(first).encode()}
            os.kill(first, signal.SIGKILL)
            (tmp_path / "go").touch()
            assert set(await asyncio.gather(*behind)) == {other}
            assert HERE not in set(await asyncio.gather(*waiting))

    asyncio.run(story())


def test_a_message_that_two_children_die_of_has_failed(converter: str) -> None:
    """Those beside it come through, and the pool is whole again."""

    async def story() -> None:
        async with pool(2) as made:
            line = running(converter)
            beside = [asyncio.create_task(convert(made, line, f"P{number}")) for number in range(20)]
            with pytest.raises(ConversionFailed, match="every child"):
                await convert(made, line, "EXIT")
            assert len(await asyncio.gather(*beside)) == 20
            await until(lambda: len(made.children) == 2)
            assert await convert(made, line) in pids(made)

    asyncio.run(story())


def test_a_conversion_without_end_is_ended(converter: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The limit is for each message: those that wait behind it do not use it up."""

    async def story() -> None:
        async with pool(limit=2) as made:
            line = running(converter)
            endless = asyncio.create_task(convert(made, line, "SPIN"))
            await until(lambda: at_it(tmp_path))
            behind = [asyncio.create_task(convert(made, line)) for _ in range(5)]
            assert set(await asyncio.gather(*behind)) == {HERE}
            with pytest.raises(ConversionFailed, match="every child"):
                await endless
            assert len(at_it(tmp_path)) == 2
            await until(lambda: made.children)
            assert await convert(made, line) in pids(made)

    with caplog.at_level("INFO", logger="interlock"):
        asyncio.run(story())
    ended = [record.fields for record in caplog.records if record.message == "child_ended"]  # type: ignore[attr-defined]
    assert ended == [{"reason": "overrun", "code": -9}] * 2


def test_many_short_ones_do_not_add_up_to_the_limit(converter: str) -> None:
    async def story() -> None:
        async with pool(limit=1.5) as made:
            line, before, now = running(converter), pids(made), asyncio.get_running_loop().time
            end = now() + 2.5

            async def go_on() -> None:
                while now() < end:
                    await convert(made, line, "SLOW")

            await asyncio.gather(*(go_on() for _ in range(8)))  # there is always one that waits
            assert pids(made) == before

    asyncio.run(story())


def test_children_that_cannot_start_leave_the_engine_to_convert(
    converter: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE_SECONDS", 0.01)

    async def story() -> None:
        async with pool() as made:
            monkeypatch.setattr(sys, "executable", "/bin/false")
            made.children[0].kill()
            await until(lambda: "child_not_started" in caplog.text)
            assert await convert(made, running(converter)) == HERE
            monkeypatch.undo()
            await until(lambda: made.children)

    with caplog.at_level("INFO", logger="interlock"):
        asyncio.run(story())


def test_signals_for_the_engine_do_not_end_a_child(converter: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with pool() as made:
            child = made.children[0].pid
            os.kill(child, signal.SIGINT)
            os.kill(child, signal.SIGTERM)
            assert await convert(made, running(converter)) == str(child).encode()
        assert not alive(child)

    asyncio.run(story())


def test_children_end_with_the_engine_also_in_mid_message(converter: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(tmp_path)))}
    parent = subprocess.Popen([sys.executable, "-c", PARENT, converter], env=environment)
    try:
        asyncio.run(until(lambda: at_it(tmp_path)))
        child = at_it(tmp_path)[0]
        assert alive(child)
    finally:
        parent.kill()
        parent.wait()
    asyncio.run(until(lambda: not alive(child)))


# the whole engine


def children(made: Site) -> list[int]:
    """The engine's children."""
    assert made.engine.process is not None
    return family(made.engine.process.pid)[1:]


def test_children_killed_under_load_lose_nothing(tmp_path: Path, record_property: Record) -> None:
    async def scenario() -> Figures:
        async with site(tmp_path) as made:
            made.engine.more_environment = {"INTERLOCK_WORKERS": "2"}
            assert await made.engine.start()
            await until(lambda: len(children(made)) == 2)
            made.open_laboratories()
            for round_ in range(4):
                await made.laboratories[1].acknowledged(40 * (round_ + 1))
                await until(lambda: len(children(made)) == 2)
                os.kill(children(made)[round_ % 2], signal.SIGKILL)
                made.figures.kills += 1
            await made.settle()
            await until(lambda: len(children(made)) == 2)
            left = children(made)
            figures = await made.account()
            assert not any(alive(pid) for pid in left)
            return figures

    figures = asyncio.run(scenario())
    record_property("figures", {"group": "children killed", **figures.as_dict()})
    assert (figures.in_doubt, figures.repeated) == (0, 0)
